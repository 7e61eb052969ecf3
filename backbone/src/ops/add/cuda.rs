//! Addition and scaling on the GPU.

use super::AddKernel;
use crate::error::Result;
use crate::ops::cuda::buffer::Bf16;
use crate::ops::cuda::launch::Grid;
use crate::ops::cuda::sums::sum_blocks;
use crate::ops::cuda::{Buffer, Cuda, View, kernels};

impl AddKernel for Cuda {
    fn add_forward(&self, a: View<'_>, b: View<'_>, repeats: usize) -> Result<Buffer> {
        let count = a.len();
        let mut y = self.empty(count)?;
        let (context, grid, n) = (self.context(), Grid::each(count), count as u64);
        if repeats == 1 && b.is_bf16() {
            kernels::add_bf16(context, grid, a, b, &mut y, n)?;
        } else {
            let period = (count / repeats.max(1)).max(1) as u64;
            kernels::add_repeated(context, grid, a, b, &mut y, n, period)?;
        }
        Ok(y)
    }

    fn sum_parts(&self, dy: View<'_>, repeats: usize) -> Result<Buffer> {
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

    fn add_scaled(&self, a: View<'_>, b: View<'_>, factors: &[f32]) -> Result<Buffer> {
        let count = a.len();
        let sample = (count / factors.len().max(1)).max(1) as u64;
        let (mut y, factors) = (self.empty(count)?, self.send(factors.to_vec())?);
        let (context, grid, n) = (self.context(), Grid::each(count), count as u64);
        match b.is_bf16() {
            true => kernels::add_scaled_bf16(context, grid, a, b, &factors, &mut y, n, sample),
            false => kernels::add_scaled(context, grid, a, b, &factors, &mut y, n, sample),
        }?;
        Ok(y)
    }

    fn scale_samples(&self, mut x: Buffer, factors: &[f32]) -> Result<Buffer> {
        let count = x.len();
        let sample = (count / factors.len().max(1)).max(1) as u64;
        let (context, grid, factors) = (self.context(), Grid::each(count), self.send(factors.to_vec())?);
        match &mut x {
            Buffer::Bf16(x) => kernels::scale_samples_bf16(context, grid, x, &factors, count as u64, sample),
            Buffer::F32(x) => kernels::scale_samples(context, grid, x, &factors, count as u64, sample),
        }?;
        Ok(x)
    }

    fn copy_as(&self, x: View<'_>, like: View<'_>) -> Result<Buffer> {
        match (x, like) {
            (Buffer::F32(values), Buffer::Bf16(_)) => Ok(Bf16::rounded(self.context(), values)?.into()),
            _ => self.copy(x),
        }
    }

    fn duplicate(&self, x: View<'_>) -> Result<Buffer> {
        self.copy(x)
    }

    fn total(&self, x: View<'_>, weights: Option<View<'_>>, factor: f64) -> Result<Buffer> {
        let (count, blocks) = (x.len() as u64, sum_blocks(x.len()));
        let mut sums = self.context().empty(blocks)?;
        kernels::sum_values(self.context(), Grid::blocks(blocks), x, weights, &mut sums, count)?;
        self.total_of_sums(&sums, factor)
    }

    fn spread_total(
        &self,
        dy: View<'_>,
        weights: Option<View<'_>>,
        factor: f64,
        len: usize,
    ) -> Result<Buffer> {
        let mut dx = self.empty(len)?;
        let (grid, n) = (Grid::each(len), len as u64);
        kernels::spread_total(self.context(), grid, dy, weights, &mut dx, n, factor as f32)?;
        Ok(dx)
    }
}
