//! The MLP of ViT: fc2(f(fc1(x))), f GELU in most.

use super::MixerConfig;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::init::Activation;
use crate::module;
use crate::nn::{Builder, LayerScale, Linear};
use crate::ops::activation::Function;
use crate::tensor::Tensor;
use crate::{ops, tensor::Graph};

/// The mixer.
#[derive(Clone, Debug)]
pub struct Mlp<D: Device> {
    /// C → hidden.
    pub fc1: Linear<D>,
    /// hidden → C.
    pub fc2: Linear<D>,
    function: Function,
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
            function: function_of(config.activation)?,
            dropout: config.dropout,
        })
    }

    /// (…, C) → (…, C), multiplied by `scale`.
    ///
    /// # Errors
    /// An input of another shape.
    pub fn forward(
        &self,
        graph: &mut Graph<D>,
        x: &Tensor<D>,
        scale: Option<&LayerScale<D>>,
    ) -> Result<Tensor<D>> {
        let x = self.fc1.forward(graph, x)?;
        let x = ops::activate(graph, &x, self.function)?;
        let x = ops::dropout(graph, &x, self.dropout)?;
        let x = self.fc2.forward_scaled(graph, &x, scale)?;
        ops::dropout(graph, &x, self.dropout)
    }
}

/// The function of an MLP's activation.
///
/// # Errors
/// An activation that no published MLP has.
pub fn function_of(activation: Activation) -> Result<Function> {
    match activation {
        Activation::Gelu => Ok(Function::Gelu),
        Activation::GeluTanh => Ok(Function::GeluTanh),
        Activation::QuickGelu => Ok(Function::QuickGelu),
        Activation::Swish => Ok(Function::Silu),
        Activation::Relu => Ok(Function::Relu),
        other => {
            let reason = format!("an MLP has gelu, gelu_tanh, quick_gelu, swish or relu, not {other}");
            Err(Error::config("model.activation", reason))
        }
    }
}
