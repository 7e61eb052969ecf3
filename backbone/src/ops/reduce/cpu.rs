//! Reductions on the CPU: tasks of a fixed size, whose sums are added in order.

use super::ReduceKernel;
use crate::cpu::{Cpu, GRAIN, build};
use crate::error::Result;
use rayon::prelude::*;

impl ReduceKernel for Cpu {
    fn sum_parts(&self, dy: &[f32], repeats: usize) -> Result<Vec<f32>> {
        let period = dy.len() / repeats;
        let mut sums = vec![0.0; period];
        // Each task owns a range of columns and adds the parts in order: the same bits on any thread count.
        let columns = (GRAIN / repeats.max(1)).clamp(16, GRAIN);
        sums.par_chunks_mut(columns).enumerate().for_each(|(i, sums)| {
            for part in dy.chunks_exact(period) {
                let part = &part[i * columns..i * columns + sums.len()];
                sums.iter_mut().zip(part).for_each(|(s, d)| *s += d);
            }
        });
        Ok(sums)
    }

    fn total(&self, x: &[f32], weights: Option<&[f32]>, factor: f64) -> Result<Vec<f32>> {
        // Collected and added in order: a parallel sum would depend on the number of threads.
        let parts: Vec<f64> = match weights {
            None => x.par_chunks(GRAIN).map(|x| x.iter().map(|x| f64::from(*x)).sum()).collect(),
            // What has no weight does not count, whatever it is.
            Some(weights) => x
                .par_chunks(GRAIN)
                .zip(weights.par_chunks(GRAIN))
                .map(|(x, w)| {
                    let counted = x.iter().zip(w).filter(|(_, w)| **w != 0.0);
                    counted.map(|(x, w)| f64::from(*x) * f64::from(*w)).sum()
                })
                .collect(),
        };
        Ok(vec![(parts.iter().sum::<f64>() * factor) as f32])
    }

    fn spread_total(&self, dy: &[f32], weights: Option<&[f32]>, factor: f64, len: usize) -> Result<Vec<f32>> {
        let slope = (f64::from(dy[0]) * factor) as f32;
        Ok(weights.map_or_else(|| vec![slope; len], |weights| weights.iter().map(|w| w * slope).collect()))
    }

    fn mean_tokens(&self, x: &[f32], tokens: usize, channels: usize) -> Result<Vec<f32>> {
        let mut means = vec![0.0; x.len() / tokens];
        let sequences = x.par_chunks((tokens * channels).max(1));
        means.par_chunks_mut(channels.max(1)).zip(sequences).for_each(|(mean, x)| {
            for token in x.chunks_exact(channels) {
                mean.iter_mut().zip(token).for_each(|(m, x)| *m += x);
            }
            mean.iter_mut().for_each(|m| *m /= tokens as f32);
        });
        Ok(means)
    }

    fn spread_tokens(&self, dy: &[f32], tokens: usize, channels: usize) -> Result<Vec<f32>> {
        Ok(build(dy.len() * tokens, |dx| {
            let rows = dy.par_chunks(channels.max(1));
            dx.par_chunks((tokens * channels).max(1)).zip(rows).for_each(|(dx, dy)| {
                dx.write_rows(channels, |_, token| token.write(dy.iter().map(|dy| dy / tokens as f32)));
            });
        }))
    }
}
