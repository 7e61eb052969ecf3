//! Sums over a whole buffer, in f64 and in a fixed order: blocks of the GPU first, their sums on the host.

use super::launch::{Grid, THREADS};
use super::{Cuda, View, kernels};
use crate::error::Result;

/// Blocks of a sum, whatever the GPU: the order of additions, and so the bits, depend on the length alone.
const BLOCKS: usize = 512;

impl Cuda {
    /// Σ x.
    pub(in crate::ops) fn total(&self, x: View<'_>) -> Result<f64> {
        let count = x.len();
        let blocks = count.div_ceil(THREADS).clamp(1, BLOCKS);
        let mut sums = self.context().empty(blocks)?;
        kernels::sum_values(self.context(), Grid::blocks(blocks), x, &mut sums, count as u64)?;
        Ok(self.fetch(&sums)?.iter().sum())
    }

    /// Σ x y; x and y may be the same.
    pub(in crate::ops) fn dot(&self, x: View<'_>, y: View<'_>) -> Result<f64> {
        let count = x.len();
        let blocks = count.div_ceil(THREADS).clamp(1, BLOCKS);
        let mut sums = self.context().empty(blocks)?;
        kernels::sum_products(self.context(), Grid::blocks(blocks), x, y, &mut sums, count as u64)?;
        Ok(self.fetch(&sums)?.iter().sum())
    }
}
