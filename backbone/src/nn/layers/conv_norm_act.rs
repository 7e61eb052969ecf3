//! Convolution, batch norm and ReLU in a row: mmsegmentation's ConvModule.

use crate::nn::Builder;
use crate::ops::batch_norm::Options;
use crate::{Device, Graph, Result, Tensor, module, ops};

use super::{BatchNorm2d, Conv2d, ConvInit, ConvShape};

/// ReLU(batch norm(w ⋆ x)); the convolution has no bias.
#[derive(Clone, Debug)]
pub struct ConvNormAct<D: Device> {
    /// The convolution.
    pub conv: Conv2d<D>,
    /// The norm.
    pub bn: BatchNorm2d<D>,
}

module!(ConvNormAct { conv, bn });

impl<D: Device> ConvNormAct<D> {
    /// The convolution starts as Kaiming by fan-out, as mmcv has it.
    ///
    /// # Errors
    /// Sizes that the device cannot hold.
    pub fn new(builder: &Builder<D>, shape: ConvShape, norm: &Options) -> Result<Self> {
        Ok(Self {
            conv: Conv2d::without_bias(&builder.at("conv"), shape, ConvInit::KaimingFanOut)?,
            bn: BatchNorm2d::new(&builder.at("bn"), shape.outputs, norm)?,
        })
    }

    /// (B, C, H, W) → (B, O, H', W').
    ///
    /// # Errors
    /// An input of other channels, or a single value for each channel while training.
    pub fn forward(&self, graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
        let y = self.conv.forward(graph, x)?;
        let y = self.bn.forward(graph, &y)?;
        ops::relu(graph, &y)
    }
}

#[cfg(test)]
mod tests {
    use crate::Cpu;
    use crate::checkpoint::model::export;

    use super::*;

    #[test]
    fn tensors_are_named_as_in_mmsegmentation() {
        let builder = Builder::new(&Cpu::default(), 0);
        let layer = ConvNormAct::new(&builder, ConvShape::same(3, 4, 1), &Options::default()).unwrap();
        let names: Vec<_> = export(&layer).tensors.into_keys().collect();
        assert_eq!(names, ["bn.bias", "bn.running_mean", "bn.running_var", "bn.weight", "conv.weight"]);
        let x = Tensor::from_vec(&Cpu::default(), vec![-1.0; 2 * 3 * 4], [2, 3, 2, 2]).unwrap();
        let y = layer.forward(&mut Graph::inference(), &x).unwrap();
        assert_eq!(y.shape().axes(), [2, 4, 2, 2]);
        assert!(y.to_vec().iter().all(|v| *v >= 0.0));
    }
}
