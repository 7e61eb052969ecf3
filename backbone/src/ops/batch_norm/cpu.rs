//! Batch norm on the CPU. Sums go plane by plane in f32 lanes over short runs and in f64 beyond, in an order that
//! does not depend on the number of threads.

use super::{BatchNormKernel, BatchStatistics, ParameterGradients, Terms};
use crate::cpu::simd::vectorized;
use crate::cpu::{Cpu, build};
use crate::error::Result;
use rayon::prelude::*;

/// Values that are summed in f32 before the sum goes into f64.
const RUN: usize = 512;

impl BatchNormKernel for Cpu {
    fn channel_moments(&self, x: &[f32], channels: usize, plane: usize) -> Result<Vec<f32>> {
        let sample = (channels * plane).max(1);
        let moments = |c: usize| {
            let planes = || x.chunks_exact(sample).map(|s| &s[c * plane..(c + 1) * plane]);
            let count = (x.len() / channels.max(1)) as f64;
            vectorized(
                #[inline(always)]
                || {
                    let mean = planes().map(|p| sum(p, p, |x, _| x)).sum::<f64>() / count;
                    let center = mean as f32;
                    let squares =
                        planes().map(|p| sum(p, p, |x, _| (x - center) * (x - center))).sum::<f64>();
                    let off = mean - f64::from(center);
                    [center, off as f32, (squares - count * off * off).max(0.0) as f32]
                },
            )
        };
        let moments: Vec<[f32; 3]> = (0..channels).into_par_iter().map(moments).collect();
        Ok((0..3).flat_map(|kind| moments.iter().map(move |m| m[kind])).collect())
    }

    fn batch_statistics(
        &self,
        moments: &[f32],
        [running_mean, running_variance]: [&[f32]; 2],
        count: f64,
        momentum: f32,
    ) -> Result<BatchStatistics<Self>> {
        let channels = moments.len() / 3;
        let (mean, rest, squares) =
            (&moments[..channels], &moments[channels..2 * channels], &moments[2 * channels..]);
        let momentum = f64::from(momentum);
        let towards = |old: f32, new: f64| (f64::from(old) * (1.0 - momentum) + momentum * new) as f32;
        let squares = |c: usize| f64::from(squares[c]);
        Ok(BatchStatistics {
            mean: mean.to_vec(),
            variance: (0..channels).map(|c| (squares(c) / count) as f32).collect(),
            running_mean: (0..channels)
                .map(|c| towards(running_mean[c], f64::from(mean[c]) + f64::from(rest[c])))
                .collect(),
            running_variance: (0..channels)
                .map(|c| towards(running_variance[c], squares(c) / (count - 1.0)))
                .collect(),
        })
    }

    fn batch_norm_forward(&self, x: &[f32], terms: &Terms<'_, Self>) -> Result<Vec<f32>> {
        let plane = terms.plane.max(1);
        let inverses = terms.inverses();
        Ok(build(x.len(), |y| {
            y.par_chunks(plane).zip(x.par_chunks_exact(plane)).enumerate().for_each(|(i, (y, x))| {
                let c = i % inverses.len();
                let scale = (inverses[c] * f64::from(terms.weight[c])) as f32;
                let (center, shift) = (terms.mean[c], terms.bias[c]);
                vectorized(
                    #[inline(always)]
                    || {
                        y.write(x.iter().map(|x| (x - center).mul_add(scale, shift)));
                    },
                );
            });
        }))
    }

    fn batch_norm_parameter_gradients(
        &self,
        x: &[f32],
        dy: &[f32],
        terms: &Terms<'_, Self>,
    ) -> Result<ParameterGradients<Self>> {
        let plane = terms.plane;
        let sample = (terms.mean.len() * plane).max(1);
        let sums = |(c, (center, inverse)): (usize, (&f32, &f64))| {
            let mut sums = [0.0; 2];
            vectorized(
                #[inline(always)]
                || {
                    for (x, dy) in x.chunks_exact(sample).zip(dy.chunks_exact(sample)) {
                        let (x, dy) = (&x[c * plane..(c + 1) * plane], &dy[c * plane..(c + 1) * plane]);
                        sums[0] += sum(x, dy, |_, dy| dy);
                        sums[1] += sum(x, dy, |x, dy| dy * (x - center));
                    }
                },
            );
            ((sums[1] * inverse) as f32, sums[0] as f32)
        };
        let inverses = terms.inverses();
        let (weight, bias) = terms.mean.par_iter().zip(&inverses).enumerate().map(sums).unzip();
        Ok(ParameterGradients { weight, bias })
    }

    fn batch_norm_input_gradient(
        &self,
        x: &[f32],
        mut dy: Vec<f32>,
        terms: &Terms<'_, Self>,
        sums: &ParameterGradients<Self>,
        share: f32,
    ) -> Result<Vec<f32>> {
        let plane = terms.plane.max(1);
        let (inverses, share) = (terms.inverses(), f64::from(share));
        dy.par_chunks_exact_mut(plane).zip(x.par_chunks_exact(plane)).enumerate().for_each(|(i, (dy, x))| {
            let c = i % inverses.len();
            let (center, scale) = (terms.mean[c], inverses[c] * f64::from(terms.weight[c]));
            let along = (-scale * share * inverses[c] * f64::from(sums.weight[c])) as f32;
            let shift = (-scale * share * f64::from(sums.bias[c])) as f32;
            let scale = scale as f32;
            vectorized(
                #[inline(always)]
                || {
                    for (dy, x) in dy.iter_mut().zip(x) {
                        *dy = dy.mul_add(scale, (x - center).mul_add(along, shift));
                    }
                },
            );
        });
        Ok(dy)
    }
}

impl Terms<'_, Cpu> {
    /// 1/√(variance + eps) of each channel.
    fn inverses(&self) -> Vec<f64> {
        let inverse = |v: &f32| 1.0 / (f64::from(*v) + f64::from(self.eps)).sqrt();
        self.variance.iter().map(inverse).collect()
    }
}

/// Σ f(x, y).
#[inline(always)]
fn sum(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f64 {
    let mut total = 0f64;
    for (x, y) in x.chunks(RUN).zip(y.chunks(RUN)) {
        let ((xs, x_rest), (ys, y_rest)) = (x.as_chunks::<16>(), y.as_chunks::<16>());
        let mut lanes = [0f32; 16];
        for (x, y) in xs.iter().zip(ys) {
            for l in 0..16 {
                lanes[l] += f(x[l], y[l]);
            }
        }
        let rest: f32 = x_rest.iter().zip(y_rest).map(|(x, y)| f(*x, *y)).sum();
        total += f64::from(lanes.iter().sum::<f32>() + rest);
    }
    total
}
