//! Addition and scaling on the GPU.

use super::AddKernel;
use crate::error::Result;
use crate::ops::cuda::launch::Grid;
use crate::ops::cuda::{Cuda, View, kernels};
use cudarc::driver::{CudaSlice, DeviceSlice as _};

impl AddKernel for Cuda {
    fn add_forward(&self, a: View<'_>, b: View<'_>, repeats: usize) -> Result<CudaSlice<f32>> {
        let count = a.len();
        let mut y = self.empty(count)?;
        let period = (count / repeats.max(1)).max(1) as u64;
        kernels::add_repeated(self.context(), Grid::each(count), a, b, &mut y, count as u64, period)?;
        Ok(y)
    }

    fn sum_parts(&self, dy: View<'_>, repeats: usize) -> Result<CudaSlice<f32>> {
        let period = dy.len() / repeats.max(1);
        let mut sums = self.empty(period)?;
        kernels::sum_repeats(
            self.context(),
            Grid::each(period),
            dy,
            &mut sums,
            period as u64,
            repeats as u64,
        )?;
        Ok(sums)
    }

    fn add_scaled(&self, a: View<'_>, b: View<'_>, factors: &[f32]) -> Result<CudaSlice<f32>> {
        let count = a.len();
        let (mut y, factors) = (self.empty(count)?, self.send(factors.to_vec())?);
        let sample = (count / factors.len().max(1)).max(1) as u64;
        kernels::add_scaled(self.context(), Grid::each(count), a, b, &factors, &mut y, count as u64, sample)?;
        Ok(y)
    }

    fn scale_samples(&self, mut x: CudaSlice<f32>, factors: &[f32]) -> Result<CudaSlice<f32>> {
        let (count, factors) = (x.len(), self.send(factors.to_vec())?);
        let sample = (count / factors.len().max(1)).max(1) as u64;
        kernels::scale_samples(self.context(), Grid::each(count), &mut x, &factors, count as u64, sample)?;
        Ok(x)
    }

    fn duplicate(&self, x: View<'_>) -> Result<CudaSlice<f32>> {
        self.copy(x)
    }

    fn sum_all(&self, x: View<'_>) -> Result<f64> {
        self.total(x)
    }
}
