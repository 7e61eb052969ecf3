//! Moving values on the GPU.

use super::LayoutKernel;
use crate::cuda::launch::Grid;
use crate::cuda::{Buffer, Cuda, View, kernels, size};
use crate::error::Result;
use std::ops::Range;

const OP: &str = "layout";

impl LayoutKernel for Cuda {
    fn transpose(&self, x: View<'_>, batch: usize, rows: usize, columns: usize) -> Result<Buffer> {
        let mut y = self.empty(x.len())?;
        let grid = Grid::blocks(batch * rows.div_ceil(32) * columns.div_ceil(32));
        kernels::transpose_tiles(self.context(), grid, x, &mut y, size(OP, rows)?, size(OP, columns)?)?;
        Ok(y)
    }

    fn join_rows(&self, parts: &[(View<'_>, usize)], outer: usize) -> Result<Buffer> {
        let width: usize = parts.iter().map(|(_, width)| width).sum();
        let mut y = self.empty(outer * width)?;
        let mut first = 0;
        for (part, own) in parts {
            let (grid, n) = (Grid::each(part.len()), part.len() as u64);
            let own = *own as u64;
            kernels::write_columns(self.context(), grid, *part, &mut y, n, width as u64, first, own)?;
            first += own;
        }
        Ok(y)
    }

    fn slice_rows(&self, x: View<'_>, width: usize, range: Range<usize>) -> Result<Buffer> {
        let count = x.len() / width.max(1) * range.len();
        let mut y = self.empty(count)?;
        let (grid, n) = (Grid::each(count), count as u64);
        let [width, first, part] = [width, range.start, range.len()].map(|n| n as u64);
        kernels::take_columns(self.context(), grid, x, &mut y, n, width, first, part)?;
        Ok(y)
    }

    fn spread_rows(&self, dy: View<'_>, width: usize, range: Range<usize>) -> Result<Buffer> {
        let count = dy.len() / range.len().max(1) * width;
        let mut dx = self.empty(count)?;
        let (grid, n) = (Grid::each(count), count as u64);
        let [width, first, part] = [width, range.start, range.len()].map(|n| n as u64);
        kernels::put_columns(self.context(), grid, dy, &mut dx, n, width, first, part)?;
        Ok(dx)
    }

    fn gather(&self, x: View<'_>, width: usize, indices: &[usize]) -> Result<Buffer> {
        let count = indices.len() * width;
        let mut y = self.empty(count)?;
        let indices = indices.iter().map(|i| size(OP, *i)).collect::<Result<Vec<u32>>>()?;
        let indices = self.send(indices)?;
        let grid = Grid::each(count);
        if count > 0 {
            kernels::gather_rows(self.context(), grid, x, &indices, &mut y, count as u64, width as u64)?;
        }
        Ok(y)
    }

    fn scatter_add(&self, dy: View<'_>, width: usize, indices: &[usize], rows: usize) -> Result<Buffer> {
        // which rows of dy each row gets, one list after the other
        let mut starts = vec![0u32; rows + 1];
        for &index in indices {
            starts[index + 1] += 1;
        }
        for row in 0..rows {
            starts[row + 1] += starts[row];
        }
        let (mut next, mut sources) = (starts.clone(), vec![0u32; indices.len()]);
        for (k, &index) in indices.iter().enumerate() {
            sources[next[index] as usize] = size(OP, k)?;
            next[index] += 1;
        }
        let count = rows * width;
        if count == 0 || indices.is_empty() {
            return self.zeros(count);
        }
        let mut dx = self.empty(count)?;
        let (starts, sources) = (self.send(starts)?, self.send(sources)?);
        let (grid, n) = (Grid::each(count), count as u64);
        kernels::sum_listed_rows(self.context(), grid, dy, &starts, &sources, &mut dx, n, width as u64)?;
        Ok(dx)
    }
}
