//! AdamW (arXiv 1711.05101), fused: one pass over parameter, gradient and both moments,
//!
//! g = s · ∇, m ← β₁ m + (1 - β₁) g, v ← β₂ v + (1 - β₂) g²,
//! p ← (1 - lr λ) p - lr / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + ε),
//!
//! s being the factor that gradient clipping and accumulation ask for. With it the two other passes over all
//! parameters that training makes: the sum of squares for the gradient's norm, and the moving average of weights.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use super::device::{Backend, Device};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

const OP: &str = "adamw";

/// What is the same for all parameters of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// β₁ and β₂.
    pub betas: [f64; 2],
    /// ε.
    pub eps: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { betas: [0.9, 0.999], eps: 1e-8 }
    }
}

/// One update of one parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// t, counted from 1.
    pub step: u64,
    /// lr of this parameter.
    pub lr: f64,
    /// λ of this parameter.
    pub weight_decay: f64,
    /// s.
    pub gradient_scale: f64,
}

/// The numbers of an update as the kernels use them, worked out in f64.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficients {
    /// β₁.
    pub beta1: f32,
    /// 1 - β₁.
    pub rest1: f32,
    /// β₂.
    pub beta2: f32,
    /// 1 - β₂.
    pub rest2: f32,
    /// ε.
    pub eps: f32,
    /// s.
    pub gradient_scale: f32,
    /// 1 - lr λ.
    pub keep: f32,
    /// lr / (1 - β₁ᵗ).
    pub step_size: f32,
    /// 1 / √(1 - β₂ᵗ).
    pub root_scale: f32,
}

impl Coefficients {
    fn new(config: &AdamWConfig, update: &Update) -> Self {
        let [beta1, beta2] = config.betas;
        let power = |beta: f64| beta.powf(update.step as f64);
        Self {
            beta1: beta1 as f32,
            rest1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            rest2: (1.0 - beta2) as f32,
            eps: config.eps as f32,
            gradient_scale: update.gradient_scale as f32,
            keep: (1.0 - update.lr * update.weight_decay) as f32,
            step_size: (update.lr / (1.0 - power(beta1))) as f32,
            root_scale: (1.0 / (1.0 - power(beta2)).sqrt()) as f32,
        }
    }
}

/// The moving averages of a parameter's gradient.
#[derive(Clone, Debug)]
pub struct Moments<D: Device> {
    /// m.
    pub first: Tensor<D>,
    /// v.
    pub second: Tensor<D>,
}

impl<D: Device> Moments<D> {
    /// Zeros for a parameter.
    pub fn zeros(parameter: &Tensor<D>) -> Result<Self> {
        let zeros = || Tensor::zeros(parameter.device(), parameter.shape());
        Ok(Self { first: zeros()?, second: zeros()? })
    }
}

/// Optimiser passes on a device. All give the same bits whatever the number of threads.
pub trait AdamWKernel: Backend {
    /// The update, in place.
    fn adamw_update(
        &self,
        parameter: Self::ViewMut<'_>,
        gradient: Self::View<'_>,
        moments: [Self::ViewMut<'_>; 2],
        coefficients: &Coefficients,
    ) -> Result<()>;
    /// Σ x², in f64.
    fn sum_of_squares(&self, x: Self::View<'_>) -> Result<f64>;
    /// average ← average + weight (x - average), in place.
    fn move_towards(&self, average: Self::ViewMut<'_>, x: Self::View<'_>, weight: f32) -> Result<()>;
}

/// Updates one parameter and its moments in place. `gradient` has the parameter's layout.
///
/// # Errors
/// [`Error::Config`] for step 0; [`Error::Length`] for moments of another size than the parameter.
pub fn adamw<D: Device>(
    parameter: &mut Tensor<D>,
    gradient: D::View<'_>,
    moments: &mut Moments<D>,
    config: &AdamWConfig,
    update: &Update,
) -> Result<()> {
    if update.step == 0 {
        return Err(Error::config(OP, "step is 0, must be at least 1"));
    }
    for moment in [&moments.first, &moments.second] {
        if moment.numel() != parameter.numel() {
            let shape = parameter.shape();
            return Err(Error::Length { shape, expected: shape.numel(), found: moment.numel() });
        }
    }
    let device = parameter.device().clone();
    device.adamw_update(
        parameter.view_mut(),
        gradient,
        [moments.first.view_mut(), moments.second.view_mut()],
        &Coefficients::new(config, update),
    )
}

/// average ← decay · average + (1 - decay) · x, in place (EMA of weights).
///
/// # Errors
/// [`Error::Length`] for tensors of different sizes.
pub fn moving_average<D: Device>(average: &mut Tensor<D>, x: &Tensor<D>, decay: f64) -> Result<()> {
    if average.numel() != x.numel() {
        let shape = average.shape();
        return Err(Error::Length { shape, expected: shape.numel(), found: x.numel() });
    }
    let device = x.device().clone();
    device.move_towards(average.view_mut(), x.view(), (1.0 - decay) as f32)
}
