//! GR-KAN, the channel mixer of KAT (section 4.2): y = fc2(act2(fc1(act1(x)))), act1 and act2 group rationals.

use super::{MixerConfig, Sharing};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::init::{Activation, tables, variance};
use crate::module;
use crate::nn::{Builder, LayerScale, Linear};
use crate::ops::rational::Denominator;
use crate::ops::residual_norm::Rational;
use crate::tensor::Tensor;
use crate::{ops, tensor::Graph};

/// A learnable activation: P/Q by groups of channels.
#[derive(Clone, Debug)]
pub struct GroupRational<D: Device> {
    /// (1 or groups, m + 1): a0 … am.
    pub weight_numerator: Tensor<D>,
    /// (1 or groups, n): b1 … bn.
    pub weight_denominator: Tensor<D>,
    groups: usize,
    form: Denominator,
}

module!(GroupRational { weight_numerator, weight_denominator });

impl<D: Device> GroupRational<D> {
    /// Coefficients that start as `activation`.
    ///
    /// # Errors
    /// Sizes that cannot be, or that the device cannot hold.
    pub fn new(builder: &Builder<D>, activation: Activation, config: &MixerConfig) -> Result<Self> {
        let table = tables::coefficients(activation, config.order, config.denominator_form)?;
        let rows = |sharing| if sharing == Sharing::Shared { 1 } else { config.groups };
        let (upper, lower) = (rows(config.numerator), rows(config.denominator));
        Ok(Self {
            weight_numerator: builder
                .values(table.numerator_for(upper), [upper, config.order.numerator + 1])?,
            weight_denominator: builder
                .values(table.denominator_for(lower), [lower, config.order.denominator])?,
            groups: config.groups,
            form: config.denominator_form,
        })
    }

    /// As an op takes them.
    pub(crate) fn parameters(&self) -> Rational<'_, D> {
        Rational {
            numerator: &self.weight_numerator,
            denominator: &self.weight_denominator,
            groups: self.groups,
            form: self.form,
        }
    }

    /// (…, C) → (…, C).
    ///
    /// # Errors
    /// An input of another shape.
    pub fn forward(&self, graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
        ops::rational(graph, x, &self.weight_numerator, &self.weight_denominator, self.groups, self.form)
    }
}

/// The mixer.
#[derive(Clone, Debug)]
pub struct GrKan<D: Device> {
    /// Starts as the identity.
    pub act1: GroupRational<D>,
    /// C → hidden.
    pub fc1: Linear<D>,
    /// Starts as swish or GELU.
    pub act2: GroupRational<D>,
    /// hidden → C.
    pub fc2: Linear<D>,
    dropout: f32,
}

module!(GrKan { act1, fc1, act2, fc2 });

impl<D: Device> GrKan<D> {
    /// First values by `config`; with preserved variance each layer's weights have the standard deviation
    /// gain/√fan in of the activation before it (section 4.3).
    ///
    /// # Errors
    /// Sizes that cannot be, or that the device cannot hold.
    pub fn new(builder: &Builder<D>, dim: usize, config: &MixerConfig) -> Result<Self> {
        for (name, channels) in [("width", dim), ("hidden width", config.hidden)] {
            if config.groups == 0 || channels % config.groups != 0 {
                let reason = format!("{} groups do not divide the {name} {channels}", config.groups);
                return Err(Error::config("GR-KAN", reason));
            }
        }
        let std = |activation, fan_in| match config.preserve_variance {
            true => variance::weight_std(activation, fan_in),
            false => 0.02,
        };
        Ok(Self {
            act1: GroupRational::new(&builder.at("act1"), config.act1, config)?,
            fc1: Linear::new(&builder.at("fc1"), dim, config.hidden, std(config.act1, dim))?,
            act2: GroupRational::new(&builder.at("act2"), config.act2, config)?,
            fc2: Linear::new(&builder.at("fc2"), config.hidden, dim, std(config.act2, config.hidden))?,
            dropout: config.dropout,
        })
    }

    pub(super) fn dropout(&self) -> f32 {
        self.dropout
    }

    /// What follows act1, of an x that it was applied to, multiplied by `scale`: (…, C) → (…, C).
    ///
    /// # Errors
    /// An input of another shape.
    pub fn forward_activated(
        &self,
        graph: &mut Graph<D>,
        x: &Tensor<D>,
        scale: Option<&LayerScale<D>>,
    ) -> Result<Tensor<D>> {
        let x = ops::dropout(graph, x, self.dropout)?;
        let x = self.fc1.forward(graph, &x)?;
        let x = self.act2.forward(graph, &x)?;
        let x = ops::dropout(graph, &x, self.dropout)?;
        self.fc2.forward_scaled(graph, &x, scale)
    }
}
