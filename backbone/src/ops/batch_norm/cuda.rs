//! Batch norm on the GPU. No number comes to the host.

use super::{BatchNormKernel, BatchStatistics, ParameterGradients, Terms};
use crate::cuda::launch::Grid;
use crate::cuda::maps::ChannelRuns;
use crate::cuda::{Buffer, Cuda, View, kernels, size};
use crate::error::Result;

const OP: &str = "batch norm";

/// Planes of x, channels and pixels of a plane, as the kernels take them, and a grid for the pixels.
fn planes(x: View<'_>, terms: &Terms<'_, Cuda>) -> Result<(Grid, u32, u32, u32)> {
    let planes = x.len() / terms.plane.max(1);
    let (channels, plane) = (size(OP, terms.mean.len())?, size(OP, terms.plane)?);
    Ok((Grid::pixels(planes, terms.plane), size(OP, planes)?, channels, plane))
}

impl BatchNormKernel for Cuda {
    fn channel_moments(&self, x: View<'_>, channels: usize, plane: usize) -> Result<Buffer> {
        let (context, runs) = (self.context(), ChannelRuns::new(x.len(), channels, plane));
        let (mut sums, mut moments) = (runs.sums(self, 2)?, self.empty(3 * channels)?);
        let (n, c, pixels, run) = runs.arguments()?;
        // both passes read x
        let x = &*x.f32(context)?;
        kernels::channel_moment_runs(context, runs.grid(), x, &mut sums, n, c, pixels, run)?;
        let (grid, count) = (Grid::each(channels), size(OP, runs.count())?);
        kernels::channel_moments(context, grid, x, &sums, &mut moments, n, c, pixels, count)?;
        Ok(moments)
    }

    fn batch_statistics(
        &self,
        moments: View<'_>,
        [old_mean, old_variance]: [View<'_>; 2],
        count: f64,
        momentum: f32,
    ) -> Result<BatchStatistics<Self>> {
        let channels = moments.len() / 3;
        let (mut mean, mut variance) = (self.empty(channels)?, self.empty(channels)?);
        let (mut running_mean, mut running_variance) = (self.empty(channels)?, self.empty(channels)?);
        kernels::batch_statistics(
            self.context(),
            Grid::each(channels),
            moments,
            old_mean,
            old_variance,
            &mut mean,
            &mut variance,
            &mut running_mean,
            &mut running_variance,
            size(OP, channels)?,
            count,
            momentum,
        )?;
        Ok(BatchStatistics { mean, variance, running_mean, running_variance })
    }

    fn batch_norm_forward(&self, x: View<'_>, terms: &Terms<'_, Self>) -> Result<Buffer> {
        let &Terms { mean, variance, weight, bias, eps, .. } = terms;
        let (mut y, (grid, n, channels, plane)) = (self.empty(x.len())?, planes(x, terms)?);
        let context = self.context();
        kernels::batch_norm_forward(
            context, grid, x, mean, variance, weight, bias, &mut y, n, channels, plane, eps,
        )?;
        Ok(y)
    }

    fn batch_norm_parameter_gradients(
        &self,
        x: View<'_>,
        dy: View<'_>,
        terms: &Terms<'_, Self>,
    ) -> Result<ParameterGradients<Self>> {
        let (context, channels) = (self.context(), terms.mean.len());
        let runs = ChannelRuns::new(x.len(), channels, terms.plane);
        let (mut sums, (n, c, plane, run)) = (runs.sums(self, 2)?, runs.arguments()?);
        kernels::batch_norm_gradient_runs(
            context,
            runs.grid(),
            x,
            dy,
            terms.mean,
            &mut sums,
            n,
            c,
            plane,
            run,
        )?;
        let (mut weight, mut bias) = (self.empty(channels)?, self.empty(channels)?);
        let (grid, count) = (Grid::each(channels), size(OP, runs.count())?);
        kernels::batch_norm_parameter_gradients(
            context,
            grid,
            &sums,
            terms.variance,
            &mut weight,
            &mut bias,
            count,
            c,
            terms.eps,
        )?;
        Ok(ParameterGradients { weight, bias })
    }

    fn batch_norm_input_gradient(
        &self,
        x: View<'_>,
        mut dy: Buffer,
        terms: &Terms<'_, Self>,
        sums: &ParameterGradients<Self>,
        share: f32,
    ) -> Result<Buffer> {
        let (grid, n, channels, plane) = planes(x, terms)?;
        kernels::batch_norm_input_gradient(
            self.context(),
            grid,
            x,
            &mut dy,
            terms.mean,
            terms.variance,
            terms.weight,
            &sums.weight,
            &sums.bias,
            n,
            channels,
            plane,
            terms.eps,
            share,
        )?;
        Ok(dy)
    }
}
