//! Modules made of ops. A module's fields carry the names of published checkpoints, so that the path of a
//! parameter is its name there: `blocks.0.mlp.act1.weight_numerator`.

mod attention;
mod block;
mod builder;
pub mod checkpointing;
mod layer_norm;
mod layer_scale;
mod layers;
mod linear;
mod mixer;
mod patch_embed;
mod residual;

pub use attention::{Attention, AttentionConfig};
pub use block::{Block, BlockConfig};
pub use builder::Builder;
pub use layer_norm::{EPS as LAYER_NORM_EPS, LayerNorm};
pub use layer_scale::LayerScale;
pub use layers::{BatchNorm2d, ChannelNorm, Conv2d, ConvInit, ConvNormAct, ConvShape, ConvTranspose2d};
pub use linear::Linear;
pub use mixer::{
    GrKan, GroupRational, Kan, KanLayer, Learnable, LearnedActivation, Mixer, MixerConfig, MixerKind, Mlp,
    Prelu, Sharing, function_of,
};
pub use patch_embed::PatchEmbed;
pub use residual::Residual;

use crate::device::Device;
use crate::tensor::Tensor;
use std::convert::Infallible;
use std::sync::Mutex;

/// What a named tensor of a module is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Trained: receives a gradient.
    Parameter,
    /// State that training updates without a gradient: running statistics.
    Buffer,
}

/// A visitor of named tensors, which may fail.
pub type Visit<'v, D, E> = dyn FnMut(&str, Kind, &Tensor<D>) -> Result<(), E> + 'v;
/// A visitor of named tensors that may change them, and fail.
pub type VisitMut<'v, D, E> = dyn FnMut(&str, Kind, &mut Tensor<D>) -> Result<(), E> + 'v;

/// Something with named tensors. Every tensor that a module learns or keeps is visited: there is no other way
/// to the optimizer, to a checkpoint or to the EMA, so none is forgotten there.
///
/// [`module!`](crate::module) implements it from the names of fields.
pub trait Module<D: Device>: Clone {
    /// Visits every tensor, `path` before its name; stops at the first error.
    ///
    /// # Errors
    /// The visitor's.
    fn visit_mut<E>(&mut self, path: &str, visitor: &mut VisitMut<'_, D, E>) -> Result<(), E>;

    /// As [`Module::visit_mut`], to read the tensors. It goes over a clone, whose tensors are the same storage, so that a
    /// module says once only what it is made of.
    ///
    /// # Errors
    /// The visitor's.
    fn visit<E>(&self, path: &str, visitor: &mut Visit<'_, D, E>) -> Result<(), E> {
        self.clone().visit_mut(path, &mut |name, kind, tensor| visitor(name, kind, tensor))
    }

    /// Calls `f` for every tensor.
    fn for_each(&self, mut f: impl FnMut(&str, Kind, &Tensor<D>)) {
        let Ok(()) = self.visit("", &mut |name, kind, tensor| {
            f(name, kind, tensor);
            Ok::<(), Infallible>(())
        });
    }

    /// Every parameter, in order.
    fn parameters(&self) -> Vec<Tensor<D>> {
        let mut parameters = Vec::new();
        self.for_each(|_, kind, tensor| {
            if kind == Kind::Parameter {
                parameters.push(tensor.clone());
            }
        });
        parameters
    }

    /// The number of trained scalars.
    fn parameter_count(&self) -> usize {
        self.parameters().iter().map(Tensor::numel).sum()
    }
}

/// `path.name`, or `name` at the root.
pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

impl<D: Device> Module<D> for Tensor<D> {
    fn visit_mut<E>(&mut self, path: &str, visitor: &mut VisitMut<'_, D, E>) -> Result<(), E> {
        visitor(path, Kind::Parameter, self)
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
    fn visit_mut<E>(&mut self, path: &str, visitor: &mut VisitMut<'_, D, E>) -> Result<(), E> {
        let tensor = self.0.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        visitor(path, Kind::Buffer, tensor)
    }
}

impl<D: Device, M: Module<D>> Module<D> for Option<M> {
    fn visit_mut<E>(&mut self, path: &str, visitor: &mut VisitMut<'_, D, E>) -> Result<(), E> {
        self.iter_mut().try_for_each(|module| module.visit_mut(path, visitor))
    }
}

impl<D: Device, M: Module<D>> Module<D> for Vec<M> {
    fn visit_mut<E>(&mut self, path: &str, visitor: &mut VisitMut<'_, D, E>) -> Result<(), E> {
        let mut modules = self.iter_mut().enumerate();
        modules.try_for_each(|(i, module)| module.visit_mut(&join(path, &i.to_string()), visitor))
    }
}

/// Implements [`Module`] for a type generic over its device by naming what holds tensors or modules.
///
/// - `module!(Linear { weight, bias });`: fields, each under its own name;
/// - `module!(Normed { ..conv, norm });`: a field whose tensors have no name of their own before theirs;
/// - `module!(Head { convs[i] => format!("conv{}", i + 1) });`: a list whose members are named by their index;
/// - `module!(enum Mixer { GrKan, Mlp });`: whichever variant it is.
#[macro_export]
macro_rules! module {
    (enum $name:ident { $($variant:ident),* $(,)? }) => {
        impl<D: $crate::Device> $crate::nn::Module<D> for $name<D> {
            fn visit_mut<E>(
                &mut self,
                path: &str,
                visitor: &mut $crate::nn::VisitMut<'_, D, E>,
            ) -> ::std::result::Result<(), E> {
                match self {
                    $(Self::$variant(module) => $crate::nn::Module::visit_mut(module, path, visitor),)*
                }
            }
        }
    };
    (@parts $module:ident, $path:ident, $visitor:ident;) => {};
    (@parts $module:ident, $path:ident, $visitor:ident; ..$field:ident $(, $($rest:tt)*)?) => {
        $crate::nn::Module::visit_mut(&mut $module.$field, $path, $visitor)?;
        $crate::module!(@parts $module, $path, $visitor; $($($rest)*)?);
    };
    (@parts $module:ident, $path:ident, $visitor:ident;
        $field:ident[$index:ident] => $name:expr $(, $($rest:tt)*)?) => {
        for ($index, member) in $module.$field.iter_mut().enumerate() {
            $crate::nn::Module::visit_mut(member, &$crate::nn::join($path, &$name), $visitor)?;
        }
        $crate::module!(@parts $module, $path, $visitor; $($($rest)*)?);
    };
    (@parts $module:ident, $path:ident, $visitor:ident; $field:ident $(, $($rest:tt)*)?) => {
        let name = $crate::nn::join($path, stringify!($field));
        $crate::nn::Module::visit_mut(&mut $module.$field, &name, $visitor)?;
        $crate::module!(@parts $module, $path, $visitor; $($($rest)*)?);
    };
    ($name:ident { $($parts:tt)* }) => {
        impl<D: $crate::Device> $crate::nn::Module<D> for $name<D> {
            fn visit_mut<E>(
                &mut self,
                path: &str,
                visitor: &mut $crate::nn::VisitMut<'_, D, E>,
            ) -> ::std::result::Result<(), E> {
                let module = self;
                $crate::module!(@parts module, path, visitor; $($parts)*);
                Ok(())
            }
        }
    };
}
