//! ReLU and the logistic function on the GPU.

use super::ReluKernel;
use crate::cuda::launch::Grid;
use crate::cuda::{Buffer, Cuda, View, kernels};
use crate::error::Result;

impl ReluKernel for Cuda {
    fn relu_forward(&self, x: View<'_>) -> Result<Buffer> {
        let mut y = self.empty(x.len())?;
        kernels::relu_forward(self.context(), Grid::each(x.len()), x, &mut y, x.len() as u64)?;
        Ok(y)
    }

    fn relu_backward(&self, x: View<'_>, mut dy: Buffer) -> Result<Buffer> {
        kernels::relu_backward(self.context(), Grid::each(x.len()), x, &mut dy, x.len() as u64)?;
        Ok(dy)
    }

    fn sigmoid_forward(&self, x: View<'_>) -> Result<Buffer> {
        let mut y = self.empty(x.len())?;
        kernels::sigmoid_forward(self.context(), Grid::each(x.len()), x, &mut y, x.len() as u64)?;
        Ok(y)
    }

    fn sigmoid_backward(&self, x: View<'_>, mut dy: Buffer) -> Result<Buffer> {
        kernels::sigmoid_backward(self.context(), Grid::each(x.len()), x, &mut dy, x.len() as u64)?;
        Ok(dy)
    }
}
