//! Gradients of a convolution that are not themselves convolutions: at x where windows are apart, and at w.

use super::Geometry;
use super::columns::{columns, scatter, tiles_exactly};
use super::cpu::weight_columns;
use super::tiles::{Segment, channel_block, segments};
use crate::cpu::build;
use crate::cpu::gemm::{Dst, Hand, Kept, Mat, Threads, gemm};
use crate::tensor::Precision;
use rayon::prelude::*;

/// Positions of dy that one product takes.
const TILE: usize = 512;

/// wᵀ dy, scattered under the taps. A task owns some channels of an image and goes over its positions in order,
/// so that no two write the same pixel.
pub fn scattered_gradient(
    dy: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    g: &Geometry,
    precision: Precision,
) -> Vec<f32> {
    let engine = Threads::One.at(precision);
    let (plane, block, out_plane) = (g.input_plane(), channel_block(g), g.output_plane());
    let exact = tiles_exactly(g);
    build(g.input_len(), |dx| {
        let sample = (g.in_channels * plane).max(1);
        dx.par_chunks(sample).zip(dy.par_chunks_exact(g.out_channels * out_plane)).for_each(|(dx, dy)| {
            dx.par_chunks(block * plane).enumerate().for_each_init(Vec::new, |product, (i, dx)| {
                let (first, count, dx) = (i * block, dx.len() / plane, dx.zeroed());
                let base = |c: usize| bias.map_or(0.0, |bias| bias[first + c]);
                if !exact && bias.is_some() {
                    dx.chunks_exact_mut(plane).enumerate().for_each(|(c, dx)| dx.fill(base(c)));
                }
                let weight = weight_columns(weight, g, first, count).transposed();
                let (rows, weight) = (weight.rows, Kept::new(weight, Hand::Left, engine));
                for start in (0..out_plane).step_by(TILE) {
                    let len = TILE.min(out_plane - start);
                    product.resize(rows * TILE, 0.0);
                    let product = &mut product[..rows * len];
                    let dy = Mat::strided(&dy[start..], g.out_channels, len, out_plane);
                    gemm(product, Dst::Overwrite, weight.side(), dy, engine);
                    let taps = product.chunks_exact(g.taps() * len);
                    for (c, (dx, taps)) in dx.chunks_exact_mut(plane).zip(taps).enumerate() {
                        scatter(taps, g, start, len, base(c), dx);
                    }
                }
            });
        });
    })
}

/// Σ over positions of dy · columnsᵀ. Tasks are blocks of channels, and runs of positions where blocks are few;
/// runs are added in order, and their number depends on the shape alone.
pub fn weight_gradient(dy: &[f32], x: &[f32], g: &Geometry, precision: Precision) -> Vec<f32> {
    let block = channel_block(g);
    let positions = g.batch * g.output_plane();
    let tiles = positions.div_ceil(TILE);
    let blocks = g.in_channels.div_ceil(block);
    let runs = (32 / blocks.max(1)).clamp(1, tiles.max(1));
    let per_run = tiles.div_ceil(runs);
    let parts: Vec<Vec<f32>> = (0..runs * blocks)
        .into_par_iter()
        .map(|task| {
            let first = task % blocks * block;
            let channels = first..(first + block).min(g.in_channels);
            let mut part = vec![0.0; g.out_channels * channels.len() * g.taps()];
            let (mut gathered, mut packed) = (Vec::new(), Vec::new());
            for tile in task / blocks * per_run..((task / blocks + 1) * per_run).min(tiles) {
                let len = TILE.min(positions - tile * TILE);
                let segments = segments(g.output_plane(), tile * TILE, len);
                let dy = outputs(dy, g, &segments, len, &mut packed);
                let columns = columns(x, g, &segments, channels.clone(), &mut gathered);
                gemm(&mut part, Dst::Accumulate, dy, columns.transposed(), Threads::One.at(precision));
            }
            part
        })
        .collect();
    build(g.out_channels * g.depth(), |dw| {
        dw.par_chunks(g.depth().max(1)).enumerate().for_each(|(o, dw)| {
            for (b, dw) in dw.chunks(block * g.taps()).enumerate() {
                let len = dw.len();
                let row = |run: usize| &parts[run * blocks + b][o * len..(o + 1) * len];
                let dw = dw.copy_from(row(0));
                for run in 1..runs {
                    dw.iter_mut().zip(row(run)).for_each(|(d, p)| *d += p);
                }
            }
        });
    })
}

/// dy of a tile as an (O, positions) matrix: in place within one image, else copied together.
fn outputs<'a>(
    dy: &'a [f32],
    g: &Geometry,
    segments: &[Segment],
    len: usize,
    packed: &'a mut Vec<f32>,
) -> Mat<'a> {
    let plane = g.output_plane();
    if let [only] = segments {
        let first = only.image * g.out_channels * plane + only.start;
        return Mat::strided(&dy[first..], g.out_channels, len, plane);
    }
    packed.resize(g.out_channels * TILE, 0.0);
    for (o, row) in packed[..g.out_channels * len].chunks_exact_mut(len).enumerate() {
        for s in segments {
            let first = (s.image * g.out_channels + o) * plane + s.start;
            row[s.offset..s.offset + s.len].copy_from_slice(&dy[first..first + s.len]);
        }
    }
    Mat::new(&packed[..g.out_channels * len], g.out_channels, len)
}
