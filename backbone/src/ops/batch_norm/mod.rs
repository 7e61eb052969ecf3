//! Batch norm: y = (x - mean)/√(variance + eps) · weight + bias, with one mean and variance for each channel.
//!
//! While training they are those of the batch (variance divided by n), and the running statistics move towards
//! them by `momentum` (variance divided by n - 1), as torch has it. In evaluation they are the running ones. Where
//! processes have a part of the batch each ([`Graph::over`]), they are those of the whole batch (SyncBN).

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use crate::collective::{Collective, Summands};
use crate::cpu::Cpu;
use crate::error::{Error, Result};
use crate::tensor::{Backend, Graph, Tensor};

const OP: &str = "batch norm";

/// Running statistics, one of each for every channel.
#[derive(Clone, Debug)]
pub struct Running<D: Backend = Cpu> {
    /// (C): means.
    pub mean: Tensor<D>,
    /// (C): unbiased variances.
    pub variance: Tensor<D>,
}

impl<D: Backend> Running<D> {
    /// Mean 0 and variance 1, where training starts.
    ///
    /// # Errors
    /// Sizes that the device cannot hold.
    pub fn new(device: &D, channels: usize) -> Result<Self> {
        Ok(Self {
            mean: Tensor::zeros(device, [channels])?,
            variance: Tensor::from_vec(device, vec![1.0; channels], [channels])?,
        })
    }
}

/// Settings of a batch norm.
#[derive(Clone, Debug)]
pub struct Options {
    /// Added to the variance.
    pub eps: f32,
    /// The share of a batch's statistics in the new running ones.
    pub momentum: f32,
}

impl Default for Options {
    /// torch's: eps 1e-5, momentum 0.1.
    fn default() -> Self {
        Self { eps: 1e-5, momentum: 0.1 }
    }
}

/// What a batch norm computes with, each (C): y = (x - mean)/√(variance + eps) · weight + bias.
pub struct Terms<'a, D: Backend> {
    /// Subtracted first, so that a large mean costs no digits.
    pub mean: D::View<'a>,
    /// Divided by the number of values.
    pub variance: D::View<'a>,
    /// The factor.
    pub weight: D::View<'a>,
    /// The shift.
    pub bias: D::View<'a>,
    /// Added to the variance.
    pub eps: f32,
    /// Pixels of a plane of x.
    pub plane: usize,
}

/// Statistics of a batch, each (C).
pub struct BatchStatistics<D: Backend> {
    /// Means.
    pub mean: D::Buf,
    /// Variances, divided by the number of values.
    pub variance: D::Buf,
    /// The new running means.
    pub running_mean: D::Buf,
    /// The new running variances.
    pub running_variance: D::Buf,
}

/// Gradients at the parameters, each (C). They are also the sums over the batch that the gradient at x needs.
pub struct ParameterGradients<D: Backend> {
    /// Σ dy x̂.
    pub weight: D::Buf,
    /// Σ dy.
    pub bias: D::Buf,
}

/// Batch norm on a device; x is (B, C, plane). Statistics stay on the device.
pub trait BatchNormKernel: Backend {
    /// (3, C): the means, what f32 rounds off them, and the sums of squared deviations.
    ///
    /// # Errors
    /// The device refuses.
    fn channel_moments(&self, x: Self::View<'_>, channels: usize, plane: usize) -> Result<Self::Buf>;
    /// The statistics of `count` values a channel, of their moments; the running mean and variance move towards them
    /// by `momentum`.
    ///
    /// # Errors
    /// The device refuses.
    fn batch_statistics(
        &self,
        moments: Self::View<'_>,
        running: [Self::View<'_>; 2],
        count: f64,
        momentum: f32,
    ) -> Result<BatchStatistics<Self>>;
    /// y.
    ///
    /// # Errors
    /// The device refuses.
    fn batch_norm_forward(&self, x: Self::View<'_>, terms: &Terms<'_, Self>) -> Result<Self::Buf>;
    /// The gradients at weight and bias.
    ///
    /// # Errors
    /// The device refuses.
    fn batch_norm_parameter_gradients(
        &self,
        x: Self::View<'_>,
        dy: Self::View<'_>,
        terms: &Terms<'_, Self>,
    ) -> Result<ParameterGradients<Self>>;
    /// weight/√(variance + eps) · (dy - share · (Σ dy + x̂ Σ dy x̂)), in place of dy; share is 1/n, or 0 where the
    /// statistics are constants.
    ///
    /// # Errors
    /// The device refuses.
    fn batch_norm_input_gradient(
        &self,
        x: Self::View<'_>,
        dy: Self::Buf,
        terms: &Terms<'_, Self>,
        sums: &ParameterGradients<Self>,
        share: f32,
    ) -> Result<Self::Buf>;
}

/// Statistics that a pass normalizes with.
struct Statistics<D: BatchNormKernel> {
    mean: Tensor<D>,
    variance: Tensor<D>,
    /// One in so many values, over all processes; 0 if they are constants (the running ones).
    share: f32,
}

impl<D: BatchNormKernel> Statistics<D> {
    fn terms<'a>(&'a self, [weight, bias]: [&'a Tensor<D>; 2], eps: f32, plane: usize) -> Terms<'a, D> {
        let (mean, variance) = (self.mean.view(), self.variance.view());
        Terms { mean, variance, weight: weight.view(), bias: bias.view(), eps, plane }
    }
}

/// Batch norm of a feature map. While training the new running statistics come back too, for the module to keep.
///
/// # Shapes
/// x (B, C, H, W), weight (C), bias (C) → (B, C, H, W).
///
/// # Errors
/// Besides wrong shapes: training with a single value for each channel, which has no variance.
pub fn batch_norm<D: BatchNormKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    weight: &Tensor<D>,
    bias: &Tensor<D>,
    running: &Running<D>,
    options: &Options,
) -> Result<(Tensor<D>, Option<Running<D>>)> {
    let [_, channels, height, width] = x.axes(OP, "(B, C, H, W)")?;
    for (what, t) in [
        ("the weight", weight),
        ("the bias", bias),
        ("the running mean", &running.mean),
        ("the running variance", &running.variance),
    ] {
        if t.shape().axes() != [channels] {
            return Err(Error::shape(OP, what, format!("[{channels}]"), t.shape()));
        }
    }
    let (device, plane, eps) = (x.device(), height * width, options.eps);
    let (statistics, updated) = if graph.is_training() {
        let (statistics, updated) = of_batch(graph, x, running, options)?;
        (statistics, Some(updated))
    } else {
        let (mean, variance) = (running.mean.clone(), running.variance.clone());
        (Statistics { mean, variance, share: 0.0 }, None)
    };
    let y = device.batch_norm_forward(x.view(), &statistics.terms([weight, bias], eps, plane))?;
    let processes = graph.processes().cloned();
    let y = graph.record(device, y, x.shape(), &[x, weight, bias], || {
        let (x, weight, bias) = (x.clone(), weight.clone(), bias.clone());
        move |dy, grads| {
            let (device, terms) = (x.device(), statistics.terms([&weight, &bias], eps, plane));
            let local = device.batch_norm_parameter_gradients(x.view(), D::view_buf(&dy), &terms)?;
            // A process's own parameter gradients are summed with all others later; those at x need the sums now.
            let all = match &processes {
                Some(processes) if statistics.share != 0.0 => {
                    Some(over_processes(device, &local, &**processes)?)
                }
                _ => None,
            };
            let sums = all.as_ref().unwrap_or(&local);
            let dx = device.batch_norm_input_gradient(x.view(), dy, &terms, sums, statistics.share)?;
            grads.add(&weight, local.weight)?;
            grads.add(&bias, local.bias)?;
            grads.add(&x, dx)
        }
    })?;
    Ok((y, updated))
}

fn of_batch<D: BatchNormKernel>(
    graph: &Graph<D>,
    x: &Tensor<D>,
    running: &Running<D>,
    options: &Options,
) -> Result<(Statistics<D>, Running<D>)> {
    let [batch, channels, height, width] = x.axes(OP, "(B, C, H, W)")?;
    let (device, own) = (x.device(), (batch * height * width) as f64);
    let moments = device.channel_moments(x.view(), channels, height * width)?;
    let (count, moments) = match graph.processes() {
        None => (own, moments),
        Some(processes) => {
            let (count, moments) = joined(&device.download_buf(&moments), own, &**processes)?;
            (count, device.upload_buf(moments)?)
        }
    };
    if count < 2.0 {
        return Err(Error::config(OP, format!("{count} values a channel while training; it takes 2")));
    }
    let old = [running.mean.view(), running.variance.view()];
    let made = device.batch_statistics(D::view_buf(&moments), old, count, options.momentum)?;
    let tensor = |buf| Tensor::from_stored(device.store(buf)?, [channels].into());
    let share = (1.0 / count) as f32;
    Ok((
        Statistics { mean: tensor(made.mean)?, variance: tensor(made.variance)?, share },
        Running { mean: tensor(made.running_mean)?, variance: tensor(made.running_variance)? },
    ))
}

/// The number of values and the moments of all processes' batches together.
fn joined(moments: &[f32], count: f64, processes: &dyn Collective) -> Result<(f64, Vec<f32>)> {
    let channels = moments.len() / 3;
    let moment = |kind: usize, c: usize| f64::from(moments[kind * channels + c]);
    // n, and for each channel Σ x and Σ x²: numbers that add up, in f64
    let mut sums = vec![count];
    for c in 0..channels {
        let mean = moment(0, c) + moment(1, c);
        sums.extend([count * mean, moment(2, c) + count * mean * mean]);
    }
    processes.all_reduce(Summands::F64(&mut sums))?;
    let mut joined = vec![0.0; 3 * channels];
    for (c, sum) in sums[1..].chunks_exact(2).enumerate() {
        let mean = sum[0] / sums[0];
        joined[c] = mean as f32;
        joined[channels + c] = (mean - f64::from(joined[c])) as f32;
        joined[2 * channels + c] = (sum[1] - sums[0] * mean * mean).max(0.0) as f32;
    }
    Ok((sums[0], joined))
}

fn over_processes<D: BatchNormKernel>(
    device: &D,
    local: &ParameterGradients<D>,
    processes: &dyn Collective,
) -> Result<ParameterGradients<D>> {
    let (weight, bias) = (device.download_buf(&local.weight), device.download_buf(&local.bias));
    let mut sums: Vec<f64> = weight.iter().chain(&bias).map(|sum| f64::from(*sum)).collect();
    processes.all_reduce(Summands::F64(&mut sums))?;
    let mut sums = sums.into_iter().map(|sum| sum as f32);
    let weight = sums.by_ref().take(weight.len()).collect();
    Ok(ParameterGradients { weight: device.upload_buf(weight)?, bias: device.upload_buf(sums.collect())? })
}
