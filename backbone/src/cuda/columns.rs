//! Sums of columns, by runs of rows and then over the runs in order: how rows are split depends on the shape alone, and so
//! do the bits.

use super::kernels::mirrored::SUMMED_COLUMNS;
use super::launch::Grid;
use super::{Buffer, Cuda, View, kernels, size};
use crate::error::Result;
use std::sync::Mutex;

const OP: &str = "sums of columns";

/// Sums of the columns of a buffer, where the kernel that wrote it made them on the way.
#[derive(Debug, Default)]
pub struct KnownSums(Mutex<Option<Box<Buffer>>>);

impl KnownSums {
    /// These.
    pub(super) fn new(sums: Buffer) -> Self {
        Self(Mutex::new(Some(Box::new(sums))))
    }

    /// Those of `columns` columns, once.
    pub(super) fn take(&self, columns: usize) -> Option<Buffer> {
        let mut sums = self.0.lock().ok()?;
        sums.take_if(|sums| sums.len() == columns).map(|sums| *sums)
    }
}

/// Where totals of columns go.
pub(crate) struct TotalParts {
    /// A buffer for each part.
    pub parts: [Buffer; 3],
    /// Blocks of the kernel that writes them.
    pub blocks: usize,
    /// Columns in all.
    pub width: u32,
    /// Where the second and the third part begin.
    pub splits: [u32; 2],
}

impl Cuda {
    /// The sum of the rows of `dy`.
    pub(crate) fn sum_rows(&self, dy: View<'_>, channels: usize) -> Result<Buffer> {
        /// Blocks that keep a GPU busy: eight for each multiprocessor of an H100.
        const BLOCKS: usize = 1056;
        /// Rows that are worth a block.
        const ROWS: usize = 64;
        if let Some(known) = dy.take_column_sums(channels) {
            return Ok(known);
        }
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
        let [sums, ..] = self.column_totals(&sums, runs, [channels, 0, 0])?;
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
        let [sums, along, _] = self.column_totals(&sums, runs, [channels, (kinds - 1) * channels, 0])?;
        Ok([sums, along])
    }

    /// Adds `runs` rows of sums: columns of these widths to a buffer each.
    pub(crate) fn column_totals(
        &self,
        sums: &Buffer,
        runs: usize,
        widths: [usize; 3],
    ) -> Result<[Buffer; 3]> {
        let TotalParts { parts: [mut first, mut second, mut third], blocks, width, splits } =
            self.total_parts(widths)?;
        let (context, grid, runs) = (self.context(), Grid::blocks(blocks), size(OP, runs)?);
        let (to, and, last) = (&mut first, &mut second, &mut third);
        kernels::column_totals(context, grid, sums, to, and, last, runs, width, splits[0], splits[1])?;
        Ok([first, second, third])
    }

    /// Where the totals of columns of these widths go (column_totals.h).
    pub(crate) fn total_parts(&self, widths: [usize; 3]) -> Result<TotalParts> {
        let [first, second, third] = widths;
        let width = first + second + third;
        Ok(TotalParts {
            parts: [self.empty(first)?, self.empty(second)?, self.empty(third)?],
            blocks: width.div_ceil(32),
            width: size(OP, width)?,
            splits: [size(OP, first)?, size(OP, first + second)?],
        })
    }
}
