//! Batch norm on the CPU. Sums go plane by plane in f32 lanes over short runs and in f64 beyond, in an order that
//! does not depend on the number of threads.

use super::{Affine, BatchNormKernel};
use crate::error::Result;
use crate::ops::host::{Cpu, overwritten};
use crate::ops::simd::vectorized;
use rayon::prelude::*;

/// Values that are summed in f32 before the sum goes into f64.
const RUN: usize = 512;

impl BatchNormKernel for Cpu {
    fn channel_moments(&self, x: &[f32], channels: usize, plane: usize) -> Result<Vec<[f64; 2]>> {
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
                    // the centre was rounded to f32
                    let off = mean - f64::from(center);
                    [mean, (squares - count * off * off).max(0.0)]
                },
            )
        };
        Ok((0..channels).into_par_iter().map(moments).collect())
    }

    fn channel_affine(&self, x: &[f32], maps: &[Affine], plane: usize) -> Result<Vec<f32>> {
        let plane = plane.max(1);
        Ok(overwritten(x.len(), |y| {
            y.par_chunks_exact_mut(plane).zip(x.par_chunks_exact(plane)).enumerate().for_each(
                |(i, (y, x))| {
                    let map = maps[i % maps.len()];
                    vectorized(
                        #[inline(always)]
                        || y.iter_mut().zip(x).for_each(|(y, x)| *y = map.of(*x)),
                    );
                },
            );
        }))
    }

    fn channel_gradient_sums(
        &self,
        x: &[f32],
        dy: &[f32],
        centers: &[f32],
        plane: usize,
    ) -> Result<Vec<[f64; 2]>> {
        let sample = (centers.len() * plane).max(1);
        let sums = |(c, center): (usize, &f32)| {
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
            sums
        };
        Ok(centers.par_iter().enumerate().map(sums).collect())
    }

    fn channel_affine_sum(
        &self,
        x: &[f32],
        maps: &[Affine],
        factors: &[f32],
        mut dy: Vec<f32>,
        plane: usize,
    ) -> Result<Vec<f32>> {
        let plane = plane.max(1);
        dy.par_chunks_exact_mut(plane).zip(x.par_chunks_exact(plane)).enumerate().for_each(|(i, (dy, x))| {
            let (map, factor) = (maps[i % maps.len()], factors[i % maps.len()]);
            vectorized(
                #[inline(always)]
                || dy.iter_mut().zip(x).for_each(|(dy, x)| *dy = dy.mul_add(factor, map.of(*x))),
            );
        });
        Ok(dy)
    }
}

impl Affine {
    #[inline(always)]
    fn of(&self, x: f32) -> f32 {
        (x - self.center).mul_add(self.scale, self.shift)
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
