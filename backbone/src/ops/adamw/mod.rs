//! AdamW (arXiv 1711.05101), fused: one pass over parameter, gradient and both moments,
//!
//! g = s · ∇, m ← β₁ m + (1 - β₁) g, v ← β₂ v + (1 - β₂) g²,
//! p ← (1 - lr λ) p - lr / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + ε),
//!
//! s being the factor that gradient clipping and accumulation ask for, which the device keeps (see
//! [`watch`](super::watch)). With it the moving average of weights. On a GPU all parameters are one launch.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::tensor::Backend;
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
            keep: (1.0 - update.lr * update.weight_decay) as f32,
            step_size: (update.lr / (1.0 - power(beta1))) as f32,
            root_scale: (1.0 / (1.0 - power(beta2)).sqrt()) as f32,
        }
    }
}

/// The moving averages of a parameter's gradient.
#[derive(Clone, Debug)]
pub struct Moments<D: Backend> {
    /// m.
    pub first: Tensor<D>,
    /// v.
    pub second: Tensor<D>,
}

impl<D: Backend> Moments<D> {
    /// Zeros for a parameter.
    ///
    /// # Errors
    /// The device refuses.
    pub fn zeros(parameter: &Tensor<D>) -> Result<Self> {
        let zeros = || Tensor::zeros(parameter.device(), parameter.shape());
        Ok(Self { first: zeros()?, second: zeros()? })
    }
}

/// Optimizer passes on a device. All give the same bits whatever the number of threads.
///
/// Parameters are first gathered, then changed together; a device without launches to save changes each at once. What
/// is gathered must not move until then.
pub trait AdamWKernel: Backend {
    /// Parameters that were gathered.
    type Gathered: Default;
    /// Takes up one parameter's update. `watch` holds s, and whether anything failed: then nothing changes.
    ///
    /// # Errors
    /// The device refuses.
    fn gather_update(
        &self,
        gathered: &mut Self::Gathered,
        parameter: Self::ViewMut<'_>,
        gradient: Self::View<'_>,
        moments: [Self::ViewMut<'_>; 2],
        coefficients: &Coefficients,
        watch: Self::View<'_>,
    ) -> Result<()>;
    /// Does the updates that were gathered.
    ///
    /// # Errors
    /// The device refuses.
    fn run_updates(&self, gathered: Self::Gathered, watch: Self::View<'_>) -> Result<()>;
    /// Takes up average ← average + weight (x - average); `weight` is the same for all.
    ///
    /// # Errors
    /// The device refuses.
    fn gather_average(
        &self,
        gathered: &mut Self::Gathered,
        average: Self::ViewMut<'_>,
        x: Self::View<'_>,
        weight: f32,
    ) -> Result<()>;
    /// Moves the averages that were gathered.
    ///
    /// # Errors
    /// The device refuses.
    fn run_averages(&self, gathered: Self::Gathered, weight: f32) -> Result<()>;
}

/// An update of several parameters; nothing is sure to have changed before [`Updates::run`].
pub struct Updates<'w, D: AdamWKernel> {
    device: D,
    gathered: D::Gathered,
    watch: D::View<'w>,
}

impl<'w, D: AdamWKernel> Updates<'w, D> {
    /// None yet.
    pub fn new(device: &D, watch: D::View<'w>) -> Self {
        Self { device: device.clone(), gathered: D::Gathered::default(), watch }
    }

    /// Takes up the update of one parameter and its moments. `gradient` has the parameter's layout.
    ///
    /// # Errors
    /// [`Error::Config`] for step 0; [`Error::Length`] for moments of another size than the parameter.
    pub fn add(
        &mut self,
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
            parameter.shape().check_len(moment.numel())?;
        }
        self.device.gather_update(
            &mut self.gathered,
            parameter.view_mut(),
            gradient,
            [moments.first.view_mut(), moments.second.view_mut()],
            &Coefficients::new(config, update),
            self.watch,
        )
    }

    /// Does them all.
    ///
    /// # Errors
    /// The device refuses.
    pub fn run(self) -> Result<()> {
        self.device.run_updates(self.gathered, self.watch)
    }
}

/// average ← decay · average + (1 - decay) · x of several tensors (EMA of weights); as [`Updates`].
pub struct Averages<D: AdamWKernel> {
    device: D,
    gathered: D::Gathered,
    weight: f32,
}

impl<D: AdamWKernel> Averages<D> {
    /// None yet.
    pub fn new(device: &D, decay: f64) -> Self {
        Self { device: device.clone(), gathered: D::Gathered::default(), weight: (1.0 - decay) as f32 }
    }

    /// Takes up one tensor.
    ///
    /// # Errors
    /// [`Error::Length`] for tensors of different sizes.
    pub fn add(&mut self, average: &mut Tensor<D>, x: &Tensor<D>) -> Result<()> {
        average.shape().check_len(x.numel())?;
        self.device.gather_average(&mut self.gathered, average.view_mut(), x.view(), self.weight)
    }

    /// Moves them all.
    ///
    /// # Errors
    /// The device refuses.
    pub fn run(self) -> Result<()> {
        self.device.run_averages(self.gathered, self.weight)
    }
}
