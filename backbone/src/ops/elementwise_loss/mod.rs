//! Losses that compare element by element: binary cross entropy with logits, smooth L1 and L1. Each is
//! Σ weight · loss(x, target) / normalizer, the normalizer being the caller's (detection has its own for each).

#[cfg(feature = "cuda")]
mod cuda;

use crate::cpu::simd::{logistic, vectorized};
use crate::cpu::{Cpu, GRAIN, build};
use crate::error::{Error, Result};
use crate::tensor::{Backend, Graph, Tensor};
use rayon::prelude::*;

/// What is summed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// -t log σ(x) - (1 - t) log(1 - σ(x)).
    BinaryCrossEntropy,
    /// d²/(2β) where |d| < β, else |d| - β/2, with d = x - t; β = 0 is |d|.
    SmoothL1 {
        /// β.
        beta: f32,
    },
}

impl Kind {
    #[inline(always)]
    fn value(self, x: f32, t: f32) -> f32 {
        match self {
            Self::BinaryCrossEntropy => x.max(0.0) - x * t + (-x.abs()).exp().ln_1p(),
            Self::SmoothL1 { beta } => match (x - t).abs() {
                d if d < beta => 0.5 * d * d / beta,
                d => d - 0.5 * beta,
            },
        }
    }

    #[inline(always)]
    fn slope(self, x: f32, t: f32) -> f32 {
        match self {
            Self::BinaryCrossEntropy => logistic(x) - t,
            Self::SmoothL1 { beta } => match x - t {
                d if d.abs() < beta => d / beta,
                0.0 => 0.0,
                d => d.signum(),
            },
        }
    }
}

/// Targets and weights of a loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    /// What each element should be.
    pub targets: Vec<f32>,
    /// A factor for each element; 1 if absent.
    pub weights: Option<Vec<f32>>,
    /// What the sum is divided by.
    pub normalizer: f32,
}

impl Goal {
    /// The mean over all elements.
    pub fn mean(targets: Vec<f32>) -> Self {
        let normalizer = targets.len().max(1) as f32;
        Self { targets, weights: None, normalizer }
    }

    /// The sum over all elements, divided by `normalizer`.
    pub fn sum(targets: Vec<f32>, normalizer: f32) -> Self {
        Self { targets, weights: None, normalizer }
    }
}

/// A [`Goal`] on a device, as kernels see it.
pub struct GoalViews<'a, D: Backend> {
    /// What each element should be.
    pub targets: D::View<'a>,
    /// A factor for each element; 1 if absent.
    pub weights: Option<D::View<'a>>,
    /// What the sum is divided by.
    pub normalizer: f32,
}

/// Element-wise losses on a device.
pub trait ElementwiseLossKernel: Backend {
    /// The loss, summed in f64, as one value.
    ///
    /// # Errors
    /// The device refuses.
    fn elementwise_loss(
        &self,
        kind: Kind,
        x: Self::View<'_>,
        goal: &GoalViews<'_, Self>,
    ) -> Result<Self::Buf>;
    /// Its gradient at x, times `dloss` (one value).
    ///
    /// # Errors
    /// The device refuses.
    fn elementwise_loss_gradient(
        &self,
        kind: Kind,
        x: Self::View<'_>,
        goal: &GoalViews<'_, Self>,
        dloss: Self::View<'_>,
    ) -> Result<Self::Buf>;
}

/// Binary cross entropy of logits, as a scalar; targets in [0, 1].
///
/// # Shapes
/// logits (…) with as many targets → ().
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn binary_cross_entropy<D: ElementwiseLossKernel>(
    graph: &mut Graph<D>,
    logits: &Tensor<D>,
    goal: Goal,
) -> Result<Tensor<D>> {
    loss(graph, logits, goal, Kind::BinaryCrossEntropy, "binary cross entropy")
}

/// Smooth L1 (`beta` 0: L1), as a scalar.
///
/// # Shapes
/// x (…) with as many targets → ().
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn smooth_l1<D: ElementwiseLossKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    goal: Goal,
    beta: f32,
) -> Result<Tensor<D>> {
    if beta.is_nan() || beta < 0.0 {
        return Err(Error::config("smooth L1", format!("beta is {beta}, it must be at least 0")));
    }
    loss(graph, x, goal, Kind::SmoothL1 { beta }, "smooth L1")
}

fn loss<D: ElementwiseLossKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    goal: Goal,
    kind: Kind,
    op: &'static str,
) -> Result<Tensor<D>> {
    let weights = goal.weights.as_ref().map_or(x.numel(), Vec::len);
    for (what, found) in [("targets", goal.targets.len()), ("weights", weights)] {
        if found != x.numel() {
            return Err(Error::config(op, format!("{found} {what} for an input of shape {}", x.shape())));
        }
    }
    if goal.normalizer.is_nan() || goal.normalizer <= 0.0 {
        return Err(Error::config(op, format!("the normalizer is {}, it must be positive", goal.normalizer)));
    }
    let device = x.device();
    let goal = DeviceGoal::<D>::new(device, goal)?;
    let value = device.elementwise_loss(kind, x.view(), &goal.views())?;
    graph.record(device, value, [], &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let (device, dloss) = (x.device(), D::view_buf(&dy));
            grads.add(&x, device.elementwise_loss_gradient(kind, x.view(), &goal.views(), dloss)?)
        }
    })
}

/// A [`Goal`] on a device, for both passes.
struct DeviceGoal<D: Backend> {
    targets: D::Buf,
    weights: Option<D::Buf>,
    normalizer: f32,
}

impl<D: Backend> DeviceGoal<D> {
    fn new(device: &D, goal: Goal) -> Result<Self> {
        let weights = goal.weights.map(|weights| device.upload_buf(weights)).transpose()?;
        Ok(Self { targets: device.upload_buf(goal.targets)?, weights, normalizer: goal.normalizer })
    }

    fn views(&self) -> GoalViews<'_, D> {
        GoalViews {
            targets: D::view_buf(&self.targets),
            weights: self.weights.as_ref().map(D::view_buf),
            normalizer: self.normalizer,
        }
    }
}

impl ElementwiseLossKernel for Cpu {
    fn elementwise_loss(&self, kind: Kind, x: &[f32], goal: &GoalViews<'_, Self>) -> Result<Vec<f32>> {
        let part = |(block, (x, t)): (usize, (&[f32], &[f32]))| -> f64 {
            let values = x.iter().zip(t).map(|(x, t)| f64::from(kind.value(*x, *t)));
            match goal.weights {
                None => values.sum(),
                Some(weights) => values.zip(&weights[block * GRAIN..]).map(|(v, w)| v * f64::from(*w)).sum(),
            }
        };
        let blocks = x.par_chunks(GRAIN).zip(goal.targets.par_chunks(GRAIN)).enumerate();
        let parts: Vec<f64> = blocks.map(part).collect();
        Ok(vec![(parts.iter().sum::<f64>() / f64::from(goal.normalizer)) as f32])
    }

    fn elementwise_loss_gradient(
        &self,
        kind: Kind,
        x: &[f32],
        goal: &GoalViews<'_, Self>,
        dloss: &[f32],
    ) -> Result<Vec<f32>> {
        let factor = dloss[0] / goal.normalizer;
        Ok(build(x.len(), |dx| {
            let inputs = x.par_chunks(GRAIN).zip(goal.targets.par_chunks(GRAIN));
            dx.par_chunks(GRAIN).zip(inputs).enumerate().for_each(|(block, (dx, (x, t)))| {
                vectorized(
                    #[inline(always)]
                    || {
                        let dx = dx.write(x.iter().zip(t).map(|(x, t)| factor * kind.slope(*x, *t)));
                        if let Some(weights) = goal.weights {
                            let weights = &weights[block * GRAIN..];
                            dx.iter_mut().zip(weights).for_each(|(dx, w)| *dx *= w);
                        }
                    },
                );
            });
        }))
    }
}

#[cfg(test)]
mod tests;
