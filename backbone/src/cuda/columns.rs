//! Sums of columns, by runs of rows and then over the runs in order: how rows are split depends on the shape alone, and so
//! do the bits.

use super::kernels::mirrored::SUMMED_COLUMNS;
use super::launch::Grid;
use super::{Buffer, Cuda, View, kernels, size};
use crate::error::Result;

const OP: &str = "sums of columns";

impl Cuda {
    /// The sum of the rows of `dy`.
    pub(crate) fn sum_rows(&self, dy: View<'_>, channels: usize) -> Result<Buffer> {
        /// Blocks that keep a GPU busy: eight for each multiprocessor of an H100.
        const BLOCKS: usize = 1056;
        /// Rows that are worth a block.
        const ROWS: usize = 64;
        if !channels.is_multiple_of(8) {
            let [sums, _] = self.column_sums(dy, None, channels)?;
            return Ok(sums);
        }
        let (rows, across) = (dy.len() / channels.max(1), channels.div_ceil(SUMMED_COLUMNS).max(1));
        let runs = rows.div_ceil(ROWS).clamp(1, BLOCKS.div_ceil(across));
        let run = rows.div_ceil(runs).max(1);
        let runs = rows.div_ceil(run);
        let mut sums = self.empty(runs * channels)?;
        let (context, grid, out) = (self.context(), Grid([across, runs, 1]), &mut sums);
        let (n, c, run) = (size(OP, rows)?, size(OP, channels)?, size(OP, run)?);
        match dy.is_bf16() {
            true => kernels::packed_column_sums_bf16(context, grid, dy, out, n, c, run),
            false => kernels::packed_column_sums(context, grid, dy, out, n, c, run),
        }?;
        let [sums, _] = self.column_totals(&sums, runs, [channels, 0])?;
        Ok(sums)
    }

    /// The sum of the rows of `dy` and, with the rows' x and statistics (mean, inverse deviation), that of dy x̂;
    /// without, the second is empty.
    pub(crate) fn column_sums(
        &self,
        dy: View<'_>,
        normed: Option<(View<'_>, View<'_>)>,
        channels: usize,
    ) -> Result<[Buffer; 2]> {
        /// Rows of a run.
        const RUN: usize = 256;
        let rows = dy.len() / channels.max(1);
        let kinds = if normed.is_some() { 2 } else { 1 };
        // no more runs than a grid has blocks
        let run = RUN.max(rows.div_ceil(65_535));
        let runs = rows.div_ceil(run);
        let mut sums = self.empty(runs * kinds * channels)?;
        let (x, statistics) = normed.unzip();
        let (context, grid) = (self.context(), Grid([channels.div_ceil(32), runs, 1]));
        let (out, n, c, run) = (&mut sums, rows as u64, size(OP, channels)?, size(OP, run)?);
        match dy.is_bf16() {
            true => kernels::column_sums_bf16(context, grid, dy, x, statistics, out, n, c, run),
            false => kernels::column_sums(context, grid, dy, x, statistics, out, n, c, run),
        }?;
        self.column_totals(&sums, runs, [channels, (kinds - 1) * channels])
    }

    /// Adds `runs` rows of sums: the first `widths[0]` columns to one buffer, the others to a second.
    pub(crate) fn column_totals(
        &self,
        sums: &Buffer,
        runs: usize,
        widths: [usize; 2],
    ) -> Result<[Buffer; 2]> {
        let [mut first, mut second] = [self.empty(widths[0])?, self.empty(widths[1])?];
        let width = widths[0] + widths[1];
        let grid = Grid::blocks(width.div_ceil(32));
        let [runs, width, split] = [runs, width, widths[0]].map(|n| size(OP, n));
        kernels::column_totals(self.context(), grid, sums, &mut first, &mut second, runs?, width?, split?)?;
        Ok([first, second])
    }
}
