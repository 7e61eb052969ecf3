//! Layer norm as a module.

use super::Builder;
use crate::device::Device;
use crate::error::Result;
use crate::module;
use crate::ops::residual_norm::Norm;
use crate::tensor::Tensor;
use crate::{ops, tensor::Graph};

/// Layer norm over the last axis.
#[derive(Clone, Debug)]
pub struct LayerNorm<D: Device> {
    /// (C).
    pub weight: Tensor<D>,
    /// (C).
    pub bias: Tensor<D>,
    eps: f32,
}

module!(LayerNorm { weight, bias });

/// The eps of every layer norm in timm's ViT, KAT and ViTDet.
pub const EPS: f32 = 1e-6;

impl<D: Device> LayerNorm<D> {
    /// Weight 1, bias 0, the usual [`EPS`].
    ///
    /// # Errors
    /// Sizes that cannot be, or that the device cannot hold.
    pub fn new(builder: &Builder<D>, channels: usize) -> Result<Self> {
        Self::with_eps(builder, channels, EPS)
    }

    /// As [`LayerNorm::new`] with another `eps`, which is added to the variance.
    ///
    /// # Errors
    /// As [`LayerNorm::new`].
    pub fn with_eps(builder: &Builder<D>, channels: usize, eps: f32) -> Result<Self> {
        let (weight, bias) = (builder.constant(1.0, [channels])?, builder.constant(0.0, [channels])?);
        Ok(Self { weight, bias, eps })
    }

    /// As an op takes it.
    pub(crate) fn parameters(&self) -> Norm<'_, D> {
        Norm { weight: &self.weight, bias: &self.bias, eps: self.eps }
    }

    /// What is added to the variance.
    pub fn eps(&self) -> f32 {
        self.eps
    }

    /// (…, C) → (…, C).
    ///
    /// # Errors
    /// An input of another shape.
    pub fn forward(&self, graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
        ops::layer_norm(graph, x, &self.weight, &self.bias, self.eps)
    }
}
