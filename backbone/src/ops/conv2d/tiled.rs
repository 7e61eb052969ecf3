//! Convolution at stride 1 as tile products of bfloat16 numbers. The images are rounded once, in pairs of channels and with their
//! border of zeros; a step of a product is 32 channels under one tap, which of neighboring positions are runs of those pairs, so
//! that nothing is gathered position by position. Positions are counted along padded rows: those of the padding are multiplied,
//! and not written.

use super::Geometry;
use crate::cpu::build;
use crate::cpu::gemm::{Block, Hand, Mat, PANEL, Packed, Panels, Tile, Tiles, pairs_of_planes, sweep};
use crate::cpu::scatter::Scatter;
use crate::tensor::Precision;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Panels of positions in a task, and steps of the inner length that it multiplies at once: 768 KiB, which stay in the second cache
/// while all the weights go over them.
const TASK: usize = 8;
const STEPS: usize = 48;

/// Whether a convolution has the form.
pub fn fits(g: &Geometry) -> bool {
    g.placement.stride == [1, 1] && g.in_channels.is_multiple_of(PANEL) && g.output_len() > 0
}

/// An image's planes with their border, as pairs of channels.
struct Padded {
    width: usize,
    /// Of a pair of planes; behind the last row there are as many values as a panel reads further.
    len: usize,
}

impl Padded {
    fn new(g: &Geometry) -> Self {
        let [py, px] = g.placement.padding;
        let width = g.input[1] + 2 * px;
        let len = (g.input[0] + 2 * py) * width;
        // a panel begins within the last row, and its last tap ends a panel's length behind it
        Self { width, len: len + g.kernel[1] + PANEL }
    }

    /// All images' pairs.
    fn pairs(&self, x: &[f32], g: &Geometry) -> Tiles {
        let ([py, px], plane) = (g.placement.padding, g.input_plane());
        let len = g.batch * g.in_channels / 2 * self.len;
        let mut tiles = Tiles::new(len.div_ceil(256));
        let pairs = &mut words(&mut tiles)[..len];
        pairs.par_chunks_mut(self.len).zip(x.par_chunks(2 * plane)).for_each(|(pairs, x)| {
            let (even, odd) = x.split_at(plane);
            let (above, pairs) = pairs.split_at_mut(py * self.width);
            let (inside, below) = pairs.split_at_mut(g.input[0] * self.width);
            above.fill(0);
            below.fill(0);
            let rows = even.chunks_exact(g.input[1]).zip(odd.chunks_exact(g.input[1]));
            for ((even, odd), pairs) in rows.zip(inside.chunks_exact_mut(self.width)) {
                pairs[..px].fill(0);
                pairs[px + g.input[1]..].fill(0);
                pairs_of_planes(even, odd, &mut pairs[px..px + g.input[1]]);
            }
        });
        tiles
    }
}

/// Tiles as the pairs that they are.
fn words(tiles: &mut [Tile]) -> &mut [u32] {
    // SAFETY: a tile is 256 words and nothing else.
    unsafe { std::slice::from_raw_parts_mut(tiles.as_mut_ptr().cast(), 256 * tiles.len()) }
}

/// y of a convolution that [`fits`].
pub fn forward(x: &[f32], weight: &[f32], bias: Option<&[f32]>, g: &Geometry) -> Vec<f32> {
    let padded = Padded::new(g);
    let mut pairs = padded.pairs(x, g);
    let pairs = &*words(&mut pairs);
    let (steps, rows) = (g.depth() / PANEL, g.out_channels.div_ceil(PANEL));
    let parts = steps.div_ceil(STEPS);
    let part = |i: usize| i * steps / parts..(i + 1) * steps / parts;
    let weights = weight_factors(weight, g, (0..parts).map(part));
    // positions of an image along padded rows; behind the last row's end nothing is written
    let positions = (g.output[0] - 1) * padded.width + g.output[1];
    let panels = positions.div_ceil(PANEL);
    let tasks = panels.div_ceil(TASK);
    build(g.output_len(), |y| {
        let write = |y: &Scatter<'_, _>| {
            (0..g.batch * tasks).into_par_iter().for_each(|task| {
                let (image, first) = (task / tasks, task % tasks * TASK);
                let count = TASK.min(panels - first);
                let of_image = g.in_channels / 2 * padded.len;
                let pairs = &pairs[image * of_image..][..of_image];
                let mut totals = vec![Block::ZERO; if parts > 1 { rows * count } else { 0 }];
                for (i, weight) in weights.iter().enumerate() {
                    let len = part(i).len();
                    let mut tiles = Tiles::new(2 * len * count);
                    for (panel, tiles) in tiles.chunks_exact_mut(2 * len).enumerate() {
                        gather(pairs, &padded, g, ((first + panel) * PANEL, part(i).start), tiles);
                    }
                    let right =
                        Panels { tiles: &tiles, count: count * PANEL, steps: len, period: count, first: 0 };
                    for row in 0..rows {
                        sweep(weight.panels(), row..row + 1, right, 0..count, |row, panel, sums| {
                            let total = totals.get_mut(row * count + panel);
                            let sums = match total {
                                Some(total) => {
                                    total.add_scaled(sums, 1.0);
                                    &*total
                                }
                                None => sums,
                            };
                            if i + 1 == parts {
                                let place =
                                    Place { image, channel: row * PANEL, position: (first + panel) * PANEL };
                                write_sums(y, sums, bias, g, &padded, place);
                            }
                        });
                    }
                }
            });
        };
        // SAFETY: every position of every channel is in one panel of one row of panels.
        unsafe { y.write_scattered(write) };
    })
}

/// (O, C · taps) → (O, taps · C), in parts of the inner length.
fn weight_factors(
    weight: &[f32],
    g: &Geometry,
    parts: impl Iterator<Item = std::ops::Range<usize>>,
) -> Vec<Packed> {
    let (depth, taps) = (g.depth(), g.taps());
    let by_tap = (taps > 1).then(|| {
        build(weight.len(), |by_tap| {
            by_tap.par_chunks(depth).zip(weight.par_chunks(depth)).for_each(|(by_tap, weight)| {
                by_tap.write((0..depth).map(|k| weight[k % g.in_channels * taps + k / g.in_channels]));
            });
        })
    });
    let weight = by_tap.as_deref().unwrap_or(weight);
    let factor = |steps: std::ops::Range<usize>| {
        let part = Mat::strided(&weight[steps.start * PANEL..], g.out_channels, steps.len() * PANEL, depth);
        Packed::new(part, Hand::Left, Precision::Bf16, true)
    };
    parts.map(factor).collect()
}

/// Steps from `first` on of the factor of the 32 positions from `position` on.
fn gather(
    pairs: &[u32],
    padded: &Padded,
    g: &Geometry,
    (position, first): (usize, usize),
    tiles: &mut [Tile],
) {
    let half = g.in_channels / 2;
    for (step, tiles) in (first..).zip(tiles.chunks_exact_mut(2)) {
        let (tap, first) = (step * PANEL / g.in_channels, step * PANEL % g.in_channels / 2);
        let start = position + tap / g.kernel[1] * padded.width + tap % g.kernel[1];
        for (p, plane) in (first..half).take(16).enumerate() {
            let row = &pairs[plane * padded.len + start..][..PANEL];
            for (tile, run) in tiles.iter_mut().zip(row.as_chunks::<16>().0) {
                tile.0[p] = *run;
            }
        }
    }
}

/// Where a block of sums goes.
#[derive(Clone, Copy)]
struct Place {
    image: usize,
    channel: usize,
    /// Along padded rows.
    position: usize,
}

fn write_sums(
    y: &Scatter<'_, MaybeUninit<f32>>,
    sums: &Block,
    bias: Option<&[f32]>,
    g: &Geometry,
    padded: &Padded,
    place: Place,
) {
    let (plane, width) = (g.output_plane(), g.output[1]);
    let mut at = 0;
    while at < PANEL {
        let (row, column) = ((place.position + at) / padded.width, (place.position + at) % padded.width);
        let run = (padded.width - column).min(PANEL - at);
        let len = width.saturating_sub(column).min(run);
        if row < g.output[0] && len > 0 {
            for (channel, sums) in (place.channel..g.out_channels).zip(&sums.0) {
                let start = (place.image * g.out_channels + channel) * plane + row * width + column;
                let bias = bias.map_or(0.0, |bias| bias[channel]);
                // SAFETY: the positions are this task's.
                let y = unsafe { y.part(start..start + len) };
                y.iter_mut().zip(&sums[at..at + len]).for_each(|(y, sum)| {
                    y.write(sum + bias);
                });
            }
        }
        at += run;
    }
}
