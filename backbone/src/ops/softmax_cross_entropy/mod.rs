//! Softmax cross entropy over the class axis of (B, K) or (B, K, H, W) logits:
//!
//! loss = Σ_c w_c t_c (log Σ_k e^{x_k} - x_c), t the target distribution over the K classes.
//!
//! A hard target y with label smoothing ε is t_y = 1 - ε + ε/K and t_c = ε/K elsewhere; its mean divides by the
//! sum of w_y over the positions that count, as torch's `cross_entropy` does.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod ohem;
#[cfg(test)]
mod tests;

pub use ohem::OhemSampler;

use super::reduce::ReduceKernel;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Backend, Graph, Tensor};
use std::sync::Arc;

const OP: &str = "softmax cross entropy";

/// The label of a position that does not count, as kernels see it.
pub const IGNORED: u32 = u32::MAX;

/// What each position should be.
#[derive(Clone, Debug)]
pub enum Targets {
    /// One class a position, in the order of the logits without their class axis.
    Hard {
        /// The classes, 0 to K - 1.
        classes: Vec<u32>,
        /// The value that marks positions which do not count (255 in segmentation).
        ignore: Option<u32>,
    },
    /// A distribution over the classes for each position, laid out as the logits (mixup, distillation).
    Soft(Vec<f32>),
}

impl Targets {
    /// Classes that all count.
    pub fn hard(classes: Vec<u32>) -> Self {
        Self::Hard { classes, ignore: None }
    }
}

/// What the sum of the positions' losses is divided by: a count over the whole batch, also where processes have a part
/// of it each.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Normalizer {
    /// The class weights of the positions that count (their number, without class weights); for soft targets
    /// the number of positions. The loss is 0 if none counts. This is torch's mean.
    #[default]
    Valid,
    /// The number of positions, those that do not count included (mmsegmentation's default).
    All,
    /// A number of the caller's; 1 gives the sum.
    Value(f32),
}

/// How positions and classes enter the loss.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// ε: the share of the target that is spread over all classes, in [0, 1).
    pub label_smoothing: f32,
    /// w: one factor for each class; 1 for all if absent.
    pub class_weights: Option<Vec<f32>>,
    /// One factor for each position, applied to its loss and not to the normalizer (see [`OhemSampler`]).
    pub position_weights: Option<Vec<f32>>,
    /// What the sum is divided by.
    pub normalizer: Normalizer,
}

impl Options {
    /// Plain mean cross entropy with label smoothing.
    pub fn smoothed(label_smoothing: f32) -> Self {
        Self { label_smoothing, ..Self::default() }
    }
}

/// Sizes: logits are (outer, classes, inner).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// B.
    pub outer: usize,
    /// K.
    pub classes: usize,
    /// Product of the axes behind the classes: H · W, or 1.
    pub inner: usize,
}

impl Geometry {
    fn of(shape: Shape) -> Result<Self> {
        match *shape.axes() {
            [outer, classes, ref rest @ ..] if classes > 0 => {
                Ok(Self { outer, classes, inner: rest.iter().product() })
            }
            _ => Err(Error::shape(OP, "the logits", "(B, K, …) with K > 0", shape)),
        }
    }

    /// The number of positions.
    pub fn positions(&self) -> usize {
        self.outer * self.inner
    }
}

/// Checked labels.
#[derive(Clone, Debug)]
pub enum Labels {
    /// One class or [`IGNORED`] for each position.
    Hard(Vec<u32>),
    /// (outer, classes, inner).
    Soft(Vec<f32>),
}

/// A checked loss, shared by the forward and the backward pass.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Sizes of the logits.
    pub geometry: Geometry,
    /// What each position should be.
    pub labels: Labels,
    /// ε.
    pub label_smoothing: f32,
    /// w, one for each class.
    pub class_weights: Option<Vec<f32>>,
}

impl Plan {
    fn new(shape: Shape, targets: &Targets, options: &Options) -> Result<Self> {
        let geometry = Geometry::of(shape)?;
        let count = |what: &str, found: usize, expected: usize| match found == expected {
            true => Ok(()),
            false => {
                Err(Error::config(OP, format!("{found} {what} for logits {shape}, expected {expected}")))
            }
        };
        if !(0.0..1.0).contains(&options.label_smoothing) {
            let reason = format!("label smoothing {} is not in [0, 1)", options.label_smoothing);
            return Err(Error::config(OP, reason));
        }
        if let Some(weights) = &options.class_weights {
            count("class weights", weights.len(), geometry.classes)?;
        }
        if let Some(weights) = &options.position_weights {
            count("position weights", weights.len(), geometry.positions())?;
        }
        let labels = match targets {
            Targets::Soft(values) => {
                count("target values", values.len(), shape.numel())?;
                Labels::Soft(values.clone())
            }
            Targets::Hard { classes, ignore } => {
                count("target classes", classes.len(), geometry.positions())?;
                Labels::Hard(checked_classes(classes, *ignore, geometry.classes)?)
            }
        };
        Ok(Self {
            geometry,
            labels,
            label_smoothing: options.label_smoothing,
            class_weights: options.class_weights.clone(),
        })
    }

    /// w_c.
    pub fn class_weight(&self, class: usize) -> f32 {
        self.class_weights.as_ref().map_or(1.0, |w| w[class])
    }

    /// Σ_c w_c.
    pub fn total_class_weight(&self) -> f32 {
        self.class_weights.as_ref().map_or(self.geometry.classes as f32, |w| w.iter().sum())
    }

    fn normalizer<D: Backend>(&self, graph: &Graph<D>, normalizer: Normalizer) -> Result<f64> {
        let own = match (normalizer, &self.labels) {
            (Normalizer::Value(value), _) => return Ok(f64::from(value)),
            (Normalizer::All, _) | (_, Labels::Soft(_)) => self.geometry.positions() as f64,
            (Normalizer::Valid, Labels::Hard(classes)) => classes
                .iter()
                .filter(|c| **c != IGNORED)
                .map(|c| f64::from(self.class_weight(*c as usize)))
                .sum(),
        };
        let mut whole = [own];
        graph.sum_over_batch(&mut whole)?;
        Ok(whole[0])
    }
}

fn checked_classes(classes: &[u32], ignore: Option<u32>, count: usize) -> Result<Vec<u32>> {
    let label = |(position, &class): (usize, &u32)| match class {
        class if Some(class) == ignore => Ok(IGNORED),
        class if (class as usize) < count => Ok(class),
        class => {
            let reason = format!("target {class} at position {position} is not one of {count} classes");
            Err(Error::config(OP, reason))
        }
    };
    classes.iter().enumerate().map(label).collect()
}

/// Losses by position, and what the backward pass needs.
pub struct PositionLosses<D: Backend> {
    /// (outer, inner); 0 where ignored.
    pub losses: D::Buf,
    /// (outer, inner): log Σ_k e^{x_k}.
    pub log_sums: D::Buf,
}

/// Softmax cross entropy on a device.
pub trait SoftmaxCrossEntropyKernel: Backend {
    /// The loss of each position.
    ///
    /// # Errors
    /// The device refuses.
    fn cross_entropy_forward(&self, logits: Self::View<'_>, plan: &Plan) -> Result<PositionLosses<Self>>;
    /// The gradient at the logits, from that at each position's loss.
    ///
    /// # Errors
    /// The device refuses.
    fn cross_entropy_backward(
        &self,
        logits: Self::View<'_>,
        log_sums: Self::View<'_>,
        dlosses: Self::View<'_>,
        plan: &Plan,
    ) -> Result<Self::Buf>;
}

/// The loss of each position, smoothed and weighted by class; 0 where ignored. `position_weights` and
/// `normalizer` are not applied.
///
/// # Shapes
/// logits (B, K, …) → (B, …).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn softmax_cross_entropy_each<D: SoftmaxCrossEntropyKernel + ReduceKernel>(
    graph: &mut Graph<D>,
    logits: &Tensor<D>,
    targets: &Targets,
    options: &Options,
) -> Result<Tensor<D>> {
    let plan = Plan::new(logits.shape(), targets, options)?;
    each(graph, logits, plan.into())
}

fn each<D: SoftmaxCrossEntropyKernel + ReduceKernel>(
    graph: &mut Graph<D>,
    logits: &Tensor<D>,
    plan: Arc<Plan>,
) -> Result<Tensor<D>> {
    let axes = logits.shape();
    let out: Vec<usize> = axes.axes()[..1].iter().chain(&axes.axes()[2..]).copied().collect();
    let device = logits.device();
    let PositionLosses { losses, log_sums } = device.cross_entropy_forward(logits.view(), &plan)?;
    graph.record(device, losses, Shape::new(&out)?, &[logits], || {
        let logits = logits.clone();
        move |dy, grads| {
            let dx = logits.device().cross_entropy_backward(
                logits.view(),
                D::view_buf(&log_sums),
                D::view_buf(&dy),
                &plan,
            )?;
            grads.add(&logits, dx)
        }
    })
}

/// The loss over all positions, as a scalar: Σ position_weight · loss / normalizer.
///
/// # Shapes
/// logits (B, K, …) → ().
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn softmax_cross_entropy<D: SoftmaxCrossEntropyKernel + ReduceKernel>(
    graph: &mut Graph<D>,
    logits: &Tensor<D>,
    targets: &Targets,
    options: &Options,
) -> Result<Tensor<D>> {
    let plan = Arc::new(Plan::new(logits.shape(), targets, options)?);
    let losses = each(graph, logits, plan.clone())?;
    let divisor = plan.normalizer(graph, options.normalizer)?;
    let factor = if divisor == 0.0 { 0.0 } else { 1.0 / divisor };
    let device = losses.device();
    let weights = options.position_weights.clone().map(|weights| device.upload_buf(weights)).transpose()?;
    let total = device.total(losses.view(), weights.as_ref().map(D::view_buf), factor)?;
    graph.record(device, total, [], &[&losses], || {
        let losses = losses.clone();
        move |dy, grads| {
            let (device, weights) = (losses.device(), weights.as_ref().map(D::view_buf));
            let dlosses = device.spread_total(D::view_buf(&dy), weights, factor, losses.numel())?;
            grads.add(&losses, dlosses)
        }
    })
}
