//! The watch on the CPU.

use super::{Clip, WatchKernel, place};
use crate::cpu::simd::vectorized;
use crate::cpu::{Cpu, GRAIN};
use crate::error::Result;
use rayon::prelude::*;

impl WatchKernel for Cpu {
    fn watch_loss(&self, watch: &mut Vec<f32>, loss: &[f32], step: u64) -> Result<()> {
        fail(watch, 1.0, loss[0], step);
        watch[place::LOSSES] += loss[0];
        watch[place::COUNT] += 1.0;
        Ok(())
    }

    fn watch_norm(&self, watch: &mut Vec<f32>, gradients: &[&[f32]], clip: Clip, step: u64) -> Result<()> {
        let squares: f64 = gradients.iter().map(|gradient| sum_of_squares(gradient)).sum();
        let norm = squares.sqrt() * clip.mean;
        fail(watch, 2.0, norm as f32, step);
        let factor = if clip.max_norm > 0.0 && norm > clip.max_norm { clip.max_norm / norm } else { 1.0 };
        watch[place::NORM] = norm as f32;
        watch[place::SCALE] = (clip.mean * factor) as f32;
        Ok(())
    }
}

/// Notes a value that is not finite, if it is the first.
fn fail(watch: &mut [f32], kind: f32, value: f32, step: u64) {
    if !value.is_finite() && watch[place::FAILED] == 0.0 {
        watch[place::FAILED] = kind;
        watch[place::FAILED_STEP] = step as f32;
        watch[place::FAILED_VALUE] = value;
    }
}

fn sum_of_squares(x: &[f32]) -> f64 {
    const LANES: usize = 16;
    let chunk_sum = |chunk: &[f32]| {
        vectorized(
            #[inline(always)]
            || {
                // Lanes of their own, because a single sum cannot be vectorized without reordering it.
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
    partial.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_squares_is_that_of_a_plain_loop() {
        let x: Vec<f32> = (0..50_021).map(|i| (i * 7919 % 2003) as f32 / 1001.0 - 1.0).collect();
        let exact: f64 = x.iter().map(|v| f64::from(*v).powi(2)).sum();
        assert!((sum_of_squares(&x) - exact).abs() < 1e-9 * exact);
    }
}
