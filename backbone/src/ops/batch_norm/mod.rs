//! Batch norm: y = (x - mean)/√(variance + eps) · weight + bias, with one mean and variance for each channel.
//!
//! While training they are those of the batch (variance divided by n), and the running statistics move towards
//! them by `momentum` (variance divided by n - 1), as torch has it. In evaluation they are the running ones.

mod cpu;
#[cfg(test)]
mod tests;

use super::device::{Backend, Device};
use super::tape::Graph;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use std::rc::Rc;

const OP: &str = "batch norm";

/// Running statistics, one of each for every channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// Means.
    pub mean: Vec<f32>,
    /// Unbiased variances.
    pub variance: Vec<f32>,
}

impl Running {
    /// Mean 0 and variance 1, where training starts.
    pub fn new(channels: usize) -> Self {
        Self { mean: vec![0.0; channels], variance: vec![1.0; channels] }
    }
}

/// Sums numbers over the processes that train together, so that a batch split over them has one mean and one
/// variance. Every process calls it in the same order with as many numbers.
pub trait SumOverProcesses {
    /// Replaces each number by its sum over all processes.
    fn sum(&self, numbers: &mut [f64]) -> Result<()>;
}

/// Settings of a batch norm.
#[derive(Clone)]
pub struct Options {
    /// Added to the variance.
    pub eps: f32,
    /// The share of a batch's statistics in the new running ones.
    pub momentum: f32,
    /// Where the batch is split over processes: how they add up. `None` takes this process's part alone.
    pub processes: Option<Rc<dyn SumOverProcesses>>,
}

impl Default for Options {
    /// torch's: eps 1e-5, momentum 0.1.
    fn default() -> Self {
        Self { eps: 1e-5, momentum: 0.1, processes: None }
    }
}

impl Options {
    fn sum(&self, numbers: &mut [f64]) -> Result<()> {
        self.processes.as_ref().map_or(Ok(()), |processes| processes.sum(numbers))
    }
}

/// y = (x - center) · scale + shift, for one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Affine {
    /// Subtracted first, so that a large mean costs no digits.
    pub center: f32,
    /// The factor.
    pub scale: f32,
    /// Added last.
    pub shift: f32,
}

/// Batch norm on a device; x is (B, channels, plane), the number of channels that of the slices.
pub trait BatchNormKernel: Backend {
    /// Mean and sum of squared deviations from it, for each channel.
    fn channel_moments(&self, x: Self::View<'_>, channels: usize, plane: usize) -> Result<Vec<[f64; 2]>>;
    /// The affine map of each channel.
    fn channel_affine(&self, x: Self::View<'_>, maps: &[Affine], plane: usize) -> Result<Self::Buf>;
    /// Σ dy and Σ dy (x - center), for each channel.
    fn channel_gradient_sums(
        &self,
        x: Self::View<'_>,
        dy: Self::View<'_>,
        centers: &[f32],
        plane: usize,
    ) -> Result<Vec<[f64; 2]>>;
    /// `factors[c]` · dy + the affine map of x, in place of dy.
    fn channel_affine_sum(
        &self,
        x: Self::View<'_>,
        maps: &[Affine],
        factors: &[f32],
        dy: Self::Buf,
        plane: usize,
    ) -> Result<Self::Buf>;
}

/// Statistics that a pass normalises with.
struct Statistics {
    mean: Vec<f64>,
    inverse: Vec<f64>,
    /// Values behind each of them, over all processes; `None` if they are constants (the running ones).
    count: Option<f64>,
}

/// Batch norm of a feature map. While training the new running statistics come back too, for the module to keep.
///
/// # Shapes
/// x (B, C, H, W), weight (C), bias (C) → (B, C, H, W).
///
/// # Errors
/// Besides wrong shapes: training with a single value for each channel, which has no variance.
pub fn batch_norm<D: Device>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    weight: &Tensor<D>,
    bias: &Tensor<D>,
    running: &Running,
    options: &Options,
) -> Result<(Tensor<D>, Option<Running>)> {
    let [batch, channels, height, width] = x.axes(OP, "(B, C, H, W)")?;
    for (what, t) in [("the weight", weight), ("the bias", bias)] {
        if t.shape().axes() != [channels] {
            return Err(Error::shape(OP, what, format!("[{channels}]"), t.shape()));
        }
    }
    for (what, len) in [("means", running.mean.len()), ("variances", running.variance.len())] {
        if len != channels {
            return Err(Error::config(OP, format!("{len} running {what} for {channels} channels")));
        }
    }
    let (device, plane) = (x.device(), height * width);
    let (statistics, updated) = match graph.is_training() {
        true => {
            let moments = device.channel_moments(x.view(), channels, plane)?;
            let (statistics, updated) = of_batch(&moments, (batch * plane) as f64, running, options)?;
            (statistics, Some(updated))
        }
        false => (of_running(running, options), None),
    };
    let (host_weight, host_bias) = (weight.to_vec(), bias.to_vec());
    let maps: Vec<Affine> = (0..channels)
        .map(|c| Affine {
            center: statistics.mean[c] as f32,
            scale: (statistics.inverse[c] * f64::from(host_weight[c])) as f32,
            shift: host_bias[c],
        })
        .collect();
    let y = device.channel_affine(x.view(), &maps, plane)?;
    let y = graph.record(device, y, x.shape(), &[x, weight, bias], || {
        let (x, weight, bias, options) = (x.clone(), weight.clone(), bias.clone(), options.clone());
        move |dy, grads| {
            let device = x.device();
            let centers: Vec<f32> = maps.iter().map(|map| map.center).collect();
            let local = device.channel_gradient_sums(x.view(), D::view_buf(&dy), &centers, plane)?;
            let dweight = local.iter().zip(&statistics.inverse).map(|(s, inverse)| (s[1] * inverse) as f32);
            grads.add(&weight, device.upload_buf(dweight.collect())?)?;
            grads.add(&bias, device.upload_buf(local.iter().map(|s| s[0] as f32).collect())?)?;
            // A process's own parameter gradients are summed with all others later; those at x need the sums now.
            let mut sums: Vec<f64> = local.into_iter().flatten().collect();
            if statistics.count.is_some() {
                options.sum(&mut sums)?;
            }
            let through: Vec<Affine> =
                (0..maps.len()).map(|c| through_statistics(&maps[c], &statistics, &sums, c)).collect();
            let factors: Vec<f32> = maps.iter().map(|map| map.scale).collect();
            let dx = device.channel_affine_sum(x.view(), &through, &factors, dy, plane)?;
            grads.add(&x, dx)
        }
    })?;
    Ok((y, updated))
}

fn of_running(running: &Running, options: &Options) -> Statistics {
    let inverse = |v: &f32| 1.0 / (f64::from(*v) + f64::from(options.eps)).sqrt();
    Statistics {
        mean: running.mean.iter().map(|m| f64::from(*m)).collect(),
        inverse: running.variance.iter().map(inverse).collect(),
        count: None,
    }
}

fn of_batch(
    moments: &[[f64; 2]],
    count: f64,
    running: &Running,
    options: &Options,
) -> Result<(Statistics, Running)> {
    // n, and for each channel Σ x and Σ x²: numbers that add up over processes, in f64
    let mut sums = vec![count];
    sums.extend(moments.iter().flat_map(|[mean, squares]| [count * mean, squares + count * mean * mean]));
    options.sum(&mut sums)?;
    let total = sums[0];
    if total < 2.0 {
        return Err(Error::config(OP, format!("{total} values a channel while training; it takes 2")));
    }
    let mut statistics = Statistics { mean: vec![], inverse: vec![], count: Some(total) };
    let mut updated = running.clone();
    let momentum = f64::from(options.momentum);
    for (c, sum) in sums[1..].chunks_exact(2).enumerate() {
        let mean = sum[0] / total;
        // one process needs no sums of squares, and loses no digits to them
        let squares = if options.processes.is_some() { sum[1] - total * mean * mean } else { moments[c][1] };
        let squares = squares.max(0.0);
        statistics.mean.push(mean);
        statistics.inverse.push(1.0 / (squares / total + f64::from(options.eps)).sqrt());
        let towards = |old: &mut f32, new: f64| {
            *old = (f64::from(*old) * (1.0 - momentum) + momentum * new) as f32;
        };
        towards(&mut updated.mean[c], mean);
        towards(&mut updated.variance[c], squares / (total - 1.0));
    }
    Ok((statistics, updated))
}

/// The part of dx that passes through the batch's mean and variance, an affine map of x:
/// -scale (Σdy/n + x̂ Σ(dy x̂)/n).
fn through_statistics(map: &Affine, statistics: &Statistics, sums: &[f64], c: usize) -> Affine {
    let Some(count) = statistics.count else { return Affine::default() };
    let scale = f64::from(map.scale);
    let inverse = statistics.inverse[c];
    Affine {
        center: map.center,
        scale: (-scale * inverse * inverse * sums[2 * c + 1] / count) as f32,
        shift: (-scale * sums[2 * c] / count) as f32,
    }
}
