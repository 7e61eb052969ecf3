//! The linear layer as a module.

use super::{Builder, LayerScale};
use crate::device::Device;
use crate::error::Result;
use crate::module;
use crate::ops::branch::Layer;
use crate::tensor::Tensor;
use crate::{ops, tensor::Graph};

/// y = x Wᵀ + b.
#[derive(Clone, Debug)]
pub struct Linear<D: Device> {
    /// (outputs, inputs).
    pub weight: Tensor<D>,
    /// (outputs).
    pub bias: Option<Tensor<D>>,
}

module!(Linear { weight, bias });

impl<D: Device> Linear<D> {
    /// Weights from N(0, std²) cut at ±2, bias 0.
    ///
    /// # Errors
    /// Sizes that cannot be, or that the device cannot hold.
    pub fn new(builder: &Builder<D>, inputs: usize, outputs: usize, std: f32) -> Result<Self> {
        Ok(Self {
            weight: builder.truncated_normal("weight", [outputs, inputs], std)?,
            bias: Some(builder.constant(0.0, [outputs])?),
        })
    }

    /// As an op takes it.
    pub(crate) fn layer(&self) -> Layer<'_, D> {
        Layer { weight: &self.weight, bias: self.bias.as_ref() }
    }

    /// (…, inputs) → (…, outputs).
    ///
    /// # Errors
    /// An input of another shape.
    pub fn forward(&self, graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
        ops::linear(graph, x, &self.weight, self.bias.as_ref())
    }

    /// As [`Linear::forward`], the outputs multiplied by `scale`.
    ///
    /// # Errors
    /// An input or factors of another shape.
    pub fn forward_scaled(
        &self,
        graph: &mut Graph<D>,
        x: &Tensor<D>,
        scale: Option<&LayerScale<D>>,
    ) -> Result<Tensor<D>> {
        match scale {
            None => self.forward(graph, x),
            Some(scale) => scale.scaled(graph, self)?.forward(graph, x),
        }
    }
}
