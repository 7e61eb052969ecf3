//! Panels of rows of the residual stream, normed, as factors of a branch's first product.

use crate::cpu::gemm::{Block, PANEL, Tile};
use crate::cpu::scatter::{Gather, Scatter};
use crate::cpu::simd::{fold, lanes, vectorized};
use crate::ops::layer_norm::lane_sum;
use crate::ops::rational::OnBlocks;

/// No row: what lies outside the image in a window, or behind a group's last token.
pub const NONE: usize = usize::MAX;

/// The stream and its norm.
#[derive(Clone, Copy)]
pub struct Normed<'a> {
    /// Rows of C values.
    pub x: Gather<'a, f32>,
    /// C.
    pub weight: &'a [f32],
    /// C.
    pub bias: &'a [f32],
    /// Added to the variance.
    pub eps: f32,
}

/// Mean and inverse deviation of a row.
pub type Statistics = [f32; 2];

impl Normed<'_> {
    /// C.
    pub fn channels(&self) -> usize {
        self.weight.len()
    }

    fn row(&self, row: usize) -> &[f32] {
        self.x.part(row * self.channels()..(row + 1) * self.channels())
    }

    /// Of each of these rows.
    pub fn statistics(&self, rows: &[usize; PANEL]) -> [Statistics; PANEL] {
        let channels = self.channels() as f32;
        let mut statistics = [[0.0; 2]; PANEL];
        vectorized(
            #[inline(always)]
            || {
                for r in 0..PANEL {
                    if rows[r] == NONE {
                        continue;
                    }
                    let x = self.row(rows[r]);
                    let mean = lane_sum(x, |x| x) / channels;
                    let variance = lane_sum(x, |x| (x - mean) * (x - mean)) / channels;
                    statistics[r] = [mean, 1.0 / (variance + self.eps).sqrt()];
                }
            },
        );
        statistics
    }

    /// The 32 channels of a step, normed; zeros where there is no row.
    pub fn block(
        &self,
        rows: &[usize; PANEL],
        statistics: &[Statistics; PANEL],
        step: usize,
        block: &mut Block,
    ) {
        let columns = step * PANEL..(step + 1) * PANEL;
        let (weight, bias) = (*whole(&self.weight[columns.clone()]), *whole(&self.bias[columns.clone()]));
        vectorized(
            #[inline(always)]
            || {
                for r in 0..PANEL {
                    if rows[r] == NONE {
                        block.0[r] = [0.0; PANEL];
                        continue;
                    }
                    let x = *whole(&self.row(rows[r])[columns.clone()]);
                    let [mean, inverse] = statistics[r];
                    block.set_row(r, lanes(|l| ((x[l] - mean) * inverse).mul_add(weight[l], bias[l])));
                }
            },
        );
    }

    /// A panel of these rows as a left-hand factor, after `activation` if there is one.
    pub fn panel(
        &self,
        rows: &[usize; PANEL],
        activation: Option<&OnBlocks>,
        tiles: &mut [Tile],
    ) -> [Statistics; PANEL] {
        let statistics = self.statistics(rows);
        let mut block = Block::ZERO;
        for (step, tiles) in tiles.chunks_exact_mut(2).enumerate() {
            self.block(rows, &statistics, step, &mut block);
            if let Some(activation) = activation {
                activation.apply(step * PANEL, &mut block);
            }
            block.write_left(tiles);
        }
        statistics
    }

    /// From the gradients at a panel's normed steps, adds that at x to the panel's rows of `dx`, and adds to the sums of the norm's
    /// weight and bias: dx += s (g - mean(g) - x̂ mean(g x̂)) with g = dy · weight.
    ///
    /// # Safety
    /// Nobody else may have these rows of `dx`.
    pub unsafe fn gradient(
        &self,
        rows: &[usize; PANEL],
        statistics: &[Statistics; PANEL],
        dy: &[Block],
        dx: &Scatter<'_, f32>,
        [dweight, dbias]: [&mut [f32]; 2],
    ) {
        let channels = self.channels();
        vectorized(
            #[inline(always)]
            || {
                for r in 0..PANEL {
                    let (row, [mean, inverse]) = (rows[r], statistics[r]);
                    if row == NONE {
                        continue;
                    }
                    let x = self.row(row);
                    // SAFETY: the caller's promise.
                    let dx = unsafe { dx.part(row * channels..(row + 1) * channels) };
                    let (mut sums, mut products): ([f32; PANEL], [f32; PANEL]) = ([0.0; PANEL], [0.0; PANEL]);
                    for (c, dy) in dy.iter().enumerate() {
                        let columns = c * PANEL..(c + 1) * PANEL;
                        let (x, weight) =
                            (*whole(&x[columns.clone()]), *whole(&self.weight[columns.clone()]));
                        let (dweight, dbias) = (&mut dweight[columns.clone()], &mut dbias[columns.clone()]);
                        let dy = dy.row(r);
                        let normal: [f32; PANEL] = lanes(|l| (x[l] - mean) * inverse);
                        let g: [f32; PANEL] = lanes(|l| dy[l] * weight[l]);
                        let before = [*whole(dweight), *whole(dbias)];
                        let after: [f32; PANEL] = lanes(|l| dy[l].mul_add(normal[l], before[0][l]));
                        dweight.copy_from_slice(&after);
                        let after: [f32; PANEL] = lanes(|l| before[1][l] + dy[l]);
                        dbias.copy_from_slice(&after);
                        sums = lanes(|l| sums[l] + g[l]);
                        products = lanes(|l| g[l].mul_add(normal[l], products[l]));
                    }
                    let mean_g = fold(sums, |a, b| a + b) / channels as f32;
                    let mean_gx = fold(products, |a, b| a + b) / channels as f32;
                    for (c, dy) in dy.iter().enumerate() {
                        let columns = c * PANEL..(c + 1) * PANEL;
                        let (x, weight) =
                            (*whole(&x[columns.clone()]), *whole(&self.weight[columns.clone()]));
                        let dx = &mut dx[columns];
                        let (dy, before) = (dy.row(r), *whole(dx));
                        let after: [f32; PANEL] = lanes(|l| {
                            let normal = (x[l] - mean) * inverse;
                            inverse.mul_add(dy[l] * weight[l] - mean_g - normal * mean_gx, before[l])
                        });
                        dx.copy_from_slice(&after);
                    }
                }
            },
        );
    }
}

/// A step's values.
#[inline(always)]
pub fn whole(values: &[f32]) -> &[f32; PANEL] {
    values.try_into().expect("a step's values")
}
