//! Modules made of ops. A module's fields carry the names of published checkpoints, so that the path of a
//! parameter is its name there: `blocks.0.mlp.act1.weight_numerator`.

mod attention;
mod block;
mod builder;
pub mod checkpointing;
mod layer_norm;
mod layers;
mod linear;
mod mixer;
mod patch_embed;

pub use attention::{Attention, AttentionConfig, Grid};
pub use block::{Block, BlockConfig};
pub use builder::Builder;
pub use layer_norm::{EPS as LAYER_NORM_EPS, LayerNorm};
pub use layers::{BatchNorm2d, ChannelNorm, Conv2d, ConvInit, ConvNormAct, ConvShape, ConvTranspose2d};
pub use linear::Linear;
pub use mixer::{GrKan, GroupRational, Kan, KanLayer, Mixer, MixerConfig, MixerKind, Mlp, Sharing};
pub use patch_embed::PatchEmbed;

use crate::device::Device;
use crate::tensor::Tensor;
use std::sync::Mutex;

/// What a named tensor of a module is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Trained: receives a gradient.
    Parameter,
    /// State that training updates without a gradient: running statistics.
    Buffer,
}

/// A visitor of named tensors.
pub type Visit<'v, D> = dyn FnMut(&str, Kind, &Tensor<D>) + 'v;
/// A visitor of named tensors that may change them.
pub type VisitMut<'v, D> = dyn FnMut(&str, Kind, &mut Tensor<D>) + 'v;

/// Something with named tensors. Every tensor that a module learns or keeps is visited: there is no other way
/// to the optimiser, to a checkpoint or to the EMA, so none is forgotten there.
pub trait Module<D: Device> {
    /// Visits every tensor, `path` before its name.
    fn visit(&self, path: &str, visitor: &mut Visit<'_, D>);
    /// As [`Module::visit`], to change the tensors.
    fn visit_mut(&mut self, path: &str, visitor: &mut VisitMut<'_, D>);

    /// Every parameter, in order.
    fn parameters(&self) -> Vec<Tensor<D>> {
        let mut parameters = Vec::new();
        self.visit("", &mut |_, kind, tensor| {
            if kind == Kind::Parameter {
                parameters.push(tensor.clone());
            }
        });
        parameters
    }

    /// The number of trained scalars.
    fn parameter_count(&self) -> usize {
        let mut count = 0;
        self.visit("", &mut |_, kind, tensor| {
            if kind == Kind::Parameter {
                count += tensor.numel();
            }
        });
        count
    }
}

/// `path.name`, or `name` at the root.
pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

impl<D: Device> Module<D> for Tensor<D> {
    fn visit(&self, path: &str, visitor: &mut Visit<'_, D>) {
        visitor(path, Kind::Parameter, self);
    }
    fn visit_mut(&mut self, path: &str, visitor: &mut VisitMut<'_, D>) {
        visitor(path, Kind::Parameter, self);
    }
}

/// State that a forward pass in training updates: running statistics.
#[derive(Debug)]
pub struct Buffer<D: Device>(Mutex<Tensor<D>>);

impl<D: Device> Buffer<D> {
    /// Wraps a constant.
    pub fn new(tensor: Tensor<D>) -> Self {
        Self(Mutex::new(tensor))
    }
    /// The current values.
    pub fn get(&self) -> Tensor<D> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
    /// Replaces the values.
    pub fn set(&self, tensor: Tensor<D>) {
        *self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = tensor;
    }
}

impl<D: Device> Clone for Buffer<D> {
    fn clone(&self) -> Self {
        Self::new(self.get())
    }
}

impl<D: Device> Module<D> for Buffer<D> {
    fn visit(&self, path: &str, visitor: &mut Visit<'_, D>) {
        visitor(path, Kind::Buffer, &self.get());
    }
    fn visit_mut(&mut self, path: &str, visitor: &mut VisitMut<'_, D>) {
        let tensor = self.0.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        visitor(path, Kind::Buffer, tensor);
    }
}

impl<D: Device, M: Module<D>> Module<D> for Option<M> {
    fn visit(&self, path: &str, visitor: &mut Visit<'_, D>) {
        self.iter().for_each(|m| m.visit(path, visitor));
    }
    fn visit_mut(&mut self, path: &str, visitor: &mut VisitMut<'_, D>) {
        self.iter_mut().for_each(|m| m.visit_mut(path, visitor));
    }
}

impl<D: Device, M: Module<D>> Module<D> for Vec<M> {
    fn visit(&self, path: &str, visitor: &mut Visit<'_, D>) {
        self.iter().enumerate().for_each(|(i, m)| m.visit(&join(path, &i.to_string()), visitor));
    }
    fn visit_mut(&mut self, path: &str, visitor: &mut VisitMut<'_, D>) {
        self.iter_mut().enumerate().for_each(|(i, m)| m.visit_mut(&join(path, &i.to_string()), visitor));
    }
}

/// Implements [`Module`] for a struct generic over its device by naming the fields that hold tensors or modules:
/// `module!(Linear { weight, bias });`
#[macro_export]
macro_rules! module {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl<D: $crate::Device> $crate::nn::Module<D> for $name<D> {
            fn visit(&self, path: &str, visitor: &mut $crate::nn::Visit<'_, D>) {
                $($crate::nn::Module::visit(&self.$field, &$crate::nn::join(path, stringify!($field)), visitor);)*
            }
            fn visit_mut(&mut self, path: &str, visitor: &mut $crate::nn::VisitMut<'_, D>) {
                $($crate::nn::Module::visit_mut(
                    &mut self.$field,
                    &$crate::nn::join(path, stringify!($field)),
                    visitor,
                );)*
            }
        }
    };
}
