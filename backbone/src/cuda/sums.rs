//! Sums over a whole buffer, in f64 and in a fixed order: blocks first, then their sums in one block.

use super::launch::{Grid, THREADS};
use super::{Buffer, Cuda, kernels, size};
use crate::error::Result;
use cudarc::driver::{CudaSlice, DeviceSlice as _};

/// Blocks of a sum, whatever the GPU: the order of additions, and so the bits, depend on the length alone.
const BLOCKS: usize = 512;

/// Blocks that sum `count` values.
pub(crate) fn sum_blocks(count: usize) -> usize {
    count.div_ceil(THREADS).clamp(1, BLOCKS)
}

impl Cuda {
    /// `factor` times the sum of the blocks' sums: one value.
    pub(crate) fn total_of_sums(&self, sums: &CudaSlice<f64>, factor: f64) -> Result<Buffer> {
        let (mut total, count) = (self.empty(1)?, size("sum", sums.len())?);
        kernels::sum_of_sums(self.context(), Grid::blocks(1), sums, &mut total, count, factor)?;
        Ok(total)
    }
}
