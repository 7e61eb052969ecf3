//! Pooling on the GPU.

use super::{MaxGeometry, PoolKernel, Windows};
use crate::cuda::launch::Grid;
use crate::cuda::windows::WindowSizes;
use crate::cuda::{Buffer, Cuda, View, kernels, size};
use crate::error::Result;
use std::ops::Range;

const OP: &str = "pool";

impl MaxGeometry {
    fn sizes(&self) -> Result<WindowSizes> {
        WindowSizes::new(OP, [self.input, self.output, self.kernel], self.placement)
    }
}

impl Windows {
    /// First and end of each range of rows, then of columns; with `takers`, behind them the windows over each row and
    /// over each column of x.
    fn spans(&self, takers: bool) -> Result<Vec<u32>> {
        let pairs = |ranges: &[Range<usize>]| ranges.iter().map(|r| [r.start, r.end]).collect::<Vec<_>>();
        let mut spans = [pairs(&self.rows), pairs(&self.columns)].concat();
        if takers {
            spans.extend(over(&self.rows, self.input[0]));
            spans.extend(over(&self.columns, self.input[1]));
        }
        spans.into_iter().flatten().map(|n| size(OP, n)).collect()
    }
}

/// For each of `size` pixels the ranges that hold it, first and end: neighbors, as ranges follow each other.
fn over(ranges: &[Range<usize>], size: usize) -> impl Iterator<Item = [usize; 2]> {
    (0..size).map(|pixel| {
        let first = ranges.partition_point(|range| range.end <= pixel);
        [first, ranges.partition_point(|range| range.start <= pixel).max(first)]
    })
}

impl PoolKernel for Cuda {
    fn max_pool_forward(&self, x: View<'_>, g: &MaxGeometry) -> Result<Buffer> {
        let planes = x.len() / (g.input[0] * g.input[1]).max(1);
        let pixels = g.output[0] * g.output[1];
        let mut y = self.empty(planes * pixels)?;
        let (context, grid) = (self.context(), Grid::pixels(planes, pixels));
        kernels::max_pool_forward(context, grid, x, &mut y, planes as u64, g.sizes()?)?;
        Ok(y)
    }

    fn max_pool_backward(&self, x: View<'_>, dy: View<'_>, g: &MaxGeometry) -> Result<Buffer> {
        let planes = x.len() / (g.input[0] * g.input[1]).max(1);
        let (mut dx, mut places) = (self.empty(x.len())?, self.context().empty(dy.len())?);
        let (context, n, sizes) = (self.context(), planes as u64, g.sizes()?);
        let grid = Grid::pixels(planes, g.output[0] * g.output[1]);
        kernels::max_pool_places(context, grid, x, &mut places, n, sizes)?;
        let grid = Grid::pixels(planes, g.input[0] * g.input[1]);
        kernels::max_pool_backward(context, grid, dy, &places, &mut dx, n, sizes)?;
        Ok(dx)
    }

    fn average_pool_forward(&self, x: View<'_>, w: &Windows) -> Result<Buffer> {
        let plane = w.input[0] * w.input[1];
        let windows = x.len() / plane.max(1) * w.rows.len() * w.columns.len();
        let (mut y, spans) = (self.empty(windows)?, self.send(w.spans(false)?)?);
        // a warp is worth it where a window has rows of many pixels
        let wide = w.columns.first().is_some_and(|columns| columns.len() >= 16);
        let (grid, lanes) = if wide { (Grid::warps(windows), 32) } else { (Grid::each(windows), 1) };
        let [down, across, width] = [w.rows.len(), w.columns.len(), w.input[1]].map(|n| size(OP, n));
        kernels::average_pool_forward(
            self.context(),
            grid,
            x,
            &spans,
            &mut y,
            size(OP, windows)?,
            down?,
            across?,
            plane as u64,
            width?,
            w.area.unwrap_or(0.0),
            lanes,
        )?;
        Ok(y)
    }

    fn average_pool_backward(&self, dy: View<'_>, w: &Windows) -> Result<Buffer> {
        let plane = w.input[0] * w.input[1];
        let planes = dy.len() / (w.rows.len() * w.columns.len()).max(1);
        let (mut dx, spans) = (self.empty(planes * plane)?, self.send(w.spans(true)?)?);
        let [down, across] = [w.rows.len(), w.columns.len()].map(|n| size(OP, n));
        let [height, width] = w.input.map(|n| size(OP, n));
        kernels::average_pool_backward(
            self.context(),
            Grid::pixels(planes, plane),
            dy,
            &spans,
            &mut dx,
            planes as u64,
            down?,
            across?,
            height?,
            width?,
            w.area.unwrap_or(0.0),
        )?;
        Ok(dx)
    }
}
