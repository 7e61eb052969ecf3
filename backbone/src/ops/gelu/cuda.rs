//! GELU on the GPU.

use super::GeluKernel;
use crate::cuda::launch::Grid;
use crate::cuda::{Buffer, Cuda, View, kernels};
use crate::error::Result;

impl GeluKernel for Cuda {
    fn gelu_forward(&self, x: View<'_>) -> Result<Buffer> {
        let (context, grid, n) = (self.context(), Grid::packs(x.len()), x.len() as u64);
        if x.is_bf16() {
            let mut y = self.empty_bf16(x.len())?;
            kernels::gelu_forward_bf16(context, grid, x, &mut y, n)?;
            return Ok(y.into());
        }
        let mut y = self.empty(x.len())?;
        kernels::gelu_forward(context, grid, x, &mut y, n)?;
        Ok(y)
    }

    fn gelu_backward(&self, x: View<'_>, dy: Buffer) -> Result<Buffer> {
        let (context, grid, n) = (self.context(), Grid::packs(x.len()), x.len() as u64);
        if x.is_bf16() {
            let mut dx = dy.into_bf16(context)?;
            kernels::gelu_backward_bf16(context, grid, x, &mut dx, n)?;
            return Ok(dx.into());
        }
        let mut dx = dy.into_f32(context)?;
        kernels::gelu_backward(context, grid, x, &mut dx, n)?;
        Ok(dx.into())
    }
}
