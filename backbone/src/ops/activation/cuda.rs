//! Activations on the GPU; GELU has kernels for both types of storage.

use super::{ActivationKernel, Function};
use crate::cuda::launch::Grid;
use crate::cuda::{Buffer, Cuda, View, kernels};
use crate::error::Result;

impl ActivationKernel for Cuda {
    fn activation_forward(&self, function: Function, x: View<'_>) -> Result<Buffer> {
        let (context, count, n) = (self.context(), x.len(), x.len() as u64);
        if function == Function::Gelu && x.is_bf16() {
            let mut y = self.empty_bf16(count)?;
            kernels::gelu_forward_bf16(context, Grid::packs(count), x, &mut y, n)?;
            return Ok(y.into());
        }
        let mut y = self.empty(count)?;
        match function {
            Function::Relu => kernels::relu_forward(context, Grid::each(count), x, &mut y, n),
            Function::Sigmoid => kernels::sigmoid_forward(context, Grid::each(count), x, &mut y, n),
            Function::Silu => kernels::silu_forward(context, Grid::each(count), x, &mut y, n),
            Function::Gelu => kernels::gelu_forward(context, Grid::packs(count), x, &mut y, n),
        }?;
        Ok(y)
    }

    fn activation_backward(&self, function: Function, x: View<'_>, mut dy: Buffer) -> Result<Buffer> {
        let (context, count, n) = (self.context(), x.len(), x.len() as u64);
        match function {
            Function::Relu => kernels::relu_backward(context, Grid::each(count), x, &mut dy, n),
            Function::Sigmoid => kernels::sigmoid_backward(context, Grid::each(count), x, &mut dy, n),
            Function::Silu => kernels::silu_backward(context, Grid::each(count), x, &mut dy, n),
            Function::Gelu if x.is_bf16() => {
                let mut dx = dy.into_bf16(context)?;
                kernels::gelu_backward_bf16(context, Grid::packs(count), x, &mut dx, n)?;
                return Ok(dx.into());
            }
            Function::Gelu => {
                let mut dx = dy.into_f32(context)?;
                kernels::gelu_backward(context, Grid::packs(count), x, &mut dx, n)?;
                return Ok(dx.into());
            }
        }?;
        Ok(dy)
    }
}
