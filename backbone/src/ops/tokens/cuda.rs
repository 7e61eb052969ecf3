//! Moves of token sequences on the GPU.

use super::TokensKernel;
use crate::cuda::launch::Grid;
use crate::cuda::{Buffer, Cuda, View, kernels};
use crate::error::Result;
use std::ops::Range;

impl TokensKernel for Cuda {
    fn prepend(&self, prefix: View<'_>, x: View<'_>, batch: usize) -> Result<Buffer> {
        let sequence = x.len() / batch.max(1);
        let count = batch * (prefix.len() + sequence);
        let mut y = self.empty(count)?;
        let (context, grid, out) = (self.context(), Grid::each(count.div_ceil(4)), &mut y);
        let (n, head, sequence) = (count as u64, prefix.len() as u64, sequence as u64);
        match x.is_bf16() {
            true => kernels::prepend_rows_bf16(context, grid, prefix, x, out, n, head, sequence),
            false => kernels::prepend_rows(context, grid, prefix, x, out, n, head, sequence),
        }?;
        Ok(y)
    }

    fn take_range(&self, x: View<'_>, tokens: usize, range: Range<usize>, channels: usize) -> Result<Buffer> {
        let (row, part) = (tokens * channels, range.len() * channels);
        let count = x.len() / row.max(1) * part;
        let mut y = self.empty(count)?;
        let first = (range.start * channels) as u64;
        let grid = Grid::each(count.div_ceil(4));
        kernels::take_columns(self.context(), grid, x, &mut y, count as u64, row as u64, first, part as u64)?;
        Ok(y)
    }

    fn put_range(&self, dy: View<'_>, tokens: usize, range: Range<usize>, channels: usize) -> Result<Buffer> {
        let (row, part) = (tokens * channels, range.len() * channels);
        let count = dy.len() / part.max(1) * row;
        let mut dx = self.empty(count)?;
        let first = (range.start * channels) as u64;
        let grid = Grid::each(count.div_ceil(4));
        kernels::put_columns(
            self.context(),
            grid,
            dy,
            &mut dx,
            count as u64,
            row as u64,
            first,
            part as u64,
        )?;
        Ok(dx)
    }
}
