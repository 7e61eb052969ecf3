//! Layer norm over the last axis: y = (x - mean)/√(variance + eps) · weight + bias.

mod cpu;
pub(crate) use cpu::lane_sum;
#[cfg(feature = "cuda")]
pub(super) mod cuda;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::tensor::{Backend, Graph, Tensor};

/// What a layer norm's backward pass needs: y and, for each row, 1/√(variance + eps) and the mean.
pub struct Normalized<D: Backend> {
    /// The output.
    pub y: D::Buf,
    /// (rows, 2): mean and inverse deviation.
    pub statistics: D::Buf,
}

/// Gradients of a layer norm.
pub struct NormGradients<D: Backend> {
    /// At x.
    pub dx: D::Buf,
    /// At the weight.
    pub weight: D::Buf,
    /// At the bias.
    pub bias: D::Buf,
}

/// Layer norm on a device.
pub trait LayerNormKernel: Backend {
    /// y and the rows' statistics (empty unless `keep`).
    ///
    /// # Errors
    /// The device refuses.
    fn layer_norm_forward(
        &self,
        x: Self::View<'_>,
        weight: Self::View<'_>,
        bias: Self::View<'_>,
        eps: f32,
    ) -> Result<Normalized<Self>>;
    /// Gradients; dx is added to `earlier` if there is one, which takes its place, else takes that of dy.
    ///
    /// # Errors
    /// The device refuses.
    fn layer_norm_backward(
        &self,
        x: Self::View<'_>,
        weight: Self::View<'_>,
        statistics: Self::View<'_>,
        dy: Self::Buf,
        earlier: Option<Self::Buf>,
    ) -> Result<NormGradients<Self>>;
}

/// Whether the parameters are of x's channels.
///
/// # Errors
/// They are not.
pub(super) fn check<D: Backend>(x: &Tensor<D>, weight: &Tensor<D>, bias: &Tensor<D>) -> Result<()> {
    let channels = x.shape().last();
    for (what, t) in [("the weight", weight), ("the bias", bias)] {
        if t.shape().axes() != [channels] {
            return Err(Error::shape("layer norm", what, format!("[{channels}]"), t.shape()));
        }
    }
    Ok(())
}

/// Layer norm over the last axis.
///
/// # Shapes
/// x (…, C), weight (C), bias (C) → (…, C).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn layer_norm<D: LayerNormKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    weight: &Tensor<D>,
    bias: &Tensor<D>,
    eps: f32,
) -> Result<Tensor<D>> {
    check(x, weight, bias)?;
    let device = x.device();
    let Normalized { y, statistics } =
        device.layer_norm_forward(x.view(), weight.view(), bias.view(), eps)?;
    graph.record(device, y, x.shape(), &[x, weight, bias], || {
        let (x, weight, bias) = (x.clone(), weight.clone(), bias.clone());
        move |dy, grads| {
            let (device, statistics) = (x.device(), D::view_buf(&statistics));
            let backward = |earlier| {
                let gradients =
                    device.layer_norm_backward(x.view(), weight.view(), statistics, dy, earlier)?;
                Ok((gradients.dx, [gradients.weight, gradients.bias]))
            };
            let [dweight, dbias] = match x.wants_gradient() {
                true => grads.update_with(&x, backward)?,
                false => backward(None)?.1,
            };
            grads.add(&weight, dweight)?;
            grads.add(&bias, dbias)
        }
    })
}
