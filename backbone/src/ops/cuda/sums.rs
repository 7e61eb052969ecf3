//! Sums over a whole buffer, in f64 and in a fixed order: blocks first, then their sums in one block.

use super::launch::{Grid, THREADS};
use super::{Buffer, Cuda, View, kernels, size};
use crate::error::Result;

/// Blocks of a sum, whatever the GPU: the order of additions, and so the bits, depend on the length alone.
const BLOCKS: usize = 512;

impl Cuda {
    /// `factor` Σ weights x: one value. What has a weight of 0 does not count, whatever it is.
    pub(in crate::ops) fn weighted_total(
        &self,
        x: View<'_>,
        weights: Option<View<'_>>,
        factor: f64,
    ) -> Result<Buffer> {
        let (count, blocks) = (x.len() as u64, x.len().div_ceil(THREADS).clamp(1, BLOCKS));
        let (mut sums, mut total) = (self.context().empty(blocks)?, self.empty(1)?);
        kernels::sum_values(self.context(), Grid::blocks(blocks), x, weights, &mut sums, count)?;
        let blocks = size("sum", blocks)?;
        kernels::sum_of_sums(self.context(), Grid::blocks(1), &sums, &mut total, blocks, factor)?;
        Ok(total)
    }
}
