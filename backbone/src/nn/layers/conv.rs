//! Convolution and transposed convolution as modules.

use crate::nn::Builder;
use crate::ops::conv2d::Placement;
use crate::{Device, Graph, Result, Tensor, module, ops};

/// How the weights of a convolution start; its bias starts at 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ConvInit {
    /// N(0, std²): the RPN and the predictors of Mask R-CNN.
    Normal(f32),
    /// N(0, 2 / (outputs × taps)): `c2_msra_fill` of detectron2, Kaiming by fan-out.
    KaimingFanOut,
    /// Uniform with variance 2 / (fan-in + fan-out): MultiLevelNeck of mmsegmentation.
    XavierUniform,
    /// Uniform with variance 1 / (3 fan-in): torch's own for convolutions.
    Torch,
}

/// Channels and window of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Channels of x.
    pub inputs: usize,
    /// Channels of y.
    pub outputs: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Distance of neighboring windows.
    pub stride: usize,
    /// Zeros added on each side.
    pub padding: usize,
}

impl ConvShape {
    /// One output pixel for each input pixel; the kernel's side is odd.
    pub fn same(inputs: usize, outputs: usize, kernel: usize) -> Self {
        Self { inputs, outputs, kernel, stride: 1, padding: kernel / 2 }
    }

    /// Windows that tile, without overlap: twice the pixels each way when transposed with kernel 2.
    pub fn tiling(inputs: usize, outputs: usize, kernel: usize) -> Self {
        Self { inputs, outputs, kernel, stride: kernel, padding: 0 }
    }

    fn placement(&self) -> Placement {
        Placement::new(self.stride, self.padding)
    }
}

fn weight<D: Device>(
    builder: &Builder<D>,
    shape: [usize; 4],
    fan_in: usize,
    fan_out: usize,
    init: ConvInit,
) -> Result<Tensor<D>> {
    match init {
        ConvInit::Normal(std) => builder.normal("weight", shape, std),
        ConvInit::KaimingFanOut => builder.normal("weight", shape, (2.0 / fan_out as f32).sqrt()),
        ConvInit::XavierUniform => builder.uniform("weight", shape, (6.0 / (fan_in + fan_out) as f32).sqrt()),
        ConvInit::Torch => builder.uniform("weight", shape, 1.0 / (fan_in as f32).sqrt()),
    }
}

/// y = w ⋆ x + b.
#[derive(Clone, Debug)]
pub struct Conv2d<D: Device> {
    /// (O, C, K, K).
    pub weight: Tensor<D>,
    /// (O); none where a norm follows.
    pub bias: Option<Tensor<D>>,
    placement: Placement,
}

module!(Conv2d { weight, bias });

impl<D: Device> Conv2d<D> {
    /// With a bias of 0.
    ///
    /// # Errors
    /// Sizes that the device cannot hold.
    pub fn new(builder: &Builder<D>, shape: ConvShape, init: ConvInit) -> Result<Self> {
        let bias = Some(builder.constant(0.0, [shape.outputs])?);
        Ok(Self { bias, ..Self::without_bias(builder, shape, init)? })
    }

    /// Without a bias, for a norm to follow.
    ///
    /// # Errors
    /// Sizes that the device cannot hold.
    pub fn without_bias(builder: &Builder<D>, shape: ConvShape, init: ConvInit) -> Result<Self> {
        let taps = shape.kernel * shape.kernel;
        let axes = [shape.outputs, shape.inputs, shape.kernel, shape.kernel];
        let weight = weight(builder, axes, shape.inputs * taps, shape.outputs * taps, init)?;
        Ok(Self { weight, bias: None, placement: shape.placement() })
    }

    /// (B, C, H, W) → (B, O, H', W').
    ///
    /// # Errors
    /// An input of other channels, or smaller than the kernel.
    pub fn forward(&self, graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
        ops::conv2d(graph, x, &self.weight, self.bias.as_ref(), self.placement)
    }
}

/// The transpose of a convolution: each input pixel paints a window of the output.
#[derive(Clone, Debug)]
pub struct ConvTranspose2d<D: Device> {
    /// (C, O, K, K).
    pub weight: Tensor<D>,
    /// (O).
    pub bias: Option<Tensor<D>>,
    placement: Placement,
}

module!(ConvTranspose2d { weight, bias });

impl<D: Device> ConvTranspose2d<D> {
    /// With a bias of 0.
    ///
    /// # Errors
    /// Sizes that the device cannot hold.
    pub fn new(builder: &Builder<D>, shape: ConvShape, init: ConvInit) -> Result<Self> {
        let taps = shape.kernel * shape.kernel;
        let axes = [shape.inputs, shape.outputs, shape.kernel, shape.kernel];
        // As torch counts them, from the axes of the weight: fan-in by the second, fan-out by the first.
        let weight = weight(builder, axes, shape.outputs * taps, shape.inputs * taps, init)?;
        let bias = Some(builder.constant(0.0, [shape.outputs])?);
        Ok(Self { weight, bias, placement: shape.placement() })
    }

    /// (B, C, H, W) → (B, O, H', W').
    ///
    /// # Errors
    /// An input of other channels.
    pub fn forward(&self, graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
        ops::conv_transpose2d(graph, x, &self.weight, self.bias.as_ref(), self.placement)
    }
}

#[cfg(test)]
mod tests {
    use crate::Cpu;

    use super::*;

    fn spread(init: ConvInit) -> f32 {
        let builder = Builder::new(&Cpu::default(), 3);
        let conv = Conv2d::without_bias(&builder, ConvShape::same(16, 64, 3), init).unwrap();
        let values = conv.weight.to_vec();
        (values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32).sqrt()
    }

    #[test]
    fn first_values_have_the_spread_of_their_scheme() {
        let (fan_in, fan_out) = (16.0 * 9.0, 64.0 * 9.0);
        for (init, expected) in [
            (ConvInit::Normal(0.01), 0.01_f32),
            (ConvInit::KaimingFanOut, (2.0_f32 / fan_out).sqrt()),
            (ConvInit::XavierUniform, (2.0_f32 / (fan_in + fan_out)).sqrt()),
            (ConvInit::Torch, (1.0_f32 / (3.0 * fan_in)).sqrt()),
        ] {
            let found = spread(init);
            assert!((found / expected - 1.0).abs() < 0.03, "{init:?}: {found}, expected {expected}");
        }
    }

    #[test]
    fn a_tiling_transpose_doubles_the_sides() {
        let builder = Builder::new(&Cpu::default(), 0);
        let up = ConvTranspose2d::new(&builder, ConvShape::tiling(3, 2, 2), ConvInit::Torch).unwrap();
        let x = Tensor::zeros(&Cpu::default(), [1, 3, 4, 5]).unwrap();
        let y = up.forward(&mut Graph::inference(), &x).unwrap();
        assert_eq!(y.shape().axes(), [1, 2, 8, 10]);
    }
}
