//! Addition and scaling on the GPU.

use super::AddKernel;
use crate::cuda::launch::Grid;
use crate::cuda::{Buffer, Cuda, View, kernels};
use crate::error::Result;

impl AddKernel for Cuda {
    fn add_forward(&self, a: View<'_>, b: View<'_>, repeats: usize) -> Result<Buffer> {
        if repeats == 1 {
            return self.residual(a, b, None);
        }
        let (count, mut y) = (a.len(), self.empty(a.len())?);
        let (period, n) = ((count / repeats.max(1)).max(1) as u64, count as u64);
        kernels::add_repeated(self.context(), Grid::each(count.div_ceil(4)), a, b, &mut y, n, period)?;
        Ok(y)
    }

    fn add_scaled(&self, a: View<'_>, b: View<'_>, factors: &[f32]) -> Result<Buffer> {
        self.residual(a, b, Some(factors))
    }

    fn scale_samples(&self, x: Buffer, factors: &[f32]) -> Result<Buffer> {
        self.scaled_copy(&x, Some(factors), &x)
    }

    fn scaled_copy(&self, x: View<'_>, factors: Option<&[f32]>, like: View<'_>) -> Result<Buffer> {
        let count = x.len();
        let (factors, sample) = self.sample_factors(count, factors)?;
        let (context, grid, n, factors) =
            (self.context(), Grid::packs(count), count as u64, factors.as_ref());
        match (x, like) {
            (Buffer::F32(_), Buffer::F32(_)) => {
                let mut y = self.empty(count)?;
                kernels::scaled_f32(context, grid, x, factors, &mut y, n, sample)?;
                Ok(y)
            }
            (Buffer::F32(_), Buffer::Bf16(_)) => {
                let mut y = self.empty_bf16(count)?;
                kernels::scaled_narrow(context, grid, x, factors, &mut y, n, sample)?;
                Ok(y.into())
            }
            (Buffer::Bf16(_), _) => {
                let mut y = self.empty_bf16(count)?;
                kernels::scaled_bf16(context, grid, x, factors, &mut y, n, sample)?;
                Ok(y.into())
            }
        }
    }

    fn duplicate(&self, x: View<'_>) -> Result<Buffer> {
        self.copy(x)
    }
}

impl Cuda {
    /// `a + factors[sample] b`, or `a + b`.
    fn residual(&self, a: View<'_>, b: View<'_>, factors: Option<&[f32]>) -> Result<Buffer> {
        let (count, mut y) = (a.len(), self.empty(a.len())?);
        let (factors, sample) = self.sample_factors(count, factors)?;
        let (context, grid, n, factors) =
            (self.context(), Grid::packs(count), count as u64, factors.as_ref());
        match b.is_bf16() {
            true => kernels::residual_bf16(context, grid, a, b, factors, &mut y, n, sample),
            false => kernels::residual_f32(context, grid, a, b, factors, &mut y, n, sample),
        }?;
        Ok(y)
    }

    /// A factor for each sample on the GPU, and the values of a sample, of `count` in all.
    pub(crate) fn sample_factors(
        &self,
        count: usize,
        factors: Option<&[f32]>,
    ) -> Result<(Option<Buffer>, u64)> {
        let Some(factors) = factors else { return Ok((None, 1)) };
        let sample = (count / factors.len().max(1)).max(1) as u64;
        Ok((Some(self.send(factors.to_vec())?.into()), sample))
    }
}
