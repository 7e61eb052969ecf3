//! Pooling on the CPU: planes in parallel, neighbors in a row as lanes.

use super::{MaxGeometry, PoolKernel, Windows};
use crate::cpu::simd::vectorized;
use crate::cpu::{Cpu, GRAIN, Unwritten, build};
use crate::error::Result;
use rayon::prelude::*;

/// Runs `work` on each plane of `out`, zeros, with the same plane of `input`, several small planes a task.
fn by_plane(
    out: Unwritten<'_>,
    out_plane: usize,
    input: &[f32],
    plane: usize,
    work: impl Fn(&mut [f32], &[f32]) + Sync,
) {
    if out_plane == 0 || plane == 0 {
        out.zeroed();
        return;
    }
    let planes = (GRAIN / plane.max(out_plane)).max(1);
    out.par_chunks(planes * out_plane).zip(input.par_chunks(planes * plane)).for_each(|(out, input)| {
        let out = out.zeroed();
        vectorized(
            #[inline(always)]
            || {
                for (out, input) in out.chunks_exact_mut(out_plane).zip(input.chunks_exact(plane)) {
                    work(out, input);
                }
            },
        );
    });
}

impl PoolKernel for Cpu {
    fn max_pool_forward(&self, x: &[f32], g: &MaxGeometry) -> Result<Vec<f32>> {
        let (plane, out_plane) = (g.input[0] * g.input[1], g.output[0] * g.output[1]);
        let planes = x.len() / plane.max(1);
        Ok(build(planes * out_plane, |y| {
            by_plane(
                y,
                out_plane,
                x,
                plane,
                #[inline(always)]
                |y, x| {
                    for (i, y) in y.chunks_exact_mut(g.output[1]).enumerate() {
                        y.fill(f32::NEG_INFINITY);
                        for line in g.lines(i) {
                            max_of_line(&x[line * g.input[1]..(line + 1) * g.input[1]], g, y);
                        }
                    }
                },
            );
        }))
    }

    fn max_pool_backward(&self, x: &[f32], dy: &[f32], g: &MaxGeometry) -> Result<Vec<f32>> {
        let (plane, out_plane) = (g.input[0] * g.input[1], g.output[0] * g.output[1]);
        let mut dx = vec![0.0; x.len()];
        let planes = dx.par_chunks_exact_mut(plane.max(1)).zip(x.par_chunks_exact(plane.max(1)));
        planes.zip(dy.par_chunks_exact(out_plane.max(1))).for_each(|((dx, x), dy)| {
            for (i, dy) in dy.chunks_exact(g.output[1]).enumerate() {
                for (j, dy) in dy.iter().enumerate() {
                    let pixels = g.lines(i).flat_map(|l| g.pixels(j).map(move |p| l * g.input[1] + p));
                    if let Some(at) = first_greatest(pixels, x) {
                        dx[at] += dy;
                    }
                }
            }
        });
        Ok(dx)
    }

    fn average_pool_forward(&self, x: &[f32], w: &Windows) -> Result<Vec<f32>> {
        let (plane, out_plane) = (w.input[0] * w.input[1], w.rows.len() * w.columns.len());
        Ok(build(x.len() / plane.max(1) * out_plane, |y| {
            by_plane(
                y,
                out_plane,
                x,
                plane,
                #[inline(always)]
                |y, x| {
                    let mut line = vec![0f32; w.input[1]];
                    for (i, y) in y.chunks_exact_mut(w.columns.len()).enumerate() {
                        line.fill(0.0);
                        for row in w.rows[i].clone() {
                            let row = &x[row * w.input[1]..(row + 1) * w.input[1]];
                            line.iter_mut().zip(row).for_each(|(l, x)| *l += x);
                        }
                        for (j, y) in y.iter_mut().enumerate() {
                            *y = line[w.columns[j].clone()].iter().sum::<f32>() * w.factor(i, j);
                        }
                    }
                },
            );
        }))
    }

    fn average_pool_backward(&self, dy: &[f32], w: &Windows) -> Result<Vec<f32>> {
        let (plane, out_plane) = (w.input[0] * w.input[1], w.rows.len() * w.columns.len());
        Ok(build(dy.len() / out_plane.max(1) * plane, |dx| {
            by_plane(
                dx,
                plane,
                dy,
                out_plane,
                #[inline(always)]
                |dx, dy| {
                    let mut line = vec![0f32; w.input[1]];
                    for (i, dy) in dy.chunks_exact(w.columns.len()).enumerate() {
                        line.fill(0.0);
                        for (j, dy) in dy.iter().enumerate() {
                            let share = dy * w.factor(i, j);
                            line[w.columns[j].clone()].iter_mut().for_each(|l| *l += share);
                        }
                        for row in w.rows[i].clone() {
                            let row = &mut dx[row * w.input[1]..(row + 1) * w.input[1]];
                            row.iter_mut().zip(&line).for_each(|(d, l)| *d += l);
                        }
                    }
                },
            )
        }))
    }
}

impl MaxGeometry {
    /// Rows of x in the windows of row `i`.
    fn lines(&self, i: usize) -> std::ops::Range<usize> {
        self.range(0, i)
    }

    /// Columns of x in the windows of column `j`.
    fn pixels(&self, j: usize) -> std::ops::Range<usize> {
        self.range(1, j)
    }

    fn range(&self, axis: usize, i: usize) -> std::ops::Range<usize> {
        let clip = |at: usize| at.saturating_sub(self.placement.padding[axis]).min(self.input[axis]);
        let start = i * self.placement.stride[axis];
        clip(start)..clip(start + self.kernel[axis])
    }
}

/// As torch compares: a NaN is greater than all, so that it shows.
#[inline(always)]
fn greater(x: f32, than: f32) -> bool {
    x > than || x.is_nan()
}

/// y = max(y, each tap of one row of windows' columns in `line`).
#[inline(always)]
fn max_of_line(line: &[f32], g: &MaxGeometry, y: &mut [f32]) {
    let (stride, padding) = (g.placement.stride[1], g.placement.padding[1]);
    let keep = |y: &mut f32, x: f32| *y = if greater(x, *y) { x } else { *y };
    if g.kernel[1] == 2 && stride == 2 && padding == 0 {
        for (y, pair) in y.iter_mut().zip(line.as_chunks::<2>().0) {
            keep(y, pair[0]);
            keep(y, pair[1]);
        }
        return;
    }
    for v in 0..g.kernel[1] {
        let first = padding.saturating_sub(v).div_ceil(stride).min(y.len());
        let end = (line.len() + padding).saturating_sub(v).div_ceil(stride).clamp(first, y.len());
        if first == end {
            continue;
        }
        let taps = &line[first * stride + v - padding..];
        match stride {
            1 => y[first..end].iter_mut().zip(taps).for_each(|(y, x)| keep(y, *x)),
            _ => y[first..end].iter_mut().zip(taps.iter().step_by(stride)).for_each(|(y, x)| keep(y, *x)),
        }
    }
}

fn first_greatest(pixels: impl Iterator<Item = usize>, x: &[f32]) -> Option<usize> {
    pixels.fold(None, |best: Option<usize>, at| match best {
        Some(b) if !greater(x[at], x[b]) => best,
        _ => Some(at),
    })
}
