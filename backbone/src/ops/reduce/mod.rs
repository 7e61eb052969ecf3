//! Sums and means, in a fixed order whatever the number of threads, and what spreads their gradients.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

use crate::error::{Error, Result};
use crate::tensor::{Backend, Graph, Tensor};

/// Reductions on a device.
pub trait ReduceKernel: Backend {
    /// The sum of `repeats` equal parts of `dy`.
    ///
    /// # Errors
    /// The device refuses.
    fn sum_parts(&self, dy: Self::View<'_>, repeats: usize) -> Result<Self::Buf>;
    /// `factor` Σ weights x, added up in f64: one value. Without weights they are 1.
    ///
    /// # Errors
    /// The device refuses.
    fn total(&self, x: Self::View<'_>, weights: Option<Self::View<'_>>, factor: f64) -> Result<Self::Buf>;
    /// The gradient of that at x, of `len` values, from `dy` at the total: dy · factor · weights.
    ///
    /// # Errors
    /// The device refuses.
    fn spread_total(
        &self,
        dy: Self::View<'_>,
        weights: Option<Self::View<'_>>,
        factor: f64,
        len: usize,
    ) -> Result<Self::Buf>;
    /// The mean of each sequence's tokens: (B, C).
    ///
    /// # Errors
    /// The device refuses.
    fn mean_tokens(&self, x: Self::View<'_>, tokens: usize, channels: usize) -> Result<Self::Buf>;
    /// Each of `dy`'s rows divided by `tokens` and repeated `tokens` times.
    ///
    /// # Errors
    /// The device refuses.
    fn spread_tokens(&self, dy: Self::View<'_>, tokens: usize, channels: usize) -> Result<Self::Buf>;
}

/// The mean of all elements, as a scalar.
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn mean<D: ReduceKernel>(graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
    weighted_sum(graph, x, 1.0 / x.numel().max(1) as f32)
}

/// `factor` times the sum of all elements, as a scalar.
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn weighted_sum<D: ReduceKernel>(graph: &mut Graph<D>, x: &Tensor<D>, factor: f32) -> Result<Tensor<D>> {
    let factor = f64::from(factor);
    let y = x.device().total(x.view(), None, factor)?;
    graph.record(x.device(), y, [], &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().spread_total(D::view_buf(&dy), None, factor, x.numel())?;
            grads.add(&x, dx)
        }
    })
}

/// The mean of every sequence's tokens.
///
/// # Shapes
/// x (B, N, C) → (B, C).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn mean_tokens<D: ReduceKernel>(graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
    let [batch, tokens, channels] = x.axes("mean_tokens", "tokens (B, N, C)")?;
    if tokens == 0 {
        return Err(Error::shape("mean_tokens", "the input", "at least one token", x.shape()));
    }
    let y = x.device().mean_tokens(x.view(), tokens, channels)?;
    graph.record(x.device(), y, [batch, channels], &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().spread_tokens(D::view_buf(&dy), tokens, channels)?;
            grads.add(&x, dx)
        }
    })
}
