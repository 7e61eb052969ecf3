//! ReLU and the logistic function on the GPU.

use super::ReluKernel;
use crate::error::Result;
use crate::ops::cuda::launch::Grid;
use crate::ops::cuda::{Cuda, View, kernels};
use cudarc::driver::{CudaSlice, DeviceSlice as _};

impl ReluKernel for Cuda {
    fn relu_forward(&self, x: View<'_>) -> Result<CudaSlice<f32>> {
        let mut y = self.empty(x.len())?;
        kernels::relu_forward(self.context(), Grid::each(x.len()), x, &mut y, x.len() as u64)?;
        Ok(y)
    }

    fn relu_backward(&self, x: View<'_>, mut dy: CudaSlice<f32>) -> Result<CudaSlice<f32>> {
        kernels::relu_backward(self.context(), Grid::each(x.len()), x, &mut dy, x.len() as u64)?;
        Ok(dy)
    }

    fn sigmoid_forward(&self, x: View<'_>) -> Result<CudaSlice<f32>> {
        let mut y = self.empty(x.len())?;
        kernels::sigmoid_forward(self.context(), Grid::each(x.len()), x, &mut y, x.len() as u64)?;
        Ok(y)
    }

    fn sigmoid_backward(&self, x: View<'_>, mut dy: CudaSlice<f32>) -> Result<CudaSlice<f32>> {
        kernels::sigmoid_backward(self.context(), Grid::each(x.len()), x, &mut dy, x.len() as u64)?;
        Ok(dy)
    }
}
