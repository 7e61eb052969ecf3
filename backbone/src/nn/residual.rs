//! The residual stream between blocks.

use super::{GroupRational, LayerNorm};
use crate::device::Device;
use crate::error::Result;
use crate::ops::branch::Stream;
use crate::ops::{add_drop_path, residual_norm};
use crate::tensor::{Graph, Tensor};

/// Tokens, and the last branch, which was not added to them yet: its sum and the norm that follows can be one pass.
#[derive(Clone, Debug)]
pub struct Residual<D: Device> {
    tokens: Tensor<D>,
    branch: Option<Branch<D>>,
}

#[derive(Clone, Debug)]
struct Branch<D: Device> {
    values: Tensor<D>,
    drop_path: f32,
}

impl<D: Device> From<Tensor<D>> for Residual<D> {
    fn from(tokens: Tensor<D>) -> Self {
        Self { tokens, branch: None }
    }
}

impl<D: Device> Residual<D> {
    /// The stream through a whole branch, and true, where the device has branches and `branch` is one of them.
    ///
    /// # Errors
    /// Those of `branch`.
    pub(super) fn through(
        self,
        graph: &mut Graph<D>,
        branch: impl FnOnce(&mut Graph<D>, Tensor<D>) -> Result<Stream<D>>,
    ) -> Result<(Self, bool)> {
        if !self.tokens.device().has_branches() {
            return Ok((self, false));
        }
        let x = self.sum(graph)?;
        Ok(match branch(graph, x)? {
            Stream::Done(y) => (y.into(), true),
            Stream::Same(x) => (x.into(), false),
        })
    }

    /// The stream with a branch, of which a sample is dropped with this probability while training.
    ///
    /// # Errors
    /// The branch before it can't be added.
    pub fn with(self, graph: &mut Graph<D>, values: Tensor<D>, drop_path: f32) -> Result<Self> {
        Ok(Self { tokens: self.sum(graph)?, branch: Some(Branch { values, drop_path }) })
    }

    /// The stream's sum.
    ///
    /// # Errors
    /// A branch of another shape.
    pub fn sum(self, graph: &mut Graph<D>) -> Result<Tensor<D>> {
        match self.branch {
            Some(branch) => add_drop_path(graph, &self.tokens, &branch.values, branch.drop_path),
            None => Ok(self.tokens),
        }
    }

    /// The stream's sum, and its norm, followed by `activation` if there is one.
    ///
    /// # Errors
    /// A branch, a norm or an activation of other shapes.
    pub fn normed(
        self,
        graph: &mut Graph<D>,
        norm: &LayerNorm<D>,
        activation: Option<&GroupRational<D>>,
    ) -> Result<(Self, Tensor<D>)> {
        let Some(Branch { values, drop_path }) = self.branch else {
            let normed = norm.forward(graph, &self.tokens)?;
            let normed = match activation {
                Some(activation) => activation.forward(graph, &normed)?,
                None => normed,
            };
            return Ok((self, normed));
        };
        let activation = activation.map(GroupRational::parameters);
        let [sum, normed] =
            residual_norm(graph, &self.tokens, &values, drop_path, norm.parameters(), activation)?;
        Ok((sum.into(), normed))
    }
}
