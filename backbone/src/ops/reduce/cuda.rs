//! Reductions on the GPU.

use super::ReduceKernel;
use crate::cuda::launch::Grid;
use crate::cuda::sums::sum_blocks;
use crate::cuda::{Buffer, Cuda, View, kernels};
use crate::error::Result;

impl ReduceKernel for Cuda {
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

    fn mean_tokens(&self, x: View<'_>, tokens: usize, channels: usize) -> Result<Buffer> {
        let count = x.len() / tokens.max(1);
        let mut y = self.empty(count)?;
        let (grid, tokens, channels) = (Grid::each(count), tokens as u64, channels as u64);
        kernels::token_means(self.context(), grid, x, &mut y, count as u64, tokens, channels)?;
        Ok(y)
    }

    fn spread_tokens(&self, dy: View<'_>, tokens: usize, channels: usize) -> Result<Buffer> {
        let count = dy.len() * tokens;
        let mut dx = self.empty(count)?;
        let (grid, tokens, channels) = (Grid::each(count), tokens as u64, channels as u64);
        kernels::spread_means(self.context(), grid, dy, &mut dx, count as u64, tokens, channels)?;
        Ok(dx)
    }
}
