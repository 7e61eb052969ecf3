//! Softmax cross entropy on the CPU. With H · W positions behind the class axis, neighbors in W are the lanes
//! of a vector; with none, the classes are.

use super::{IGNORED, Labels, Plan, PositionLosses, SoftmaxCrossEntropyKernel};
use crate::cpu::simd::{exp, vectorized};
use crate::cpu::{Cpu, Unwritten, build};
use crate::error::Result;
use rayon::prelude::*;

/// Positions of one task where there are several behind the class axis: K rows of 1 KiB stay in L2.
const TILE: usize = 256;

impl SoftmaxCrossEntropyKernel for Cpu {
    fn cross_entropy_forward(&self, logits: &[f32], plan: &Plan) -> Result<PositionLosses<Self>> {
        let g = plan.geometry;
        let mut losses = vec![0.0; g.positions()];
        let log_sums = build(g.positions(), |log_sums| {
            let inner = g.inner.max(1);
            log_sums.par_chunks(inner).zip(losses.par_chunks_mut(inner)).enumerate().for_each(
                |(o, (log_sums, losses))| {
                    let logits = &logits[o * g.classes * g.inner..(o + 1) * g.classes * g.inner];
                    if g.inner == 1 {
                        let log_sum = vectorized(
                            #[inline(always)]
                            || row_log_sum(logits),
                        );
                        log_sums.write([log_sum]);
                        losses[0] = position_loss(plan, logits, (o, 0), log_sum);
                        return;
                    }
                    log_sums.par_chunks(TILE).zip(losses.par_chunks_mut(TILE)).enumerate().for_each(
                        |(tile, (log_sums, losses))| {
                            let (start, log_sums) = (tile * TILE, log_sums.zeroed());
                            vectorized(
                                #[inline(always)]
                                || column_log_sums(&logits[start..], g.inner, g.classes, log_sums),
                            );
                            match plan.columns_are_plain() {
                                true => plain_losses(plan, logits, (o, start), log_sums, losses),
                                false => {
                                    for (i, (loss, log_sum)) in losses.iter_mut().zip(log_sums).enumerate() {
                                        *loss = position_loss(plan, logits, (o, start + i), *log_sum);
                                    }
                                }
                            }
                        },
                    );
                },
            );
        });
        Ok(PositionLosses { losses, log_sums })
    }

    fn cross_entropy_backward(
        &self,
        logits: &[f32],
        log_sums: &[f32],
        dlosses: &[f32],
        plan: &Plan,
    ) -> Result<Vec<f32>> {
        let g = plan.geometry;
        if g.inner == 1 {
            return Ok(build(logits.len(), |dx| {
                dx.par_chunks(g.classes)
                    .zip(logits.par_chunks(g.classes))
                    .enumerate()
                    .for_each(|(o, (dx, x))| row_gradient(plan, o, x, log_sums[o], dlosses[o], dx.zeroed()));
            }));
        }
        // Scale of p at each position: dloss · Σ_c w_c t_c.
        let scales: Vec<f32> = (0..g.positions()).map(|i| dlosses[i] * plan.mass(i)).collect();
        Ok(build(logits.len(), |dx| {
            dx.par_chunks(g.inner.max(1)).zip(logits.par_chunks(g.inner.max(1))).enumerate().for_each(
                |(row, (dx, x))| {
                    let (o, class) = (row / g.classes, row % g.classes);
                    let columns = o * g.inner..(o + 1) * g.inner;
                    let at = (&log_sums[columns.clone()], &scales[columns.clone()]);
                    plane_gradient(plan, row, class, (x, at.0, at.1, &dlosses[columns]), dx);
                },
            );
        }))
    }
}

impl Plan {
    /// Σ_c w_c t_c of a position: the factor of its softmax in the gradient.
    fn mass(&self, position: usize) -> f32 {
        let g = self.geometry;
        let uniform = self.label_smoothing / g.classes as f32 * self.total_class_weight();
        match &self.labels {
            Labels::Hard(labels) if labels[position] == IGNORED => 0.0,
            Labels::Hard(labels) => {
                (1.0 - self.label_smoothing).mul_add(self.class_weight(labels[position] as usize), uniform)
            }
            Labels::Soft(values) => {
                let (o, i) = (position / g.inner, position % g.inner);
                let target = |c: usize| values[(o * g.classes + c) * g.inner + i];
                let sum: f32 = (0..g.classes).map(|c| self.class_weight(c) * target(c)).sum();
                (1.0 - self.label_smoothing).mul_add(sum, uniform)
            }
        }
    }

    /// Hard targets without smoothing: one logit decides.
    fn columns_are_plain(&self) -> bool {
        self.label_smoothing == 0.0 && matches!(self.labels, Labels::Hard(_))
    }
}

#[inline(always)]
fn row_log_sum(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<16>();
    let mut lanes = [f32::NEG_INFINITY; 16];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(m, x)| *m = if *x > *m { *x } else { *m });
    }
    let max = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |m, x| m.max(*x));
    let mut lanes = [0f32; 16];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(s, x)| *s += exp(x - max));
    }
    let sum = lanes.iter().sum::<f32>() + rest.iter().map(|x| exp(x - max)).sum::<f32>();
    max + sum.ln()
}

/// log Σ_c e^x_c of `out.len()` neighboring positions; `x` starts at the first of them in class 0.
#[inline(always)]
fn column_log_sums(x: &[f32], stride: usize, classes: usize, out: &mut [f32]) {
    let mut max = [f32::NEG_INFINITY; TILE];
    let mut sum = [0f32; TILE];
    let (max, sum) = (&mut max[..out.len()], &mut sum[..out.len()]);
    for class in 0..classes {
        let row = &x[class * stride..class * stride + out.len()];
        max.iter_mut().zip(row).for_each(|(m, x)| *m = if *x > *m { *x } else { *m });
    }
    for class in 0..classes {
        let row = &x[class * stride..class * stride + out.len()];
        for ((s, x), m) in sum.iter_mut().zip(row).zip(max.iter()) {
            *s += exp(x - m);
        }
    }
    for ((out, max), sum) in out.iter_mut().zip(max.iter()).zip(sum.iter()) {
        *out = max + sum.ln();
    }
}

fn plain_losses(plan: &Plan, x: &[f32], (o, start): (usize, usize), log_sums: &[f32], losses: &mut [f32]) {
    let Labels::Hard(labels) = &plan.labels else { return };
    let first = o * plan.geometry.inner + start;
    let labels = &labels[first..first + losses.len()];
    for (i, ((loss, log_sum), label)) in losses.iter_mut().zip(log_sums).zip(labels).enumerate() {
        if *label != IGNORED {
            let class = *label as usize;
            *loss = plan.class_weight(class) * (log_sum - x[class * plan.geometry.inner + start + i]);
        }
    }
}

/// Σ_c w_c t_c (log_sum - x_c), summed in f64; `x` holds the logits of sample `o`.
fn position_loss(plan: &Plan, x: &[f32], (o, i): (usize, usize), log_sum: f32) -> f32 {
    let g = plan.geometry;
    let cost = |c: usize| f64::from(plan.class_weight(c) * (log_sum - x[c * g.inner + i]));
    let smoothing = f64::from(plan.label_smoothing);
    let uniform = || smoothing / g.classes as f64 * (0..g.classes).map(cost).sum::<f64>();
    let uniform = |wanted: bool| if wanted { uniform() } else { 0.0 };
    let loss = match &plan.labels {
        Labels::Hard(labels) => match labels[o * g.inner + i] {
            IGNORED => 0.0,
            class => (1.0 - smoothing) * cost(class as usize) + uniform(smoothing > 0.0),
        },
        Labels::Soft(values) => {
            // a class that is no target adds nothing, even where its logit is -inf
            let target = |c: usize| f64::from(values[(o * g.classes + c) * g.inner + i]);
            let term = |c: usize| if target(c) == 0.0 { 0.0 } else { target(c) * cost(c) };
            (1.0 - smoothing) * (0..g.classes).map(term).sum::<f64>() + uniform(smoothing > 0.0)
        }
    };
    loss as f32
}

/// dx_c = dloss (mass · p_c - w_c t_c) over the classes of one position.
fn row_gradient(plan: &Plan, o: usize, x: &[f32], log_sum: f32, dloss: f32, dx: &mut [f32]) {
    let scale = dloss * plan.mass(o);
    if scale == 0.0 {
        return dx.fill(0.0);
    }
    vectorized(
        #[inline(always)]
        || dx.iter_mut().zip(x).for_each(|(dx, x)| *dx = scale * exp(x - log_sum)),
    );
    let share = dloss * plan.label_smoothing / plan.geometry.classes as f32;
    if share != 0.0 {
        dx.iter_mut().enumerate().for_each(|(c, dx)| *dx -= share * plan.class_weight(c));
    }
    let kept = dloss * (1.0 - plan.label_smoothing);
    match &plan.labels {
        Labels::Hard(labels) => dx[labels[o] as usize] -= kept * plan.class_weight(labels[o] as usize),
        Labels::Soft(values) => {
            let target = &values[o * x.len()..(o + 1) * x.len()];
            for (c, (dx, t)) in dx.iter_mut().zip(target).enumerate() {
                *dx -= kept * plan.class_weight(c) * t;
            }
        }
    }
}

/// As [`row_gradient`], for one class over the positions of one sample: (logits, log sums, scales, dlosses).
fn plane_gradient(
    plan: &Plan,
    row: usize,
    class: usize,
    (x, log_sums, scales, dlosses): (&[f32], &[f32], &[f32], &[f32]),
    dx: Unwritten<'_>,
) {
    let inner = plan.geometry.inner;
    let weight = plan.class_weight(class);
    let share = weight * plan.label_smoothing / plan.geometry.classes as f32;
    let kept = weight * (1.0 - plan.label_smoothing);
    vectorized(
        #[inline(always)]
        || match &plan.labels {
            Labels::Hard(labels) => {
                let first = row / plan.geometry.classes * inner;
                let labels = &labels[first..first + inner];
                dx.write((0..inner).map(|i| {
                    let mut target = if labels[i] == class as u32 { kept + share } else { share };
                    target = if labels[i] == IGNORED { 0.0 } else { target };
                    scales[i] * exp(x[i] - log_sums[i]) - dlosses[i] * target
                }));
            }
            Labels::Soft(values) => {
                let target = &values[row * inner..(row + 1) * inner];
                dx.write((0..inner).map(|i| {
                    let target = kept.mul_add(target[i], share);
                    scales[i] * exp(x[i] - log_sums[i]) - dlosses[i] * target
                }));
            }
        },
    );
}
