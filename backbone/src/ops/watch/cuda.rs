//! The watch on the GPU: nothing waits.

use super::{Clip, WatchKernel};
use crate::cuda::launch::Grid;
use crate::cuda::pointer_table::{PointerTable, Row};
use crate::cuda::{Buffer, Cuda, View, kernels, size};
use crate::error::Result;

impl WatchKernel for Cuda {
    fn watch_loss(&self, watch: &mut Buffer, loss: View<'_>, step: u64) -> Result<()> {
        kernels::watch_loss(self.context(), Grid::blocks(1), watch, loss, step as f32)
    }

    fn watch_norm(&self, watch: &mut Buffer, gradients: &[View<'_>], clip: Clip, step: u64) -> Result<()> {
        let mut table = PointerTable::default();
        for gradient in gradients {
            let mut row = Row::default();
            table.reads(self.context(), &mut row, gradient)?;
            table.push(row, gradient.len(), None);
        }
        let (list, rows, grid) = table.send(self)?;
        let blocks = grid.0[0];
        let mut sums = self.context().empty::<f64>(blocks)?;
        kernels::sum_squares_listed(self.context(), grid, &list, rows, &mut sums)?;
        let count = size("gradient norm", blocks)?;
        let (mean, most) = (clip.mean, clip.max_norm);
        kernels::watch_norm(self.context(), Grid::blocks(1), watch, &sums, count, mean, most, step as f32)
    }
}
