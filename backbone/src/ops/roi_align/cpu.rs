//! RoIAlign on the CPU: rows of bins in vectors of neighboring pixels, then columns. Forward a task has some
//! channels of a box; backward some planes of the map, to which it adds all boxes of that image.

use super::{Bins, Plan, RoiAlignKernel};
use crate::cpu::simd::vectorized;
use crate::cpu::{Cpu, build};
use crate::error::Result;
use rayon::prelude::*;

/// Channels of a task.
const CHANNELS: usize = 32;

impl RoiAlignKernel for Cpu {
    fn roi_align_forward(&self, x: &[f32], plan: &Plan) -> Result<Vec<f32>> {
        let (plane, bins) = (plan.input[0] * plan.input[1], plan.output[0] * plan.output[1]);
        let sample = (plan.channels * bins).max(1);
        Ok(build(plan.boxes.len() * plan.channels * bins, |y| {
            y.par_chunks(sample).zip(&plan.boxes).for_each(|(y, (image, rows, columns))| {
                y.par_chunks(CHANNELS * bins).enumerate().for_each_init(Vec::new, |line, (block, y)| {
                    let (y, first) = (y.zeroed(), image * plan.channels + block * CHANNELS);
                    vectorized(
                        #[inline(always)]
                        || {
                            for (c, y) in y.chunks_exact_mut(bins).enumerate() {
                                let x = &x[(first + c) * plane..(first + c + 1) * plane];
                                take(x, plan, rows, columns, line, y);
                            }
                        },
                    );
                });
            });
        }))
    }

    fn roi_align_backward(&self, dy: &[f32], plan: &Plan) -> Result<Vec<f32>> {
        let (plane, bins) = (plan.input[0] * plan.input[1], plan.output[0] * plan.output[1]);
        let mut dx = vec![0.0; plan.batch * plan.channels * plane];
        let planes = dx.par_chunks_exact_mut(plane.max(1)).enumerate();
        planes.for_each_init(Vec::new, |line, (i, dx)| {
            let (image, channel) = (i / plan.channels, i % plan.channels);
            vectorized(
                #[inline(always)]
                || {
                    let boxes = plan.boxes.iter().enumerate().filter(|(_, roi)| roi.0 == image);
                    for (r, (_, rows, columns)) in boxes {
                        let dy = &dy[(r * plan.channels + channel) * bins..][..bins];
                        give(dy, plan, rows, columns, line, dx);
                    }
                },
            );
        });
        Ok(dx)
    }
}

/// The bins of one box in one plane. `line` holds a row of bins at the columns of pixels the box covers.
#[inline(always)]
fn take(x: &[f32], plan: &Plan, rows: &Bins, columns: &Bins, line: &mut Vec<f32>, y: &mut [f32]) {
    let covered = columns.covered();
    for ((start, weights), y) in rows.rows().zip(y.chunks_exact_mut(plan.output[1])) {
        line.clear();
        line.resize(covered.len(), 0.0);
        for (row, w) in (start..).zip(weights) {
            let x = &x[row * plan.input[1]..(row + 1) * plan.input[1]][covered.clone()];
            let line = &mut line[..x.len()];
            for i in 0..x.len() {
                line[i] = x[i].mul_add(*w, line[i]);
            }
        }
        for ((start, weights), y) in columns.rows().zip(y) {
            let from = start.saturating_sub(covered.start);
            let line = &line[from..from + weights.len()];
            *y = line.iter().zip(weights).fold(0.0, |sum, (l, w)| l.mul_add(*w, sum));
        }
    }
}

/// The reverse of [`take`]: adds each bin's gradient to the pixels behind it.
#[inline(always)]
fn give(dy: &[f32], plan: &Plan, rows: &Bins, columns: &Bins, line: &mut Vec<f32>, dx: &mut [f32]) {
    let covered = columns.covered();
    for ((start, weights), dy) in rows.rows().zip(dy.chunks_exact(plan.output[1])) {
        line.clear();
        line.resize(covered.len(), 0.0);
        for ((start, weights), d) in columns.rows().zip(dy) {
            let from = start.saturating_sub(covered.start);
            let line = &mut line[from..from + weights.len()];
            line.iter_mut().zip(weights).for_each(|(l, w)| *l = d.mul_add(*w, *l));
        }
        for (row, w) in (start..).zip(weights) {
            let dx = &mut dx[row * plan.input[1]..(row + 1) * plan.input[1]][covered.clone()];
            dx.iter_mut().zip(line.iter()).for_each(|(d, l)| *d = l.mul_add(*w, *d));
        }
    }
}
