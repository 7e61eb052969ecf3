//! The passes on the CPU: chunks of a fixed size over threads, vectorized within.

use super::{AdamWKernel, Coefficients, OP};
use crate::cpu::simd::vectorized;
use crate::cpu::{Cpu, GRAIN};
use crate::error::{Error, Result};
use crate::ops::watch::place;
use rayon::prelude::*;

impl AdamWKernel for Cpu {
    type Gathered = ();

    fn gather_update(
        &self,
        _: &mut (),
        parameter: &mut [f32],
        gradient: &[f32],
        [first, second]: [&mut [f32]; 2],
        c: &Coefficients,
        watch: &[f32],
    ) -> Result<()> {
        if gradient.len() != parameter.len() {
            let (found, expected) = (gradient.len(), parameter.len());
            return Err(Error::config(OP, format!("gradient of {found} values for {expected} parameters")));
        }
        if watch[place::FAILED] != 0.0 {
            return Ok(());
        }
        let scale = watch[place::SCALE];
        parameter
            .par_chunks_mut(GRAIN)
            .zip(gradient.par_chunks(GRAIN))
            .zip(first.par_chunks_mut(GRAIN).zip(second.par_chunks_mut(GRAIN)))
            .for_each(|((p, g), (m, v))| {
                vectorized(
                    #[inline(always)]
                    || {
                        for ((p, g), (m, v)) in p.iter_mut().zip(g).zip(m.iter_mut().zip(v)) {
                            let g = g * scale;
                            *m = c.beta1 * *m + c.rest1 * g;
                            *v = c.beta2 * *v + c.rest2 * (g * g);
                            *p = c.keep * *p - c.step_size * *m / (v.sqrt() * c.root_scale + c.eps);
                        }
                    },
                )
            });
        Ok(())
    }

    fn run_updates(&self, _: (), _: &[f32]) -> Result<()> {
        Ok(())
    }

    fn gather_average(&self, _: &mut (), average: &mut [f32], x: &[f32], weight: f32) -> Result<()> {
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

    fn run_averages(&self, _: (), _: f32) -> Result<()> {
        Ok(())
    }
}
