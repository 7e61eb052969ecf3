//! Tables of buffers for kernels that work on all of them in one launch (`kernels/pointer_table.h`).

use super::arguments::{Input, Output as _};
use super::buffer::Buffer;
use super::kernels::mirrored::LIST_CHUNK;
use super::launch::{Context, Grid};
use super::{Cuda, View, size};
use crate::error::Result;
use cudarc::driver::CudaSlice;

/// The rows of a list: addresses, length, first block, and a word that the kernel knows.
#[derive(Debug, Default)]
pub(crate) struct PointerTable {
    words: Vec<u64>,
    rows: usize,
    blocks: usize,
    /// Copies in f32 of what was not, kept until the launch.
    converted: Vec<Buffer>,
}

/// Addresses for one row.
#[derive(Debug, Default)]
pub(crate) struct Row(Vec<u64>);

impl PointerTable {
    /// The address of what a kernel reads as f32, for [`PointerTable::push`].
    pub(crate) fn reads(&mut self, context: &Context, row: &mut Row, values: View<'_>) -> Result<()> {
        let (address, converted) = Input::<f32>::input(values, context)?;
        self.converted.extend(converted);
        row.0.push(address);
        Ok(())
    }

    /// The address of what a kernel writes as f32.
    pub(crate) fn writes(&mut self, context: &Context, row: &mut Row, values: &mut Buffer) -> Result<()> {
        row.0.push(values.output(context)?);
        Ok(())
    }

    /// The address of weights that a kernel writes as f32, and that of their copy in bfloat16, which it writes too, or 0.
    pub(crate) fn writes_both(
        &mut self,
        context: &Context,
        row: &mut Row,
        values: &mut Buffer,
    ) -> Result<()> {
        row.0.extend(values.both_mut(context)?);
        Ok(())
    }

    /// Adds a row of buffers of `len` values; empty ones are left out, as no block would be theirs.
    pub(crate) fn push(&mut self, row: Row, len: usize, extra: Option<u64>) {
        if len == 0 {
            return;
        }
        self.words.extend(row.0);
        self.words.extend([len as u64, self.blocks as u64]);
        self.words.extend(extra);
        self.rows += 1;
        self.blocks += len.div_ceil(LIST_CHUNK);
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The list on the GPU, its rows, and the grid. The list must be kept until the launch.
    pub(crate) fn send(&self, device: &Cuda) -> Result<(CudaSlice<u64>, u32, Grid)> {
        Ok((device.send(self.words.clone())?, size("list", self.rows)?, Grid::blocks(self.blocks)))
    }
}
