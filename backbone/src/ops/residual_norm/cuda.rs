//! The residual stream's step on the GPU (residual_norm.cu): where a row fits a warp's registers and the lanes of a warp fall
//! evenly to the groups of a rational of the published orders.

use super::{Inputs, Outputs, ResidualNormKernel, ResidualNormPass, Slopes};
use crate::cuda::launch::Grid;
use crate::cuda::{Buffer, Cuda, View, kernels, size};
use crate::error::Result;
use crate::ops::layer_norm::cuda::{BLOCKS, packed};
use crate::ops::rational::{Denominator, Geometry, LaunchSizes, RationalSums};

const OP: &str = "residual norm";

/// Coefficients of the published orders.
const WIDTHS: [usize; 2] = [6, 4];

/// Calls the kernel that is compiled for as few packs of 128 values as hold a row of `$channels`.
macro_rules! by_packs {
    ($channels:expr, [$($most:literal => $kernel:ident),*; $last:ident], $arguments:tt) => {
        match $channels {
            $(c if c <= $most => by_packs!(@call $kernel, $arguments),)*
            _ => by_packs!(@call $last, $arguments),
        }
    };
    (@call $kernel:ident, ($($argument:expr),*)) => { kernels::$kernel($($argument),*) };
}

impl ResidualNormKernel for Cuda {
    fn residual_norm_pass(
        &self,
        channels: usize,
        rational: Option<&Geometry>,
    ) -> Option<&dyn ResidualNormPass<Self>> {
        let fits = |g: &Geometry| {
            [g.numerator_len, g.denominator_len] == WIDTHS
                && g.form == Denominator::Kernel
                && 32 % g.groups == 0
                && (channels / 4).is_multiple_of(g.groups)
        };
        (packed(channels) && channels > 0 && rational.is_none_or(fits)).then_some(self)
    }
}

/// The sizes of a call, and the rows of a sample.
fn sizes(inputs: &Inputs<'_, Cuda>) -> Result<(LaunchSizes, usize)> {
    let channels = inputs.norm[0].len();
    let rows = inputs.x.len() / channels.max(1);
    let sizes = match inputs.rational {
        Some((_, geometry)) => LaunchSizes::new(OP, rows, geometry)?,
        None => LaunchSizes::plain(size(OP, rows)?, size(OP, channels)?),
    };
    Ok((sizes, rows / inputs.factors.map_or(1, <[f32]>::len).max(1)))
}

impl ResidualNormPass<Cuda> for Cuda {
    fn forward(&self, inputs: Inputs<'_, Self>) -> Result<Outputs<Self>> {
        let (sizes, sample) = sizes(&inputs)?;
        let Inputs { x, branch, norm: [weight, bias], eps, .. } = inputs;
        let ([a, b], count) = (tables(&inputs), x.len());
        let (factors, _) = self.sample_factors(count, inputs.factors)?;
        let (context, grid, per) = (self.context(), Grid::warps(sizes.rows()), size(OP, sample.max(1))?);
        let [mut sum, mut statistics] = [self.empty(count)?, self.empty(2 * sizes.rows())?];
        let (to, stats, f) = (&mut sum, &mut statistics, factors.as_ref());
        let y = if self.mixed() {
            let (branch, mut y) = (branch.bf16(context)?, self.empty_bf16(count)?);
            let (branch, out) = (&*branch, &mut y);
            by_packs!(
                sizes.channels(),
                [128 => residual_norm_forward_bf16_1, 256 => residual_norm_forward_bf16_2,
                 384 => residual_norm_forward_bf16_3, 512 => residual_norm_forward_bf16_4,
                 768 => residual_norm_forward_bf16_6; residual_norm_forward_bf16_8],
                (context, grid, x, branch, f, weight, bias, a, b, to, out, stats, per, eps, sizes)
            )?;
            y.into()
        } else {
            let mut y = self.empty(count)?;
            let out = &mut y;
            by_packs!(
                sizes.channels(),
                [128 => residual_norm_forward_f32_1, 256 => residual_norm_forward_f32_2,
                 384 => residual_norm_forward_f32_3, 512 => residual_norm_forward_f32_4,
                 768 => residual_norm_forward_f32_6; residual_norm_forward_f32_8],
                (context, grid, x, branch, f, weight, bias, a, b, to, out, stats, per, eps, sizes)
            )?;
            y
        };
        Ok(Outputs { sum, y, statistics })
    }

    fn backward(
        &self,
        inputs: Inputs<'_, Self>,
        statistics: View<'_>,
        dy: Buffer,
        dsum: Option<Buffer>,
    ) -> Result<Slopes<Self>> {
        let (sizes, sample) = sizes(&inputs)?;
        let Inputs { x: sum, branch, norm: [weight, bias], .. } = inputs;
        let ([a, b], count, channels) = (tables(&inputs), sum.len(), sizes.channels());
        let (factors, _) = self.sample_factors(count, inputs.factors)?;
        let blocks = sizes.rows().div_ceil(8).clamp(1, BLOCKS);
        let coefficients =
            if a.is_some() { blocks * sizes.groups() * WIDTHS.iter().sum::<usize>() } else { 0 };
        let [mut columns, mut partial] = [self.empty(blocks * 3 * channels)?, self.empty(coefficients)?];
        let (context, grid, per) = (self.context(), Grid::blocks(blocks), size(OP, sample.max(1))?);
        let adds = u32::from(dsum.is_some());
        let mut dx = match dsum {
            Some(dsum) => dsum,
            None => self.empty(count)?,
        };
        let (to, sums, own, f, stats) = (&mut dx, &mut columns, &mut partial, factors.as_ref(), statistics);
        let dbranch: Buffer = if branch.is_bf16() {
            let (dy, mut dbranch) = (dy.bf16(context)?, self.empty_bf16(count)?);
            let (dy, out) = (&*dy, &mut dbranch);
            by_packs!(
                channels,
                [128 => residual_norm_backward_bf16_1, 256 => residual_norm_backward_bf16_2,
                 384 => residual_norm_backward_bf16_3, 512 => residual_norm_backward_bf16_4,
                 768 => residual_norm_backward_bf16_6; residual_norm_backward_bf16_8],
                (context, grid, sum, f, weight, bias, a, b, stats, dy, to, out, sums, own, per, adds, sizes)
            )?;
            dbranch.into()
        } else {
            let (dy, mut dbranch) = (&dy, self.empty(count)?);
            let out = &mut dbranch;
            by_packs!(
                channels,
                [128 => residual_norm_backward_f32_1, 256 => residual_norm_backward_f32_2,
                 384 => residual_norm_backward_f32_3, 512 => residual_norm_backward_f32_4,
                 768 => residual_norm_backward_f32_6; residual_norm_backward_f32_8],
                (context, grid, sum, f, weight, bias, a, b, stats, dy, to, out, sums, own, per, adds, sizes)
            )?;
            dbranch
        };
        let ([dweight, dbias, branch_sums], rational) = match inputs.rational {
            Some(([_, denominator], geometry)) => {
                let sums = RationalSums {
                    columns: (&columns, blocks, [channels; 3]),
                    coefficients: (&partial, blocks, WIDTHS),
                };
                let (columns, tables) = self.rational_totals(&sums, denominator, geometry, sizes)?;
                (columns, Some(tables))
            }
            None => (self.column_totals(&columns, blocks, [channels; 3])?, None),
        };
        Ok(Slopes { x: dx, branch: dbranch.with_column_sums(branch_sums), norm: [dweight, dbias], rational })
    }
}

/// The rational's tables, if there is one.
fn tables<'a>(inputs: &Inputs<'a, Cuda>) -> [Option<View<'a>>; 2] {
    inputs.rational.map_or([None, None], |(tables, _)| tables.map(Some))
}
