//! Layer norm over the channels of each pixel as a module.

use crate::nn::Builder;
use crate::nn::LAYER_NORM_EPS;
use crate::{Device, Graph, Result, Tensor, module, ops};

/// Layer norm over C at each pixel of (B, C, H, W), eps 1e-6: "LN" of ViTDet's convolutions.
#[derive(Clone, Debug)]
pub struct ChannelNorm<D: Device> {
    /// (C).
    pub weight: Tensor<D>,
    /// (C).
    pub bias: Tensor<D>,
}

module!(ChannelNorm { weight, bias });

impl<D: Device> ChannelNorm<D> {
    /// Weight 1, bias 0.
    ///
    /// # Errors
    /// Sizes that the device cannot hold.
    pub fn new(builder: &Builder<D>, channels: usize) -> Result<Self> {
        Ok(Self { weight: builder.constant(1.0, [channels])?, bias: builder.constant(0.0, [channels])? })
    }

    /// (B, C, H, W) → (B, C, H, W).
    ///
    /// # Errors
    /// An input of other channels.
    pub fn forward(&self, graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
        ops::channel_norm(graph, x, &self.weight, &self.bias, LAYER_NORM_EPS)
    }
}
