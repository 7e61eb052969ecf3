//! LayerScale (arXiv 2103.17239): a learned factor for each channel of a residual branch.
//!
//! The factors multiply the rows of the branch's last linear layer, γ ∘ (W x + b) = (γ ∘ W) x + γ ∘ b, so that no map of
//! the branch's size is made for them.

use super::{Builder, Linear};
use crate::device::Device;
use crate::error::Result;
use crate::module;
use crate::tensor::{Graph, Tensor};

/// The factors of a branch.
#[derive(Clone, Debug)]
pub struct LayerScale<D: Device> {
    /// (C).
    pub gamma: Tensor<D>,
}

module!(LayerScale { gamma });

impl<D: Device> LayerScale<D> {
    /// Factors that start as `value`.
    ///
    /// # Errors
    /// The device refuses.
    pub fn new(builder: &Builder<D>, channels: usize, value: f32) -> Result<Self> {
        Ok(Self { gamma: builder.constant(value, [channels])? })
    }

    /// `layer` with its outputs scaled.
    ///
    /// # Errors
    /// A layer of another width.
    pub fn scaled(&self, graph: &mut Graph<D>, layer: &Linear<D>) -> Result<Linear<D>> {
        let channels = self.gamma.numel();
        let weight = crate::ops::scale_rows(graph, &layer.weight, &self.gamma)?;
        let bias = match &layer.bias {
            None => None,
            Some(bias) => {
                let column = bias.reshape([channels, 1])?;
                Some(crate::ops::scale_rows(graph, &column, &self.gamma)?.reshape([channels])?)
            }
        };
        Ok(Linear { weight, bias })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::Case;

    #[test]
    fn the_branch_is_scaled_and_factors_weights_and_bias_have_their_gradients() {
        Case::new()
            .input([4, 3], -1.0..1.0)
            .input([2, 3], -1.0..1.0)
            .input([2], -1.0..1.0)
            .input([2], -1.0..1.0)
            .gradients_match(
                |graph, t| {
                    let layer = Linear { weight: t[1].clone(), bias: Some(t[2].clone()) };
                    LayerScale { gamma: t[3].clone() }.scaled(graph, &layer)?.forward(graph, &t[0])
                },
                |t| {
                    let row =
                        |n: usize, o: usize| (0..3).map(|i| t[0][n * 3 + i] * t[1][o * 3 + i]).sum::<f64>();
                    (0..8).map(|i| t[3][i % 2] * (row(i / 2, i % 2) + t[2][i % 2])).collect()
                },
                1e-6,
            );
    }
}
