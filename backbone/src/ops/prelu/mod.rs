//! PReLU (arXiv 1502.01852): x where it is positive, a x elsewhere, with one learned slope a for the whole input.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::tensor::{Backend, Graph, Tensor};

/// Gradients of PReLU.
pub struct PreluGradients<D: Backend> {
    /// At x.
    pub dx: D::Buf,
    /// At the slope: Σ dy min(x, 0).
    pub slope: D::Buf,
}

/// PReLU on a device.
pub trait PreluKernel: Backend {
    /// max(x, 0) + slope · min(x, 0).
    ///
    /// # Errors
    /// The device refuses.
    fn prelu_forward(&self, x: Self::View<'_>, slope: Self::View<'_>) -> Result<Self::Buf>;

    /// Gradients at x and at the slope; the same bits whatever the number of threads. At x = 0 the derivative is the slope,
    /// as PyTorch's.
    ///
    /// # Errors
    /// The device refuses.
    fn prelu_backward(
        &self,
        x: Self::View<'_>,
        slope: Self::View<'_>,
        dy: Self::Buf,
    ) -> Result<PreluGradients<Self>>;
}

/// PReLU of every element.
///
/// # Shapes
/// x any, slope (1) → as x.
///
/// # Errors
/// More than one slope; the device refuses.
pub fn prelu<D: PreluKernel>(graph: &mut Graph<D>, x: &Tensor<D>, slope: &Tensor<D>) -> Result<Tensor<D>> {
    if slope.numel() != 1 {
        return Err(Error::shape("PReLU", "the slope", "one value", slope.shape()));
    }
    let y = x.device().prelu_forward(x.view(), slope.view())?;
    graph.record(x.device(), y, x.shape(), &[x, slope], || {
        let (x, slope) = (x.clone(), slope.clone());
        move |dy, grads| {
            let gradients = x.device().prelu_backward(x.view(), slope.view(), dy)?;
            grads.add(&x, gradients.dx)?;
            grads.add(&slope, gradients.slope)
        }
    })
}
