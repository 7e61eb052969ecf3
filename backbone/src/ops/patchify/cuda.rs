//! Patches on the GPU.

use super::{Geometry, PatchifyKernel};
use crate::cuda::launch::Grid;
use crate::cuda::{Buffer, Cuda, View, kernels, size};
use crate::error::Result;

impl Geometry {
    /// Channels, grid and patch as the kernels take them.
    fn sizes(&self) -> Result<[u32; 5]> {
        let Self { channels, grid, patch } = *self;
        let mut sizes = [0; 5];
        for (slot, n) in sizes.iter_mut().zip([channels, grid.height, grid.width, patch.height, patch.width])
        {
            *slot = size("patchify", n)?;
        }
        Ok(sizes)
    }
}

impl PatchifyKernel for Cuda {
    fn patchify(&self, x: View<'_>, geometry: Geometry) -> Result<Buffer> {
        let ([c, gh, gw, ph, pw], n) = (geometry.sizes()?, x.len() as u64);
        size("patchify", x.len() / geometry.patch.width.max(1))?;
        let (context, grid) = (self.context(), Grid::each(x.len().div_ceil(4)));
        if self.mixed() {
            let mut y = self.empty_bf16(x.len())?;
            kernels::patchify_bf16(context, grid, x, &mut y, n, c, gh, gw, ph, pw)?;
            return Ok(y.into());
        }
        let mut y = self.empty(x.len())?;
        kernels::patchify(context, grid, x, &mut y, n, c, gh, gw, ph, pw)?;
        Ok(y)
    }

    fn unpatchify(&self, x: View<'_>, geometry: Geometry) -> Result<Buffer> {
        let (mut y, [c, gh, gw, ph, pw]) = (self.empty(x.len())?, geometry.sizes()?);
        size("patchify", x.len() / geometry.patch.width.max(1))?;
        let count = x.len() as u64;
        kernels::unpatchify(self.context(), Grid::each(x.len()), x, &mut y, count, c, gh, gw, ph, pw)?;
        Ok(y)
    }
}
