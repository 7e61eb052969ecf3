//! GELU on the GPU.

use super::GeluKernel;
use crate::error::Result;
use crate::ops::cuda::launch::Grid;
use crate::ops::cuda::{Cuda, View, kernels};
use cudarc::driver::{CudaSlice, DeviceSlice as _};

impl GeluKernel for Cuda {
    fn gelu_forward(&self, x: View<'_>) -> Result<CudaSlice<f32>> {
        let mut y = self.empty(x.len())?;
        kernels::gelu_forward(self.context(), Grid::each(x.len()), x, &mut y, x.len() as u64)?;
        Ok(y)
    }

    fn gelu_backward(&self, x: View<'_>, mut dy: CudaSlice<f32>) -> Result<CudaSlice<f32>> {
        kernels::gelu_backward(self.context(), Grid::each(x.len()), x, &mut dy, x.len() as u64)?;
        Ok(dy)
    }
}
