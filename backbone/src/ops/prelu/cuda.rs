//! PReLU on the GPU; the slope's gradient is summed as any total is.

use super::{PreluGradients, PreluKernel};
use crate::cuda::launch::Grid;
use crate::cuda::{Buffer, Cuda, View, kernels};
use crate::error::Result;
use crate::ops::reduce::ReduceKernel as _;
use crate::tensor::Backend as _;

impl PreluKernel for Cuda {
    fn prelu_forward(&self, x: View<'_>, slope: View<'_>) -> Result<Buffer> {
        let (context, grid, n) = (self.context(), Grid::packs(x.len()), x.len() as u64);
        if x.is_bf16() {
            let mut y = self.empty_bf16(x.len())?;
            kernels::prelu_forward_bf16(context, grid, x, slope, &mut y, n)?;
            return Ok(y.into());
        }
        let mut y = self.empty(x.len())?;
        kernels::prelu_forward(context, grid, x, slope, &mut y, n)?;
        Ok(y)
    }

    fn prelu_backward(&self, x: View<'_>, slope: View<'_>, dy: Buffer) -> Result<PreluGradients<Self>> {
        let (context, grid, n) = (self.context(), Grid::packs(x.len()), x.len() as u64);
        let mut shares = self.empty(x.len())?;
        let dx: Buffer = if x.is_bf16() {
            let mut dx = dy.into_bf16(context)?;
            kernels::prelu_shares_bf16(context, grid, x, &dx, &mut shares, n)?;
            kernels::prelu_backward_bf16(context, grid, x, slope, &mut dx, n)?;
            dx.into()
        } else {
            let mut dx = dy.into_f32(context)?;
            kernels::prelu_shares(context, grid, x, &dx, &mut shares, n)?;
            kernels::prelu_backward(context, grid, x, slope, &mut dx, n)?;
            dx.into()
        };
        Ok(PreluGradients { dx, slope: self.total(Self::view_buf(&shares), None, 1.0)? })
    }
}
