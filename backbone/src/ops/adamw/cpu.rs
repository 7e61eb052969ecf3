//! The passes on the CPU: chunks of a fixed size over threads, vectorised within.

use super::{AdamWKernel, Coefficients, OP};
use crate::error::{Error, Result};
use crate::ops::host::{Cpu, GRAIN};
use crate::ops::simd::vectorized;
use rayon::prelude::*;

impl AdamWKernel for Cpu {
    fn adamw_update(
        &self,
        parameter: &mut [f32],
        gradient: &[f32],
        [first, second]: [&mut [f32]; 2],
        c: &Coefficients,
    ) -> Result<()> {
        if gradient.len() != parameter.len() {
            let (found, expected) = (gradient.len(), parameter.len());
            return Err(Error::config(OP, format!("gradient of {found} values for {expected} parameters")));
        }
        parameter
            .par_chunks_mut(GRAIN)
            .zip(gradient.par_chunks(GRAIN))
            .zip(first.par_chunks_mut(GRAIN).zip(second.par_chunks_mut(GRAIN)))
            .for_each(|((p, g), (m, v))| {
                vectorized(
                    #[inline(always)]
                    || {
                        for ((p, g), (m, v)) in p.iter_mut().zip(g).zip(m.iter_mut().zip(v)) {
                            let g = g * c.gradient_scale;
                            *m = c.beta1 * *m + c.rest1 * g;
                            *v = c.beta2 * *v + c.rest2 * (g * g);
                            *p = c.keep * *p - c.step_size * *m / (v.sqrt() * c.root_scale + c.eps);
                        }
                    },
                )
            });
        Ok(())
    }

    fn sum_of_squares(&self, x: &[f32]) -> Result<f64> {
        const LANES: usize = 16;
        let chunk_sum = |chunk: &[f32]| {
            vectorized(
                #[inline(always)]
                || {
                    // Lanes of their own, because a single sum cannot be vectorised without reordering it.
                    let mut sums = [0.0f64; LANES];
                    let (rows, rest) = chunk.as_chunks::<LANES>();
                    for row in rows {
                        for (sum, x) in sums.iter_mut().zip(row) {
                            *sum += f64::from(*x) * f64::from(*x);
                        }
                    }
                    let rest: f64 = rest.iter().map(|x| f64::from(*x).powi(2)).sum();
                    sums.iter().sum::<f64>() + rest
                },
            )
        };
        // Collected and added in order: a parallel sum would depend on the number of threads.
        let partial: Vec<f64> = x.par_chunks(GRAIN).map(chunk_sum).collect();
        Ok(partial.iter().sum())
    }

    fn move_towards(&self, average: &mut [f32], x: &[f32], weight: f32) -> Result<()> {
        average.par_chunks_mut(GRAIN).zip(x.par_chunks(GRAIN)).for_each(|(average, x)| {
            vectorized(
                #[inline(always)]
                || {
                    for (average, x) in average.iter_mut().zip(x) {
                        *average += weight * (x - *average);
                    }
                },
            )
        });
        Ok(())
    }
}
