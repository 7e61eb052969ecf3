//! Channel mixers: GR-KAN (KAT), MLP (ViT) and the B-spline KAN, the paper's two baselines.

mod gr_kan;
mod kan;
mod mlp;

pub use gr_kan::{GrKan, GroupRational};
pub use kan::{Kan, KanLayer};
pub use mlp::{Learnable, LearnedActivation, Mlp, Prelu, function_of};

use super::{Builder, LayerNorm, LayerScale};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::init::{Activation, Order};
use crate::module;
use crate::ops::branch::{Middle, MixerBranch, Stream};
use crate::ops::rational::Denominator;
use crate::tensor::Graph;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Which mixer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MixerKind {
    /// Group rational, linear, group rational, linear.
    GrKan,
    /// Linear, an activation, linear.
    Mlp,
    /// Two layers of B-spline edges.
    Kan,
}

/// Whether groups share coefficients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// One row for all groups (the numerator of published KAT).
    Shared,
    /// A row for each group.
    PerGroup,
}

/// Settings of a channel mixer.
#[derive(Clone, Debug, PartialEq)]
pub struct MixerConfig {
    /// Which mixer.
    pub kind: MixerKind,
    /// Channels between the two layers.
    pub hidden: usize,
    /// Groups of a group rational.
    pub groups: usize,
    /// Whether groups share the numerator.
    pub numerator: Sharing,
    /// Whether groups share the denominator.
    pub denominator: Sharing,
    /// Which denominator the rational functions have.
    pub denominator_form: Denominator,
    /// Degrees of the rational function.
    pub order: Order,
    /// What the first rational starts as.
    pub act1: Activation,
    /// What the second rational starts as.
    pub act2: Activation,
    /// The activation of an MLP, or what one that learns starts as.
    pub activation: Activation,
    /// Whether the activation of an MLP learns, and how.
    pub learnable: Option<Learnable>,
    /// Spline functions of a KAN edge.
    pub kan_basis: usize,
    /// Whether weights keep the variance (the paper) or are N(0, 0.02²) (the published code).
    pub preserve_variance: bool,
    /// Probability of dropout after each activation, as in timm's MLP.
    pub dropout: f32,
}

/// A channel mixer.
#[derive(Clone, Debug)]
pub enum Mixer<D: Device> {
    /// Group-rational KAN.
    GrKan(GrKan<D>),
    /// Multi-layer perceptron.
    Mlp(Mlp<D>),
    /// B-spline KAN.
    Kan(Kan<D>),
}

module!(
    enum Mixer {
        GrKan,
        Mlp,
        Kan,
    }
);

impl<D: Device> Mixer<D> {
    /// A mixer of `dim` channels with first values by `config`.
    ///
    /// # Errors
    /// Sizes that cannot be, or that the device cannot hold.
    pub fn new(builder: &Builder<D>, dim: usize, config: &MixerConfig) -> Result<Self> {
        Ok(match config.kind {
            MixerKind::GrKan => Self::GrKan(GrKan::new(builder, dim, config)?),
            MixerKind::Mlp => Self::Mlp(Mlp::new(builder, dim, config)?),
            MixerKind::Kan => Self::Kan(Kan::new(builder, dim, config)?),
        })
    }

    /// (…, C) → (…, C).
    ///
    /// # Errors
    /// An input of another shape.
    pub fn forward(&self, graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
        match self.first_activation() {
            Some(activation) => {
                let x = activation.forward(graph, x)?;
                self.forward_activated(graph, &x, None)
            }
            None => self.forward_activated(graph, x, None),
        }
    }

    /// x + f · mixer(norm(x)) as one op, where the device has it so.
    ///
    /// # Errors
    /// An input of another shape.
    pub(crate) fn branch(
        &self,
        graph: &mut Graph<D>,
        x: Tensor<D>,
        norm: &LayerNorm<D>,
        scale: Option<&LayerScale<D>>,
        drop_path: f32,
    ) -> Result<Stream<D>> {
        let (dropout, act1, fc1, act2, fc2) = match self {
            Self::GrKan(m) => {
                let act2 = Middle::Rational(m.act2.parameters());
                (m.dropout(), Some(m.act1.parameters()), &m.fc1, act2, &m.fc2)
            }
            Self::Mlp(m) => match m.middle() {
                Some(middle) => (m.dropout(), None, &m.fc1, middle, &m.fc2),
                None => return Ok(Stream::Same(x)),
            },
            Self::Kan(_) => return Ok(Stream::Same(x)),
        };
        if graph.is_training() && dropout != 0.0 {
            return Ok(Stream::Same(x));
        }
        let scaled = scale.map(|scale| scale.scaled(graph, fc2)).transpose()?;
        let fc2 = scaled.as_ref().unwrap_or(fc2).layer();
        let branch = MixerBranch { norm: norm.parameters(), act1, fc1: fc1.layer(), act2, fc2, drop_path };
        x.device().clone().mixer_branch(graph, x, &branch)
    }

    /// The activation that it begins with, if it does.
    pub fn first_activation(&self) -> Option<&GroupRational<D>> {
        match self {
            Self::GrKan(mixer) => Some(&mixer.act1),
            Self::Mlp(_) | Self::Kan(_) => None,
        }
    }

    /// What follows the first activation: of an x that it was applied to, multiplied by `scale`.
    ///
    /// # Errors
    /// An input of another shape; factors for B-spline edges, whose last layer is not a linear one.
    pub fn forward_activated(
        &self,
        graph: &mut Graph<D>,
        x: &Tensor<D>,
        scale: Option<&LayerScale<D>>,
    ) -> Result<Tensor<D>> {
        match self {
            Self::GrKan(mixer) => mixer.forward_activated(graph, x, scale),
            Self::Mlp(mixer) => mixer.forward(graph, x, scale),
            Self::Kan(_) if scale.is_some() => {
                Err(Error::config("model.layer_scale", "is not there for B-spline edges (mixer \"kan\")"))
            }
            Self::Kan(mixer) => mixer.forward(graph, x),
        }
    }
}
