//! Layer norm on the GPU: a warp a row, which it keeps in registers where packs of four fit the channels; the gradients at
//! weight and bias by blocks of rows, then over blocks in order.

use super::{LayerNormKernel, NormGradients, Normalized};
use crate::cuda::launch::Grid;
use crate::cuda::{Buffer, Cuda, View, kernels, size};
use crate::error::Result;

const OP: &str = "layer norm";

/// Blocks of the backward kernel, each with eight rows at a time: a number of its own, so that the order of additions
/// depends on the shape alone; as many as an H100 runs at once (measured: 264 take 55 us, 528 56 us, 1056 60 us).
pub(crate) const BLOCKS: usize = 264;

/// Calls the kernel that is compiled for as few packs of 128 values as hold a row of `$channels`, or `$any`.
macro_rules! by_packs {
    ($channels:expr, [$($most:literal => $kernel:ident),*], $any:ident, $arguments:tt) => {
        match $channels {
            c if c % 4 != 0 => by_packs!(@call $any, $arguments),
            $(c if c <= $most => by_packs!(@call $kernel, $arguments),)*
            _ => by_packs!(@call $any, $arguments),
        }
    };
    (@call $kernel:ident, ($($argument:expr),*)) => { kernels::$kernel($($argument),*) };
}

/// Whether a row of so many channels is kept in registers: what `by_packs` decides.
pub(crate) fn packed(channels: usize) -> bool {
    channels.is_multiple_of(4) && channels <= 1024
}

impl LayerNormKernel for Cuda {
    fn layer_norm_forward(
        &self,
        x: View<'_>,
        weight: View<'_>,
        bias: View<'_>,
        eps: f32,
    ) -> Result<Normalized<Self>> {
        let channels = weight.len();
        let rows = x.len() / channels.max(1);
        let mut statistics = self.empty(2 * rows)?;
        let (context, grid) = (self.context(), Grid::warps(rows));
        let (n, c, stats) = (size(OP, rows)?, size(OP, channels)?, &mut statistics);
        let y = if self.mixed() {
            let mut y = self.empty_bf16(x.len())?;
            by_packs!(
                channels,
                [128 => layer_norm_forward_bf16_1, 256 => layer_norm_forward_bf16_2, 384 => layer_norm_forward_bf16_3,
                 512 => layer_norm_forward_bf16_4, 768 => layer_norm_forward_bf16_6, 1024 => layer_norm_forward_bf16_8],
                layer_norm_forward_bf16_any,
                (context, grid, x, weight, bias, &mut y, stats, n, c, eps)
            )?;
            y.into()
        } else {
            let mut y = self.empty(x.len())?;
            by_packs!(
                channels,
                [128 => layer_norm_forward_f32_1, 256 => layer_norm_forward_f32_2, 384 => layer_norm_forward_f32_3,
                 512 => layer_norm_forward_f32_4, 768 => layer_norm_forward_f32_6, 1024 => layer_norm_forward_f32_8],
                layer_norm_forward_f32_any,
                (context, grid, x, weight, bias, &mut y, stats, n, c, eps)
            )?;
            y
        };
        Ok(Normalized { y, statistics })
    }

    fn layer_norm_backward(
        &self,
        x: View<'_>,
        weight: View<'_>,
        statistics: View<'_>,
        dy: Buffer,
        earlier: Option<Buffer>,
    ) -> Result<NormGradients<Self>> {
        let channels = weight.len();
        let rows = x.len() / channels.max(1);
        let (n, c, adds) = (size(OP, rows)?, size(OP, channels)?, u32::from(earlier.is_some()));
        let mut dx = match earlier {
            Some(earlier) => earlier,
            None => self.empty(x.len())?,
        };
        let context = self.context();
        if !packed(channels) {
            let [bias, along] = self.column_sums(&dy, Some((x, statistics)), channels)?;
            let (grid, out) = (Grid::warps(rows), &mut dx);
            match dy.is_bf16() {
                true => kernels::layer_norm_backward_bf16_any(
                    context, grid, x, weight, statistics, &dy, out, n, c, adds,
                ),
                false => kernels::layer_norm_backward_f32_any(
                    context, grid, x, weight, statistics, &dy, out, n, c, adds,
                ),
            }?;
            return Ok(NormGradients { dx, weight: along, bias });
        }
        let blocks = rows.div_ceil(8).clamp(1, BLOCKS);
        let mut partial = self.empty(blocks * 2 * channels)?;
        let (grid, out, sums) = (Grid::blocks(blocks), &mut dx, &mut partial);
        match dy.is_bf16() {
            true => by_packs!(
                channels,
                [128 => layer_norm_backward_bf16_1, 256 => layer_norm_backward_bf16_2, 384 => layer_norm_backward_bf16_3,
                 512 => layer_norm_backward_bf16_4, 768 => layer_norm_backward_bf16_6, 1024 => layer_norm_backward_bf16_8],
                layer_norm_backward_bf16_8,
                (context, grid, x, weight, statistics, &dy, out, sums, n, c, adds)
            ),
            false => by_packs!(
                channels,
                [128 => layer_norm_backward_f32_1, 256 => layer_norm_backward_f32_2, 384 => layer_norm_backward_f32_3,
                 512 => layer_norm_backward_f32_4, 768 => layer_norm_backward_f32_6, 1024 => layer_norm_backward_f32_8],
                layer_norm_backward_f32_8,
                (context, grid, x, weight, statistics, &dy, out, sums, n, c, adds)
            ),
        }?;
        let [along, bias, _] = self.column_totals(&partial, blocks, [channels, channels, 0])?;
        Ok(NormGradients { dx, weight: along, bias })
    }
}
