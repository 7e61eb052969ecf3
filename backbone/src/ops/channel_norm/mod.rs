//! Layer norm over the channels of a feature map, at each pixel apart ("channels first"):
//! y = (x - mean)/√(variance + eps) · weight + bias.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use super::layer_norm::{NormGradients, Normalized};
use crate::error::{Error, Result};
use crate::tensor::{Backend, Graph, Tensor};

/// Channels-first layer norm on a device; the number of channels is that of the weight.
pub trait ChannelNormKernel: Backend {
    /// y, and the statistics: the means of all B · plane positions, then their inverse deviations.
    ///
    /// # Errors
    /// The device refuses.
    fn channel_norm_forward(
        &self,
        x: Self::View<'_>,
        weight: Self::View<'_>,
        bias: Self::View<'_>,
        plane: usize,
        eps: f32,
    ) -> Result<Normalized<Self>>;
    /// Gradients; dx takes the place of dy.
    ///
    /// # Errors
    /// The device refuses.
    fn channel_norm_backward(
        &self,
        x: Self::View<'_>,
        weight: Self::View<'_>,
        statistics: Self::View<'_>,
        dy: Self::Buf,
        plane: usize,
    ) -> Result<NormGradients<Self>>;
}

/// Layer norm over the channel axis.
///
/// # Shapes
/// x (B, C, H, W), weight (C), bias (C) → (B, C, H, W).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn channel_norm<D: ChannelNormKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    weight: &Tensor<D>,
    bias: &Tensor<D>,
    eps: f32,
) -> Result<Tensor<D>> {
    const OP: &str = "channels-first layer norm";
    let [_, channels, height, width] = x.axes(OP, "(B, C, H, W)")?;
    for (what, t) in [("the weight", weight), ("the bias", bias)] {
        if t.shape().axes() != [channels] {
            return Err(Error::shape(OP, what, format!("[{channels}]"), t.shape()));
        }
    }
    let (device, plane) = (x.device(), height * width);
    let Normalized { y, statistics } =
        device.channel_norm_forward(x.view(), weight.view(), bias.view(), plane, eps)?;
    graph.record(device, y, x.shape(), &[x, weight, bias], || {
        let (x, weight, bias) = (x.clone(), weight.clone(), bias.clone());
        move |dy, grads| {
            let statistics = D::view_buf(&statistics);
            let gradients =
                x.device().channel_norm_backward(x.view(), weight.view(), statistics, dy, plane)?;
            grads.add(&weight, gradients.weight)?;
            grads.add(&bias, gradients.bias)?;
            grads.add(&x, gradients.dx)
        }
    })
}
