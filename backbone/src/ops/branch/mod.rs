//! The residual branches of a block, each as one op where the device has it so: x + f · mixer(norm(x)) and
//! x + f · attention(norm(x)), f the factor of stochastic depth.
//!
//! At the rate of matrix units the passes over memory between the ops of a branch take longer than its products. The CPU's
//! kernels therefore take some rows through the whole branch while they are in a core's second cache; what the backward pass
//! reads again is kept in bfloat16, and what it can make anew from that is not kept.

#[allow(clippy::needless_range_loop, reason = "the adaptors of iterators are calls where vectors are wanted")]
mod cpu;
#[cfg(test)]
mod tests;

use super::RelativePositions;
use super::activation::Function;
use super::residual_norm::{Norm, Rational};
use crate::config::Size;
use crate::error::Result;
use crate::tensor::{Backend, Graph, Tensor};

/// A linear layer's parameters.
#[derive(Debug)]
pub struct Layer<'a, D: Backend> {
    /// (outputs, inputs).
    pub weight: &'a Tensor<D>,
    /// (outputs).
    pub bias: Option<&'a Tensor<D>>,
}

/// What stands between a mixer's linear layers.
#[derive(Debug)]
pub enum Middle<'a, D: Backend> {
    /// A group rational.
    Rational(Rational<'a, D>),
    /// A function without parameters.
    Function(Function),
}

/// A channel mixer with the norm before it.
#[derive(Debug)]
pub struct MixerBranch<'a, D: Backend> {
    /// Before the mixer.
    pub norm: Norm<'a, D>,
    /// Before the first layer.
    pub act1: Option<Rational<'a, D>>,
    /// C → hidden.
    pub fc1: Layer<'a, D>,
    /// Between the layers.
    pub act2: Middle<'a, D>,
    /// Hidden → C.
    pub fc2: Layer<'a, D>,
    /// Probability that a sample skips the branch while training.
    pub drop_path: f32,
}

/// Multi-head attention with the norm before it.
#[derive(Debug)]
pub struct AttentionBranch<'a, D: Backend> {
    /// Before the attention.
    pub norm: Norm<'a, D>,
    /// C → 3 C.
    pub qkv: Layer<'a, D>,
    /// Heads.
    pub heads: usize,
    /// Relative positions of the grid, or of a window.
    pub relative: Option<&'a RelativePositions<D>>,
    /// C → C.
    pub proj: Layer<'a, D>,
    /// The token grid and the side of the windows that it is cut into.
    pub window: Option<(Size, usize)>,
    /// Probability that a sample skips the branch while training.
    pub drop_path: f32,
}

/// What became of the stream.
#[derive(Debug)]
pub enum Stream<D: Backend> {
    /// The branch was added.
    Done(Tensor<D>),
    /// The device does not have the branch: the stream as it was.
    Same(Tensor<D>),
}

/// A device that may have branches as one op each.
pub trait BranchKernel: Backend {
    /// Whether the device has any.
    fn has_branches(&self) -> bool {
        false
    }

    /// x + f · mixer(norm(x)), recorded, of x (B, …, C); in x's memory where nobody else has it.
    ///
    /// # Errors
    /// Shapes that do not fit one another; the device refuses.
    fn mixer_branch(
        &self,
        _: &mut Graph<Self>,
        x: Tensor<Self>,
        _: &MixerBranch<'_, Self>,
    ) -> Result<Stream<Self>> {
        Ok(Stream::Same(x))
    }

    /// x + f · attention(norm(x)), recorded, of x (B, N, C); in x's memory where nobody else has it.
    ///
    /// # Errors
    /// Shapes that do not fit one another; the device refuses.
    fn attention_branch(
        &self,
        _: &mut Graph<Self>,
        x: Tensor<Self>,
        _: &AttentionBranch<'_, Self>,
    ) -> Result<Stream<Self>> {
        Ok(Stream::Same(x))
    }
}

/// Its passes are those of the ops.
#[cfg(feature = "cuda")]
impl BranchKernel for crate::cuda::Cuda {}
