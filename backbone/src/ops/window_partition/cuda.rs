//! Windows on the GPU.

use super::{Geometry, WindowKernel};
use crate::cuda::launch::Grid;
use crate::cuda::{Buffer, Cuda, View, kernels, size};
use crate::error::Result;

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

impl Cuda {
    /// `count` values of the windows or (`back` 1) of the grid.
    fn move_windows(&self, x: View<'_>, g: Geometry, count: usize, back: u32) -> Result<Buffer> {
        let (mut y, [rows, columns, channels, window, down, across]) = (self.empty(count)?, g.sizes()?);
        kernels::move_windows(
            self.context(),
            Grid::each(count),
            x,
            &mut y,
            count as u64,
            rows,
            columns,
            channels,
            window,
            down,
            across,
            back,
        )?;
        Ok(y)
    }
}

impl WindowKernel for Cuda {
    fn partition(&self, x: View<'_>, g: Geometry) -> Result<Buffer> {
        let (down, across) = g.windows();
        self.move_windows(x, g, g.batch * down * across * g.window * g.window * g.channels, 0)
    }

    fn unpartition(&self, x: View<'_>, g: Geometry) -> Result<Buffer> {
        self.move_windows(x, g, g.batch * g.rows * g.cols * g.channels, 1)
    }
}
