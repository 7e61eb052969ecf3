//! The MLP of ViT: fc2(GELU(fc1(x))).

use super::MixerConfig;
use crate::device::Device;
use crate::error::Result;
use crate::module;
use crate::nn::{Builder, Linear};
use crate::tensor::Tensor;
use crate::{ops, tensor::Graph};

/// The mixer.
#[derive(Clone, Debug)]
pub struct Mlp<D: Device> {
    /// C → hidden.
    pub fc1: Linear<D>,
    /// hidden → C.
    pub fc2: Linear<D>,
    dropout: f32,
}

module!(Mlp { fc1, fc2 });

impl<D: Device> Mlp<D> {
    /// Weights N(0, 0.02²), as timm's ViT.
    ///
    /// # Errors
    /// Sizes that cannot be, or that the device cannot hold.
    pub fn new(builder: &Builder<D>, dim: usize, config: &MixerConfig) -> Result<Self> {
        Ok(Self {
            fc1: Linear::new(&builder.at("fc1"), dim, config.hidden, 0.02)?,
            fc2: Linear::new(&builder.at("fc2"), config.hidden, dim, 0.02)?,
            dropout: config.dropout,
        })
    }

    /// (…, C) → (…, C).
    ///
    /// # Errors
    /// An input of another shape.
    pub fn forward(&self, graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
        let x = self.fc1.forward(graph, x)?;
        let x = ops::gelu(graph, &x)?;
        let x = ops::dropout(graph, &x, self.dropout)?;
        let x = self.fc2.forward(graph, &x)?;
        ops::dropout(graph, &x, self.dropout)
    }
}
