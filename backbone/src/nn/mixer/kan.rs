//! The B-spline KAN baseline of the paper (section 3): on every edge from input i to output o
//!
//! φ(x) = base[o, i] · silu(x) + scaler[o, i] · Σ_k spline[o, i, k] B_k(x),
//!
//! B_k cubic B-splines on knots of equal distance over [-1, 1]. The paper's parameter counts (12.8M, 50.4M,
//! 199.8M) fix three scalars an edge: one spline function.

use super::MixerConfig;
use crate::device::Device;
use crate::error::Result;
use crate::module;
use crate::nn::Builder;
use crate::tensor::Tensor;
use crate::{ops, tensor::Graph};

/// One layer of edges.
#[derive(Clone, Debug)]
pub struct KanLayer<D: Device> {
    /// (outputs, inputs).
    pub base_weight: Tensor<D>,
    /// (outputs · inputs, basis).
    pub spline_weight: Tensor<D>,
    /// (outputs · inputs).
    pub spline_scaler: Tensor<D>,
    /// (outputs).
    pub bias: Tensor<D>,
    size: (usize, usize),
    basis: usize,
}

module!(KanLayer { base_weight, spline_weight, spline_scaler, bias });

impl<D: Device> KanLayer<D> {
    /// Base weights uniform with limit 1/√inputs, scalers likewise, splines N(0, 0.1²), bias 0.
    ///
    /// # Errors
    /// Sizes that cannot be, or that the device cannot hold.
    pub fn new(builder: &Builder<D>, inputs: usize, outputs: usize, basis: usize) -> Result<Self> {
        let limit = 1.0 / (inputs as f32).sqrt();
        let edges = inputs * outputs;
        Ok(Self {
            base_weight: builder.uniform("base_weight", [outputs, inputs], limit)?,
            spline_weight: builder.normal("spline_weight", [edges, basis], 0.1)?,
            spline_scaler: builder.uniform("spline_scaler", [edges], limit)?,
            bias: builder.constant(0.0, [outputs])?,
            size: (inputs, outputs),
            basis,
        })
    }

    /// (…, inputs) → (…, outputs).
    ///
    /// # Errors
    /// An input of another shape.
    pub fn forward(&self, graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
        let base = ops::silu(graph, x)?;
        let base = ops::linear(graph, &base, &self.base_weight, Some(&self.bias))?;
        let features = ops::spline_basis(graph, x, self.basis)?;
        let weight = ops::scale_rows(graph, &self.spline_weight, &self.spline_scaler)?;
        let weight = weight.reshape([self.size.1, self.size.0 * self.basis])?;
        let spline = ops::linear(graph, &features, &weight, None)?;
        ops::add(graph, &base, &spline)
    }
}

/// Two layers of edges in place of the MLP's two linear layers.
#[derive(Clone, Debug)]
pub struct Kan<D: Device> {
    /// C → hidden.
    pub layer1: KanLayer<D>,
    /// hidden → C.
    pub layer2: KanLayer<D>,
}

module!(Kan { layer1, layer2 });

impl<D: Device> Kan<D> {
    /// First values as [`KanLayer::new`].
    ///
    /// # Errors
    /// Sizes that cannot be, or that the device cannot hold.
    pub fn new(builder: &Builder<D>, dim: usize, config: &MixerConfig) -> Result<Self> {
        Ok(Self {
            layer1: KanLayer::new(&builder.at("layer1"), dim, config.hidden, config.kan_basis)?,
            layer2: KanLayer::new(&builder.at("layer2"), config.hidden, dim, config.kan_basis)?,
        })
    }

    /// (…, C) → (…, C).
    ///
    /// # Errors
    /// An input of another shape.
    pub fn forward(&self, graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
        let x = self.layer1.forward(graph, x)?;
        self.layer2.forward(graph, &x)
    }
}
