//! Activations on the GPU; those of MLPs have kernels for both types of storage.

use super::{ActivationKernel, Function};
use crate::cuda::launch::Grid;
use crate::cuda::{Buffer, Cuda, View, kernels};
use crate::error::Result;

impl ActivationKernel for Cuda {
    fn activation_forward(&self, function: Function, x: View<'_>) -> Result<Buffer> {
        let (context, count, n) = (self.context(), x.len(), x.len() as u64);
        let grid = Grid::packs(count);
        if x.is_bf16() && function.is_of_mlps() {
            let mut y = self.empty_bf16(count)?;
            match function {
                Function::Gelu => kernels::gelu_forward_bf16(context, grid, x, &mut y, n),
                Function::GeluTanh => kernels::gelu_tanh_forward_bf16(context, grid, x, &mut y, n),
                Function::QuickGelu => kernels::quick_gelu_forward_bf16(context, grid, x, &mut y, n),
                _ => kernels::silu_forward_bf16(context, grid, x, &mut y, n),
            }?;
            return Ok(y.into());
        }
        let mut y = self.empty(count)?;
        match function {
            Function::Relu => kernels::relu_forward(context, Grid::each(count), x, &mut y, n),
            Function::Sigmoid => kernels::sigmoid_forward(context, Grid::each(count), x, &mut y, n),
            Function::Silu => kernels::silu_forward(context, grid, x, &mut y, n),
            Function::Gelu => kernels::gelu_forward(context, grid, x, &mut y, n),
            Function::GeluTanh => kernels::gelu_tanh_forward(context, grid, x, &mut y, n),
            Function::QuickGelu => kernels::quick_gelu_forward(context, grid, x, &mut y, n),
        }?;
        Ok(y)
    }

    fn activation_backward(&self, function: Function, x: View<'_>, mut dy: Buffer) -> Result<Buffer> {
        let (context, count, n) = (self.context(), x.len(), x.len() as u64);
        let grid = Grid::packs(count);
        match function {
            Function::Relu => kernels::relu_backward(context, Grid::each(count), x, &mut dy, n)?,
            Function::Sigmoid => kernels::sigmoid_backward(context, Grid::each(count), x, &mut dy, n)?,
            _ if x.is_bf16() => {
                let mut dx = dy.into_bf16(context)?;
                match function {
                    Function::Gelu => kernels::gelu_backward_bf16(context, grid, x, &mut dx, n),
                    Function::GeluTanh => kernels::gelu_tanh_backward_bf16(context, grid, x, &mut dx, n),
                    Function::QuickGelu => kernels::quick_gelu_backward_bf16(context, grid, x, &mut dx, n),
                    _ => kernels::silu_backward_bf16(context, grid, x, &mut dx, n),
                }?;
                return Ok(dx.into());
            }
            _ => {
                let mut dx = dy.into_f32(context)?;
                match function {
                    Function::Gelu => kernels::gelu_backward(context, grid, x, &mut dx, n),
                    Function::GeluTanh => kernels::gelu_tanh_backward(context, grid, x, &mut dx, n),
                    Function::QuickGelu => kernels::quick_gelu_backward(context, grid, x, &mut dx, n),
                    _ => kernels::silu_backward(context, grid, x, &mut dx, n),
                }?;
                return Ok(dx.into());
            }
        }
        Ok(dy)
    }
}

impl Function {
    /// Whether mixers use it, which may keep their activations in 16 bits.
    fn is_of_mlps(self) -> bool {
        !matches!(self, Self::Relu | Self::Sigmoid)
    }
}
