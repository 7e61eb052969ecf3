//! The MLP of ViT: fc2(f(fc1(x))), f GELU in most, or an activation that learns.

use super::{GroupRational, MixerConfig, Sharing};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::init::Activation;
use crate::module;
use crate::nn::{Builder, LayerScale, Linear};
use crate::ops::activation::Function;
use crate::ops::branch::Middle;
use crate::ops::rational::Denominator;
use crate::tensor::Tensor;
use crate::{ops, tensor::Graph};
use serde::{Deserialize, Serialize};

/// An activation with parameters of its own, one set a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Learnable {
    /// PReLU (arXiv 1502.01852): the slope below 0, 0.25 at the start.
    Prelu,
    /// Padé activation unit (arXiv 1907.06732), safe form: one P/Q with the paper's denominator for all channels.
    Pau,
}

/// PReLU's slope, under the name that PyTorch gives it.
#[derive(Clone, Debug)]
pub struct Prelu<D: Device> {
    /// (1).
    pub weight: Tensor<D>,
}

module!(Prelu { weight });

/// What stands between the linear layers, where it learns.
#[derive(Clone, Debug)]
pub enum LearnedActivation<D: Device> {
    /// PReLU.
    Prelu(Prelu<D>),
    /// Padé activation unit.
    Pau(GroupRational<D>),
}

module!(
    enum LearnedActivation {
        Prelu,
        Pau,
    }
);

impl<D: Device> LearnedActivation<D> {
    fn new(builder: &Builder<D>, kind: Learnable, config: &MixerConfig) -> Result<Self> {
        Ok(match kind {
            Learnable::Prelu => Self::Prelu(Prelu { weight: builder.constant(0.25, [1])? }),
            Learnable::Pau => {
                let one = MixerConfig {
                    groups: 1,
                    numerator: Sharing::Shared,
                    denominator: Sharing::Shared,
                    denominator_form: Denominator::Paper,
                    ..config.clone()
                };
                Self::Pau(GroupRational::new(builder, config.activation, &one)?)
            }
        })
    }

    fn forward(&self, graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
        match self {
            Self::Prelu(prelu) => ops::prelu(graph, x, &prelu.weight),
            Self::Pau(pau) => pau.forward(graph, x),
        }
    }
}

/// The mixer.
#[derive(Clone, Debug)]
pub struct Mlp<D: Device> {
    /// C → hidden.
    pub fc1: Linear<D>,
    /// hidden → C.
    pub fc2: Linear<D>,
    /// The activation, where it learns.
    pub act: Option<LearnedActivation<D>>,
    function: Option<Function>,
    dropout: f32,
}

module!(Mlp { fc1, act, fc2 });

impl<D: Device> Mlp<D> {
    /// Weights N(0, 0.02²), as timm's ViT.
    ///
    /// # Errors
    /// Sizes that cannot be, or that the device cannot hold.
    pub fn new(builder: &Builder<D>, dim: usize, config: &MixerConfig) -> Result<Self> {
        Ok(Self {
            fc1: Linear::new(&builder.at("fc1"), dim, config.hidden, 0.02)?,
            fc2: Linear::new(&builder.at("fc2"), config.hidden, dim, 0.02)?,
            act: (config.learnable)
                .map(|kind| LearnedActivation::new(&builder.at("act"), kind, config))
                .transpose()?,
            function: if config.learnable.is_some() { None } else { Some(function_of(config.activation)?) },
            dropout: config.dropout,
        })
    }

    pub(super) fn dropout(&self) -> f32 {
        self.dropout
    }

    /// What stands between the layers, where a branch can have it.
    pub(super) fn middle(&self) -> Option<Middle<'_, D>> {
        match (&self.act, self.function) {
            (Some(LearnedActivation::Pau(pau)), _) => Some(Middle::Rational(pau.parameters())),
            (Some(LearnedActivation::Prelu(_)), _) | (None, None) => None,
            (None, Some(function)) => Some(Middle::Function(function)),
        }
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
        let x = match (&self.act, self.function) {
            (Some(act), _) => act.forward(graph, &x)?,
            (None, Some(function)) => ops::activate(graph, &x, function)?,
            (None, None) => x,
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::model::{expected, export};
    use crate::checkpoint::transfer::HeadPolicy;
    use crate::nn::{MixerKind, Module as _};
    use crate::{Cpu, Kat, KatConfig, Size};

    fn config(activation: Activation, learnable: Option<Learnable>) -> KatConfig {
        KatConfig {
            image_size: Size::square(8),
            patch_size: Size::square(4),
            dim: 8,
            depth: 2,
            heads: 2,
            classes: 3,
            mixer: MixerKind::Mlp,
            activation,
            learnable,
            ..KatConfig::default()
        }
    }

    #[test]
    fn activations_that_learn_have_their_names_and_gradients() {
        let names = |kind| -> Vec<String> {
            let model = Kat::new(&Cpu::default(), &config(Activation::LeakyRelu, Some(kind)), 1).unwrap();
            let image =
                Tensor::from_vec(&Cpu::default(), (0..192).map(|i| (i as f32).sin()).collect(), [1, 3, 8, 8]);
            let mut graph = Graph::recording();
            let logits = model.forward(&mut graph, &image.unwrap()).unwrap();
            let loss = ops::mean(&mut graph, &logits).unwrap();
            let mut gradients = graph.backward(&loss).unwrap();
            let mut own = Vec::new();
            model.for_each(|name, _, tensor| {
                if name.contains(".act.") {
                    let gradient = gradients.take_host(tensor).unwrap().unwrap();
                    assert!(gradient.iter().any(|g| *g != 0.0), "{name}");
                    own.push(format!("{name} {:?}", tensor.shape().axes()));
                }
            });
            own
        };
        assert_eq!(names(Learnable::Prelu), ["blocks.0.mlp.act.weight [1]", "blocks.1.mlp.act.weight [1]"]);
        assert_eq!(
            names(Learnable::Pau)[..2],
            ["blocks.0.mlp.act.weight_numerator [1, 6]", "blocks.0.mlp.act.weight_denominator [1, 4]"]
        );
    }

    #[test]
    fn a_vits_weights_start_pade_units_as_its_activation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vit.safetensors");
        Kat::new(&Cpu::default(), &config(Activation::Gelu, None), 1).unwrap().save(&path).unwrap();
        let mut pau =
            Kat::new(&Cpu::default(), &config(Activation::LeakyRelu, Some(Learnable::Pau)), 2).unwrap();
        assert!(pau.load(&path, HeadPolicy::Strict).unwrap_err().to_string().contains("activation"));
        pau = Kat::new(&Cpu::default(), &config(Activation::Gelu, Some(Learnable::Pau)), 2).unwrap();
        let report = pau.load(&path, HeadPolicy::Strict).unwrap().to_string();
        assert!(report.contains("Padé units set (gelu"), "{report}");
        assert_eq!(export(&pau).tensors.len(), expected(&pau).len());
    }

    #[test]
    fn activations_that_learn_are_those_of_mlps() {
        let kat = KatConfig {
            mixer: MixerKind::GrKan,
            groups: 2,
            ..config(Activation::Gelu, Some(Learnable::Pau))
        };
        assert!(kat.check().unwrap_err().to_string().contains("model.learnable"));
        assert!(config(Activation::Tanh, None).check().is_err());
        config(Activation::Tanh, Some(Learnable::Pau)).check().unwrap();
    }
}
