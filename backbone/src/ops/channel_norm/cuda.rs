//! Channels-first layer norm on the GPU.

use super::ChannelNormKernel;
use crate::cuda::launch::Grid;
use crate::cuda::maps::ChannelRuns;
use crate::cuda::{Buffer, Cuda, View, kernels};
use crate::error::Result;
use crate::ops::layer_norm::{NormGradients, Normalized};

impl ChannelNormKernel for Cuda {
    fn channel_norm_forward(
        &self,
        x: View<'_>,
        weight: View<'_>,
        bias: View<'_>,
        plane: usize,
        eps: f32,
    ) -> Result<Normalized<Self>> {
        let (n, channels, pixels, _) = ChannelRuns::new(x.len(), weight.len(), plane).arguments()?;
        let (mut y, mut statistics) = (self.empty(x.len())?, self.empty(2 * n as usize)?);
        let (context, grid, stats) = (self.context(), Grid::blocks(n.div_ceil(32) as usize), &mut statistics);
        kernels::channel_norm_forward(
            context, grid, x, weight, bias, &mut y, stats, n, channels, pixels, eps,
        )?;
        Ok(Normalized { y, statistics })
    }

    fn channel_norm_backward(
        &self,
        x: View<'_>,
        weight: View<'_>,
        statistics: View<'_>,
        mut dy: Buffer,
        plane: usize,
    ) -> Result<NormGradients<Self>> {
        let context = self.context();
        // read by both kernels
        let x = &*x.f32(context)?;
        let runs = ChannelRuns::new(dy.len(), weight.len(), plane);
        let (mut sums, (n, channels, pixels, run)) = (runs.sums(self, 2)?, runs.arguments()?);
        let grid = runs.grid();
        // before dx takes the place of dy
        kernels::channel_norm_gradient_runs(
            context, grid, x, statistics, &dy, &mut sums, n, channels, pixels, run,
        )?;
        let grid = Grid::blocks(n.div_ceil(32) as usize);
        kernels::channel_norm_backward(context, grid, x, weight, statistics, &mut dy, n, channels, pixels)?;
        let (weight, bias) = (runs.total(self, &sums, 0, 2)?, runs.total(self, &sums, 1, 2)?);
        Ok(NormGradients { dx: dy, weight, bias })
    }
}
