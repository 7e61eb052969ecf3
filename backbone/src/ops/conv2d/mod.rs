//! 2-D convolution (cross-correlation, as everywhere in deep learning), groups 1 and dilation 1:
//!
//! y[b, o, i, j] = bias[o] + Σ_{c,u,v} w[o, c, u, v] · x[b, c, i·s + u - p, j·s + v - p], zeros outside x.

mod columns;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod gradient;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
mod tiled;
mod tiles;

pub use super::window::Placement;
use crate::error::{Error, Result};
use crate::tensor::{Backend, Graph, Tensor};

/// Sizes of a convolution; pairs are (vertical, horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// B.
    pub batch: usize,
    /// C: channels of x.
    pub in_channels: usize,
    /// O: channels of y.
    pub out_channels: usize,
    /// H × W of x.
    pub input: [usize; 2],
    /// Height and width of y.
    pub output: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Stride and padding.
    pub placement: Placement,
}

impl Geometry {
    /// Pixels of a plane of x.
    pub fn input_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    /// Pixels of a plane of y.
    pub fn output_plane(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Weights of one channel of x in one of y.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// C · taps: the length of the dot product behind each output.
    pub fn depth(&self) -> usize {
        self.in_channels * self.taps()
    }

    /// Values of x.
    pub fn input_len(&self) -> usize {
        self.batch * self.in_channels * self.input_plane()
    }

    /// Values of y.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_channels * self.output_plane()
    }
}

/// Convolution on a device. A transposed convolution is made of the same three products.
pub trait Conv2dKernel: Backend {
    /// y of x: (B, C, H, W) and w: (O, C, KH, KW).
    ///
    /// # Errors
    /// The device refuses.
    fn conv2d_forward(
        &self,
        x: Self::View<'_>,
        weight: Self::View<'_>,
        bias: Option<Self::View<'_>>,
        geometry: &Geometry,
    ) -> Result<Self::Buf>;
    /// The gradient at x, plus `bias[c]` in every pixel of channel c (which a transposed convolution adds).
    ///
    /// # Errors
    /// The device refuses.
    fn conv2d_input_gradient(
        &self,
        dy: Self::View<'_>,
        weight: Self::View<'_>,
        bias: Option<Self::View<'_>>,
        geometry: &Geometry,
    ) -> Result<Self::Buf>;
    /// The gradient at w; the same bits whatever the number of threads.
    ///
    /// # Errors
    /// The device refuses.
    fn conv2d_weight_gradient(
        &self,
        dy: Self::View<'_>,
        x: Self::View<'_>,
        geometry: &Geometry,
    ) -> Result<Self::Buf>;
    /// Sums over everything but the channels of (B, channels, plane) values: the gradient at a bias.
    ///
    /// # Errors
    /// The device refuses.
    fn channel_sums(&self, values: Self::View<'_>, channels: usize, plane: usize) -> Result<Self::Buf>;
}

pub(crate) fn check_bias<D: Conv2dKernel>(
    op: &'static str,
    bias: Option<&Tensor<D>>,
    channels: usize,
) -> Result<()> {
    match bias {
        Some(bias) if bias.shape().axes() != [channels] => {
            Err(Error::shape(op, "the bias", format!("[{channels}]"), bias.shape()))
        }
        _ => Ok(()),
    }
}

/// Convolution of a feature map.
///
/// # Shapes
/// x (B, C, H, W), weight (O, C, KH, KW), bias (O) → (B, O, (H + 2p - KH)/s + 1, (W + 2p - KW)/s + 1).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn conv2d<D: Conv2dKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    weight: &Tensor<D>,
    bias: Option<&Tensor<D>>,
    placement: Placement,
) -> Result<Tensor<D>> {
    const OP: &str = "conv2d";
    let [batch, in_channels, height, width] = x.axes(OP, "(B, C, H, W)")?;
    let expected = || format!("(O, {in_channels}, KH, KW)");
    let [out_channels, weight_channels, kh, kw] = weight
        .axes(OP, &expected())
        .map_err(|_| Error::shape(OP, "the weight", expected(), weight.shape()))?;
    if weight_channels != in_channels {
        return Err(Error::shape(OP, "the weight", expected(), weight.shape()));
    }
    check_bias(OP, bias, out_channels)?;
    let (input, kernel) = ([height, width], [kh, kw]);
    let output = placement.windows(OP, input, kernel)?;
    let geometry = Geometry { batch, in_channels, out_channels, input, output, kernel, placement };
    let device = x.device();
    let y = device.conv2d_forward(x.view(), weight.view(), bias.map(Tensor::view), &geometry)?;
    let inputs: Vec<_> = [x, weight].into_iter().chain(bias).collect();
    graph.record(device, y, [batch, out_channels, output[0], output[1]], &inputs, || {
        let (x, weight, bias) = (x.clone(), weight.clone(), bias.cloned());
        move |dy, grads| {
            let (device, dy) = (x.device(), D::view_buf(&dy));
            if weight.wants_gradient() {
                grads.add(&weight, device.conv2d_weight_gradient(dy, x.view(), &geometry)?)?;
            }
            if let Some(bias) = bias.filter(Tensor::wants_gradient) {
                grads.add(&bias, device.channel_sums(dy, out_channels, geometry.output_plane())?)?;
            }
            if x.wants_gradient() {
                grads.add(&x, device.conv2d_input_gradient(dy, weight.view(), None, &geometry)?)?;
            }
            Ok(())
        }
    })
}
