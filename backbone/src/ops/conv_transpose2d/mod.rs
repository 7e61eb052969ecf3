//! Transposed 2-D convolution: the adjoint of [`conv2d`](super::conv2d::conv2d) with the same kernel, stride and
//! padding, plus a bias. x stands where the convolution's output would, y where its input would, so the three
//! products of the convolution serve it in other roles.

use super::conv2d::Conv2dKernel;
use super::conv2d::{Geometry, Placement, check_bias};
use crate::error::{Error, Result};
use crate::tensor::Graph;
use crate::tensor::Tensor;

/// Transposed convolution of a feature map; 2×2 at stride 2 doubles the grid.
///
/// # Shapes
/// x (B, C, H, W), weight (C, O, KH, KW), bias (O) → (B, O, (H - 1) s - 2p + KH, (W - 1) s - 2p + KW).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn conv_transpose2d<D: Conv2dKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    weight: &Tensor<D>,
    bias: Option<&Tensor<D>>,
    placement: Placement,
) -> Result<Tensor<D>> {
    const OP: &str = "conv_transpose2d";
    let [batch, channels, height, width] = x.axes(OP, "(B, C, H, W)")?;
    let expected = || format!("({channels}, O, KH, KW)");
    let [weight_channels, out_channels, kh, kw] = weight
        .axes(OP, &expected())
        .map_err(|_| Error::shape(OP, "the weight", expected(), weight.shape()))?;
    if weight_channels != channels {
        return Err(Error::shape(OP, "the weight", expected(), weight.shape()));
    }
    check_bias(OP, bias, out_channels)?;
    let (grid, kernel) = ([height, width], [kh, kw]);
    let size = output_size(OP, grid, kernel, placement)?;
    let geometry = Geometry {
        batch,
        in_channels: out_channels,
        out_channels: channels,
        input: size,
        output: grid,
        kernel,
        placement,
    };
    let device = x.device();
    let y = device.conv2d_input_gradient(x.view(), weight.view(), bias.map(Tensor::view), &geometry)?;
    let inputs: Vec<_> = [x, weight].into_iter().chain(bias).collect();
    graph.record(device, y, [batch, out_channels, size[0], size[1]], &inputs, || {
        let (x, weight, bias) = (x.clone(), weight.clone(), bias.cloned());
        move |dy, grads| {
            let (device, dy) = (x.device(), D::view_buf(&dy));
            if weight.wants_gradient() {
                grads.add(&weight, device.conv2d_weight_gradient(x.view(), dy, &geometry)?)?;
            }
            if let Some(bias) = bias.filter(Tensor::wants_gradient) {
                grads.add(&bias, device.channel_sums(dy, out_channels, geometry.input_plane())?)?;
            }
            if x.wants_gradient() {
                grads.add(&x, device.conv2d_forward(dy, weight.view(), None, &geometry)?)?;
            }
            Ok(())
        }
    })
}

fn output_size(
    op: &'static str,
    grid: [usize; 2],
    kernel: [usize; 2],
    placement: Placement,
) -> Result<[usize; 2]> {
    let mut size = [0; 2];
    for (i, size) in size.iter_mut().enumerate() {
        let (grid, kernel, stride, padding) = (grid[i], kernel[i], placement.stride[i], placement.padding[i]);
        let full = grid.checked_sub(1).map(|steps| steps * stride + kernel);
        *size = full.and_then(|full| full.checked_sub(2 * padding)).unwrap_or(0);
        if *size == 0 || kernel == 0 || stride == 0 {
            let reason = format!(
                "{grid} pixels with kernel {kernel}, stride {stride} and padding {padding} give an empty output"
            );
            return Err(Error::config(op, reason));
        }
    }
    Ok(size)
}

#[cfg(test)]
mod tests;
