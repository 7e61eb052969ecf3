//! Windows on the GPU.

use super::{Geometry, WindowKernel};
use crate::error::Result;
use crate::ops::cuda::launch::Grid;
use crate::ops::cuda::{Buffer, Cuda, View, kernels, size};

impl Geometry {
    /// Rows, columns, channels, window and the windows down and across, as the kernels take them.
    fn sizes(&self) -> Result<[u32; 6]> {
        let (down, across) = self.windows();
        let mut sizes = [0; 6];
        let each = [self.rows, self.cols, self.channels, self.window, down, across];
        for (slot, n) in sizes.iter_mut().zip(each) {
            *slot = size("window partition", n)?;
        }
        Ok(sizes)
    }
}

impl WindowKernel for Cuda {
    fn partition(&self, x: View<'_>, g: Geometry) -> Result<Buffer> {
        let (down, across) = g.windows();
        let count = g.batch * down * across * g.window * g.window * g.channels;
        let (mut y, [rows, columns, channels, window, down, across]) = (self.empty(count)?, g.sizes()?);
        let (grid, n) = (Grid::each(count), count as u64);
        kernels::window_partition(
            self.context(),
            grid,
            x,
            &mut y,
            n,
            rows,
            columns,
            channels,
            window,
            down,
            across,
        )?;
        Ok(y)
    }

    fn unpartition(&self, x: View<'_>, g: Geometry) -> Result<Buffer> {
        let count = g.batch * g.rows * g.cols * g.channels;
        let (mut y, [rows, columns, channels, window, down, across]) = (self.empty(count)?, g.sizes()?);
        let (grid, n) = (Grid::each(count), count as u64);
        kernels::window_unpartition(
            self.context(),
            grid,
            x,
            &mut y,
            n,
            rows,
            columns,
            channels,
            window,
            down,
            across,
        )?;
        Ok(y)
    }
}
