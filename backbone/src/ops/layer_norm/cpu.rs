//! Layer norm on the CPU: rows in parallel, each read while it is in the first cache.

use super::{LayerNormKernel, NormGradients, Normalized};
use crate::cpu::simd::{fold, vectorized};
use crate::cpu::{Cpu, GRAIN, build};
use crate::error::Result;
use rayon::prelude::*;

/// Sum of `f` over a slice in 16 lanes, which the compiler keeps in one vector.
#[inline(always)]
pub(crate) fn lane_sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = x.as_chunks::<16>();
    let mut lanes = [0f32; 16];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += f(*x);
        }
    }
    fold(lanes, |a, b| a + b) + rest.iter().map(|x| f(*x)).sum::<f32>()
}

/// As [`lane_sum`] over pairs.
#[inline(always)]
fn lane_sum2(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let ((xs, x_rest), (ys, y_rest)) = (x.as_chunks::<16>(), y.as_chunks::<16>());
    let mut lanes = [0f32; 16];
    for (x, y) in xs.iter().zip(ys) {
        for l in 0..16 {
            lanes[l] += f(x[l], y[l]);
        }
    }
    let rest: f32 = x_rest.iter().zip(y_rest).map(|(x, y)| f(*x, *y)).sum();
    fold(lanes, |a, b| a + b) + rest
}

impl LayerNormKernel for Cpu {
    fn layer_norm_forward(
        &self,
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        eps: f32,
    ) -> Result<Normalized<Self>> {
        let channels = weight.len();
        let rows = x.len() / channels.max(1);
        let block = (GRAIN / channels.max(1)).max(1);
        let mut statistics = vec![0.0; 2 * rows];
        let y = build(x.len(), |y| {
            y.par_chunks(block * channels)
                .zip(x.par_chunks(block * channels))
                .zip(statistics.par_chunks_mut(block * 2))
                .for_each(|((y, x), statistics)| {
                    vectorized(
                        #[inline(always)]
                        || {
                            y.write_rows(
                                channels,
                                #[inline(always)]
                                |row, y| {
                                    let x = &x[row * channels..(row + 1) * channels];
                                    let mean = lane_sum(x, |x| x) / channels as f32;
                                    let variance = lane_sum(x, |x| (x - mean) * (x - mean)) / channels as f32;
                                    let inverse = 1.0 / (variance + eps).sqrt();
                                    statistics[2 * row..2 * row + 2].copy_from_slice(&[mean, inverse]);
                                    let values = x.iter().zip(weight).zip(bias);
                                    y.write(values.map(|((x, w), b)| ((x - mean) * inverse).mul_add(*w, *b)))
                                },
                            );
                        },
                    )
                });
        });
        Ok(Normalized { y, statistics })
    }

    fn layer_norm_backward(
        &self,
        x: &[f32],
        weight: &[f32],
        statistics: &[f32],
        mut dy: Vec<f32>,
        mut earlier: Option<Vec<f32>>,
    ) -> Result<NormGradients<Self>> {
        let channels = weight.len();
        let block = (2 * GRAIN / channels.max(1)).max(1);
        let sums: Vec<Option<&mut [f32]>> = match &mut earlier {
            Some(earlier) => earlier.chunks_mut((block * channels).max(1)).map(Some).collect(),
            None => (0..x.len().div_ceil((block * channels).max(1))).map(|_| None).collect(),
        };
        let partial: Vec<Vec<f32>> = dy
            .par_chunks_mut(block * channels)
            .zip(x.par_chunks(block * channels))
            .zip(statistics.par_chunks(block * 2))
            .zip(sums)
            .map(|(((dy, x), statistics), earlier)| {
                let mut sums = vec![0.0; 2 * channels];
                let (dweight, dbias) = sums.split_at_mut(channels);
                vectorized(
                    #[inline(always)]
                    || {
                        let rows = dy.chunks_exact_mut(channels).zip(x.chunks_exact(channels));
                        for ((dy, x), statistics) in rows.zip(statistics.chunks_exact(2)) {
                            let (mean, inverse) = (statistics[0], statistics[1]);
                            row_gradient(dy, x, weight, mean, inverse, dweight, dbias);
                        }
                        if let Some(earlier) = earlier {
                            earlier.iter_mut().zip(dy.iter()).for_each(|(sum, dx)| *sum += dx);
                        }
                    },
                );
                sums
            })
            .collect();
        let mut total = vec![0f64; 2 * channels];
        for sums in &partial {
            total.iter_mut().zip(sums).for_each(|(t, s)| *t += f64::from(*s));
        }
        let mut total = total.into_iter().map(|t| t as f32);
        Ok(NormGradients {
            weight: total.by_ref().take(channels).collect(),
            bias: total.collect(),
            dx: earlier.unwrap_or(dy),
        })
    }
}

/// dx = inverse (g - mean(g) - x̂ mean(g x̂)) with g = dy · weight, in place of dy.
#[inline(always)]
fn row_gradient(
    dy: &mut [f32],
    x: &[f32],
    weight: &[f32],
    mean: f32,
    inverse: f32,
    dweight: &mut [f32],
    dbias: &mut [f32],
) {
    let normal = |x: f32| (x - mean) * inverse;
    for ((dw, db), (dy, x)) in dweight.iter_mut().zip(dbias).zip(dy.iter().zip(x)) {
        *dw += dy * normal(*x);
        *db += dy;
    }
    dy.iter_mut().zip(weight).for_each(|(dy, w)| *dy *= w);
    let n = dy.len() as f32;
    let mean_g = lane_sum(dy, |g| g) / n;
    let mean_gx = lane_sum2(dy, x, |g, x| g * normal(x)) / n;
    for (dy, x) in dy.iter_mut().zip(x) {
        *dy = inverse * (*dy - mean_g - normal(*x) * mean_gx);
    }
}
