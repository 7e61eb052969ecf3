//! Convolution on the CPU as matrix products over tiles of output positions, a tile a task. Memory beside x and
//! y is bounded by the tile: about 2 MB a thread.

use super::columns::columns;
use super::gradient::{scattered_gradient, weight_gradient};
use super::tiled;
use super::tiles::{Piece, channel_block, pieces, segments, tile_len};
use super::{Conv2dKernel, Geometry, Placement};
use crate::cpu::gemm::{Dst, Hand, Kept, Mat, Threads, gemm};
use crate::cpu::simd::vectorized;
use crate::cpu::{Cpu, build};
use crate::error::Result;
use crate::tensor::Precision;
use rayon::prelude::*;

impl Conv2dKernel for Cpu {
    fn conv2d_forward(
        &self,
        x: &[f32],
        weight: &[f32],
        bias: Option<&[f32]>,
        geometry: &Geometry,
    ) -> Result<Vec<f32>> {
        Ok(forward(x, weight, bias, geometry, self.precision()))
    }

    fn conv2d_input_gradient(
        &self,
        dy: &[f32],
        weight: &[f32],
        bias: Option<&[f32]>,
        g: &Geometry,
    ) -> Result<Vec<f32>> {
        let [py, px] = g.placement.padding;
        if g.placement.stride != [1, 1] || py >= g.kernel[0] || px >= g.kernel[1] {
            return Ok(scattered_gradient(dy, weight, bias, g, self.precision()));
        }
        // At stride 1 the gradient is itself a convolution, of dy with the kernel turned by 180°.
        let turned = Geometry {
            in_channels: g.out_channels,
            out_channels: g.in_channels,
            input: g.output,
            output: g.input,
            placement: Placement { stride: [1, 1], padding: [g.kernel[0] - 1 - py, g.kernel[1] - 1 - px] },
            ..*g
        };
        Ok(forward(dy, &turned_weight(weight, g), bias, &turned, self.precision()))
    }

    fn conv2d_weight_gradient(&self, dy: &[f32], x: &[f32], geometry: &Geometry) -> Result<Vec<f32>> {
        Ok(weight_gradient(dy, x, geometry, self.precision()))
    }

    fn channel_sums(&self, values: &[f32], channels: usize, plane: usize) -> Result<Vec<f32>> {
        let sample = (channels * plane).max(1);
        let sum = |c: usize| {
            let planes = values.chunks_exact(sample).map(|s| &s[c * plane..(c + 1) * plane]);
            planes.map(plane_sum).sum::<f64>() as f32
        };
        Ok((0..channels).into_par_iter().map(sum).collect())
    }
}

/// The sum of a plane: blocks in f32 lanes, and blocks in f64.
fn plane_sum(plane: &[f32]) -> f64 {
    vectorized(
        #[inline(always)]
        || {
            let block = |values: &[f32]| {
                let (chunks, rest) = values.as_chunks::<16>();
                let mut lanes = [0f32; 16];
                for chunk in chunks {
                    lanes.iter_mut().zip(chunk).for_each(|(l, v)| *l += v);
                }
                f64::from(lanes.iter().sum::<f32>() + rest.iter().sum::<f32>())
            };
            plane.chunks(1024).map(block).sum()
        },
    )
}

/// Buffers of a task, kept from tile to tile.
#[derive(Default)]
struct Scratch {
    columns: Vec<f32>,
    product: Vec<f32>,
}

fn forward(x: &[f32], weight: &[f32], bias: Option<&[f32]>, g: &Geometry, precision: Precision) -> Vec<f32> {
    if precision == Precision::Bf16 && tiled::fits(g) {
        return tiled::forward(x, weight, bias, g);
    }
    let (tile, block) = (tile_len(g), channel_block(g));
    let channels = |first: usize| first..(first + block).min(g.in_channels);
    // the weight's blocks, for all tiles
    let weights: Vec<Kept<'_>> = (0..g.in_channels)
        .step_by(block)
        .map(|first| {
            let weight = weight_columns(weight, g, first, channels(first).len());
            Kept::new(weight, Hand::Left, Threads::All.at(precision))
        })
        .collect();
    build(g.output_len(), |y| {
        let tiles = pieces(y, g.out_channels, g.output_plane(), tile);
        let engine = if tiles.len() == 1 { Threads::All } else { Threads::One }.at(precision);
        tiles.into_par_iter().enumerate().for_each_init(Scratch::default, |scratch, (t, pieces)| {
            let len = tile.min(g.batch * g.output_plane() - t * tile);
            let segments = segments(g.output_plane(), t * tile, len);
            scratch.product.resize(g.out_channels * tile, 0.0);
            let product = &mut scratch.product[..g.out_channels * len];
            for (i, weight) in weights.iter().enumerate() {
                let start = if i == 0 { Dst::Overwrite } else { Dst::Accumulate };
                let columns = columns(x, g, &segments, channels(i * block), &mut scratch.columns);
                gemm(product, start, weight.side(), columns, engine);
            }
            for Piece { channel, offset, values } in pieces {
                let product = &product[channel * len + offset..][..values.len()];
                match bias.map(|bias| bias[channel]) {
                    None => values.copy_from(product),
                    Some(bias) => values.write(product.iter().map(|p| p + bias)),
                };
            }
        });
    })
}

/// The columns of the weight, seen as (O, C · taps), of `count` channels from `first` on.
pub fn weight_columns<'a>(weight: &'a [f32], g: &Geometry, first: usize, count: usize) -> Mat<'a> {
    Mat::strided(&weight[first * g.taps()..], g.out_channels, count * g.taps(), g.depth())
}

/// (O, C, KH, KW) → (C, O, KH, KW) with both kernel axes reversed.
fn turned_weight(weight: &[f32], g: &Geometry) -> Vec<f32> {
    let taps = g.taps();
    build(weight.len(), |turned| {
        turned.par_chunks((g.out_channels * taps).max(1)).enumerate().for_each(|(c, turned)| {
            for (o, turned) in turned.zeroed().chunks_exact_mut(taps).enumerate() {
                let source = &weight[(o * g.in_channels + c) * taps..][..taps];
                turned.iter_mut().zip(source.iter().rev()).for_each(|(t, s)| *t = *s);
            }
        });
    })
}
