//! Resampling of grids on the GPU. The tables are small and seldom change size, so that one kernel serves both ways.

use super::grid::{Geometry, ResampleKernel};
use crate::cuda::launch::Grid;
use crate::cuda::{Buffer, Cuda, View, kernels, size};
use crate::error::Result;

const OP: &str = "resample_grid";

/// Which of a geometry's grids the values come from.
enum Direction {
    FromFirst,
    FromSecond,
}

impl Cuda {
    fn resample(&self, x: View<'_>, g: &Geometry, direction: Direction) -> Result<Buffer> {
        // a matrix lies as (after, before); from row to row of it, and from column to column, where x is before
        let forward = [[g.from.height, 1], [g.from.width, 1]];
        let (from, to, [row_steps, column_steps]) = match direction {
            Direction::FromFirst => (g.from, g.to, forward),
            Direction::FromSecond => (g.to, g.from, forward.map(|[out, within]| [within, out])),
        };
        let tokens = to.area();
        let mut y = self.empty(tokens * g.channels)?;
        let (by_row, by_column) = (self.send(g.by_row.clone())?, self.send(g.by_col.clone())?);
        kernels::resample_grid(
            self.context(),
            Grid::pixels(tokens, g.channels),
            x,
            &by_row,
            &by_column,
            &mut y,
            size(OP, tokens)?,
            size(OP, g.channels)?,
            size(OP, from.height)?,
            size(OP, from.width)?,
            size(OP, to.width)?,
            size(OP, row_steps[0])?,
            size(OP, row_steps[1])?,
            size(OP, column_steps[0])?,
            size(OP, column_steps[1])?,
        )?;
        Ok(y)
    }
}

impl ResampleKernel for Cuda {
    fn resample_forward(&self, x: View<'_>, geometry: &Geometry) -> Result<Buffer> {
        self.resample(x, geometry, Direction::FromFirst)
    }

    fn resample_backward(&self, dy: View<'_>, geometry: &Geometry) -> Result<Buffer> {
        self.resample(dy, geometry, Direction::FromSecond)
    }
}
