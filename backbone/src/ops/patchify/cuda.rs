//! Patches on the GPU.

use super::{Geometry, PatchifyKernel};
use crate::error::Result;
use crate::ops::cuda::launch::Grid;
use crate::ops::cuda::{Buffer, Cuda, View, kernels, size};

impl Geometry {
    /// Channels, grid and patch as the kernels take them.
    fn sizes(&self) -> Result<[u32; 5]> {
        let Self { channels, grid, patch } = *self;
        let mut sizes = [0; 5];
        for (slot, n) in sizes.iter_mut().zip([channels, grid.0, grid.1, patch.0, patch.1]) {
            *slot = size("patchify", n)?;
        }
        Ok(sizes)
    }
}

impl PatchifyKernel for Cuda {
    fn patchify(&self, x: View<'_>, geometry: Geometry) -> Result<Buffer> {
        let (mut y, [c, gh, gw, ph, pw]) = (self.empty(x.len())?, geometry.sizes()?);
        let count = x.len() as u64;
        kernels::patchify(self.context(), Grid::each(x.len()), x, &mut y, count, c, gh, gw, ph, pw)?;
        Ok(y)
    }

    fn unpatchify(&self, x: View<'_>, geometry: Geometry) -> Result<Buffer> {
        let (mut y, [c, gh, gw, ph, pw]) = (self.empty(x.len())?, geometry.sizes()?);
        let count = x.len() as u64;
        kernels::unpatchify(self.context(), Grid::each(x.len()), x, &mut y, count, c, gh, gw, ph, pw)?;
        Ok(y)
    }
}
