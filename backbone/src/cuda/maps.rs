//! Grids for walks over feature maps (`kernels/maps.h`), and sums over everything but the channels.

use super::launch::{Grid, THREADS};
use super::{Buffer, Cuda, kernels, size};
use crate::error::Result;
use cudarc::driver::CudaSlice;

const OP: &str = "sums by channel";

impl Grid {
    /// Threads for the pixels of `planes` planes: several small planes a block, or several blocks a plane.
    pub(crate) fn pixels(planes: usize, pixels: usize) -> Self {
        if planes * pixels == 0 {
            return Self([0; 3]);
        }
        let width = pixels.next_power_of_two().min(THREADS);
        // a thread of a large plane has four pixels, for what it works out for the plane
        let across = pixels.div_ceil(if pixels < 4 * THREADS { width } else { 4 * width });
        let down = planes.div_ceil(THREADS / width).min(65_535);
        Self([across, down, 1])
    }
}

/// How the positions (image · plane + pixel) of each channel of (B, C, plane) are split for a sum: as the shape alone
/// says, so that the order of additions is the same on every GPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChannelRuns {
    channels: usize,
    plane: usize,
    positions: usize,
    run: usize,
}

impl ChannelRuns {
    /// For `len` values.
    pub(crate) fn new(len: usize, channels: usize, plane: usize) -> Self {
        /// Positions that are worth a block.
        const RUN: usize = 4096;
        /// Blocks that keep a GPU busy.
        const BLOCKS: usize = 1024;
        let positions = len / channels.max(1);
        let runs = positions.div_ceil(RUN).clamp(1, BLOCKS.div_ceil(channels.max(1)));
        Self { channels, plane, positions, run: positions.div_ceil(runs).max(1) }
    }

    /// Runs of each channel.
    pub(crate) fn count(&self) -> usize {
        self.positions.div_ceil(self.run)
    }

    /// A block a channel and run.
    pub(crate) fn grid(&self) -> Grid {
        Grid([self.channels, self.count(), 1])
    }

    /// positions, channels, plane and the positions of a run, as the kernels take them.
    pub(crate) fn arguments(&self) -> Result<(u64, u32, u32, u64)> {
        let (channels, plane) = (size(OP, self.channels)?, size(OP, self.plane)?);
        Ok((self.positions as u64, channels, plane, self.run as u64))
    }

    /// Memory for `kinds` sums of each channel and run.
    pub(crate) fn sums(&self, device: &Cuda, kinds: usize) -> Result<CudaSlice<f64>> {
        device.context().empty(self.count() * kinds * self.channels)
    }

    /// Sum number `kind` of `kinds` of each channel, over its runs.
    pub(crate) fn total(
        &self,
        device: &Cuda,
        sums: &CudaSlice<f64>,
        kind: usize,
        kinds: usize,
    ) -> Result<Buffer> {
        let mut out = device.empty(self.channels)?;
        let [runs, kinds, kind, channels] = [self.count(), kinds, kind, self.channels].map(|n| size(OP, n));
        let grid = Grid::each(self.channels);
        kernels::channel_totals(device.context(), grid, sums, &mut out, runs?, kinds?, kind?, channels?)?;
        Ok(out)
    }
}
