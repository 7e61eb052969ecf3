//! Channels-first layer norm on the CPU: a task has a run of pixels with all their channels in cache, neighboring
//! pixels as lanes.

use super::ChannelNormKernel;
use crate::cpu::columns::{WIDTH, block_start, column_blocks};
use crate::cpu::simd::vectorized;
use crate::cpu::{Cpu, build};
use crate::error::Result;
use crate::ops::layer_norm::{NormGradients, Normalized};
use rayon::prelude::*;

impl ChannelNormKernel for Cpu {
    fn channel_norm_forward(
        &self,
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        plane: usize,
        eps: f32,
    ) -> Result<Normalized<Self>> {
        let channels = weight.len();
        let mut statistics = vec![0.0; 2 * x.len() / channels.max(1)];
        let (means, inverses) = statistics.split_at_mut(x.len() / channels.max(1));
        let y = build(x.len(), |y| {
            let statistics = runs(means, plane).zip(runs(inverses, plane)).collect::<Vec<_>>();
            let blocks = column_blocks(y, channels, plane).into_par_iter().zip(statistics);
            blocks.enumerate().for_each(|(block, (y, (mean, inverse)))| {
                let (first, _) = block_start(block, channels, plane);
                let len = mean.len();
                let line = |c: usize| &x[first + c * plane..][..len];
                vectorized(
                    #[inline(always)]
                    || {
                        for c in 0..channels {
                            mean.iter_mut().zip(line(c)).for_each(|(m, x)| *m += x);
                        }
                        mean.iter_mut().for_each(|m| *m /= channels as f32);
                        for c in 0..channels {
                            let values = line(c).iter().zip(mean.iter());
                            for (v, (x, m)) in inverse.iter_mut().zip(values) {
                                *v = (x - m).mul_add(x - m, *v);
                            }
                        }
                        inverse.iter_mut().for_each(|v| *v = 1.0 / (*v / channels as f32 + eps).sqrt());
                        for (c, y) in y.into_iter().enumerate() {
                            let values = line(c).iter().zip(mean.iter().zip(inverse.iter()));
                            y.write(values.map(|(x, (m, i))| ((x - m) * i).mul_add(weight[c], bias[c])));
                        }
                    },
                );
            });
        });
        Ok(Normalized { y, statistics })
    }

    fn channel_norm_backward(
        &self,
        x: &[f32],
        weight: &[f32],
        statistics: &[f32],
        mut dy: Vec<f32>,
        plane: usize,
    ) -> Result<NormGradients<Self>> {
        let channels = weight.len();
        let (means, inverses) = statistics.split_at(statistics.len() / 2);
        let partial: Vec<Vec<f32>> = column_blocks(&mut dy[..], channels, plane)
            .into_par_iter()
            .enumerate()
            .map(|(block, mut dy)| {
                let (first, position) = block_start(block, channels, plane);
                let len = dy.first().map_or(0, |run| run.len());
                let statistics = (&means[position..position + len], &inverses[position..position + len]);
                let mut sums = vec![0.0; 2 * channels];
                vectorized(
                    #[inline(always)]
                    || block_gradient(&x[first..], plane, weight, statistics, &mut dy, &mut sums),
                );
                sums
            })
            .collect();
        let mut total = vec![0f64; 2 * channels];
        for sums in &partial {
            total.iter_mut().zip(sums).for_each(|(t, s)| *t += f64::from(*s));
        }
        let mut total = total.into_iter().map(|t| t as f32);
        Ok(NormGradients { weight: total.by_ref().take(channels).collect(), bias: total.collect(), dx: dy })
    }
}

/// The runs of pixels that blocks of columns have, in their order.
fn runs(positions: &mut [f32], plane: usize) -> impl Iterator<Item = &mut [f32]> {
    positions.chunks_exact_mut(plane.max(1)).flat_map(|plane| plane.chunks_mut(WIDTH))
}

/// dx = inverse (g - mean(g) - x̂ mean(g x̂)) with g = dy · weight, means over channels, in place of dy; adds
/// Σ dy x̂ and Σ dy to the two halves of `sums`.
#[inline(always)]
fn block_gradient(
    x: &[f32],
    plane: usize,
    weight: &[f32],
    (means, inverses): (&[f32], &[f32]),
    dy: &mut [&mut [f32]],
    sums: &mut [f32],
) {
    let (channels, len) = (weight.len(), means.len());
    let (mut g_mean, mut gx_mean) = ([0f32; WIDTH], [0f32; WIDTH]);
    let (g_mean, gx_mean) = (&mut g_mean[..len], &mut gx_mean[..len]);
    for (c, dy) in dy.iter().enumerate() {
        let x = &x[c * plane..][..len];
        let dy = &dy[..len];
        let (mut dweight, mut dbias) = ([0f32; 16], [0f32; 16]);
        let mut chunk = |range: std::ops::Range<usize>| {
            let (x, dy) = (&x[range.clone()], &dy[range.clone()]);
            let (means, inverses) = (&means[range.clone()], &inverses[range.clone()]);
            let (g_mean, gx_mean) = (&mut g_mean[range.clone()], &mut gx_mean[range.clone()]);
            for l in 0..range.len() {
                let normal = (x[l] - means[l]) * inverses[l];
                dweight[l] += dy[l] * normal;
                dbias[l] += dy[l];
                let g = dy[l] * weight[c];
                g_mean[l] += g;
                gx_mean[l] += g * normal;
            }
        };
        let whole = len / 16 * 16;
        (0..whole).step_by(16).for_each(|start| chunk(start..start + 16));
        chunk(whole..len);
        sums[c] = dweight.iter().sum();
        sums[channels + c] = dbias.iter().sum();
    }
    let scale = 1.0 / channels as f32;
    g_mean.iter_mut().chain(gx_mean.iter_mut()).for_each(|m| *m *= scale);
    for (c, dy) in dy.iter_mut().enumerate() {
        let x = &x[c * plane..][..len];
        let dy = &mut dy[..len];
        for i in 0..len {
            let normal = (x[i] - means[i]) * inverses[i];
            dy[i] = inverses[i] * (dy[i] * weight[c] - g_mean[i] - normal * gx_mean[i]);
        }
    }
}
