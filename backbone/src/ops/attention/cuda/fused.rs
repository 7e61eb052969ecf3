//! Attention of mixed precision in one kernel forward and two backward: bfloat16 on the tensor cores, sums in f32, and
//! no N × N matrix in memory. For the usual widths of a head, without relative positions ([`super::relative`] has those).

use super::OP;
use crate::cuda::kernels::mirrored::ATTENTION_ROWS;
use crate::cuda::launch::Grid;
use crate::cuda::{Buffer, Cuda, View, kernels, size};
use crate::error::{Error, Result};
use crate::ops::attention::{Attended, AttendedViews, Geometry};

/// Calls the kernel that was compiled for a head of `$dim` channels.
macro_rules! of_width {
    ($dim:expr, [$($width:literal: $kernel:ident),+], $arguments:tt) => {
        match $dim {
            $($width => kernels::$kernel $arguments,)+
            other => Err(Error::Device { op: OP, reason: format!("no fused kernel for heads of {other} channels") }),
        }
    };
}

/// Whether there is a kernel for heads of this width.
pub(super) fn fits(g: Geometry) -> bool {
    matches!(g.head_dim, 16 | 32 | 64 | 96 | 128)
}

/// A block for [`ATTENTION_ROWS`] rows of each sequence.
pub(super) fn blocks(g: Geometry) -> Grid {
    Grid::blocks(g.batch * g.heads * g.tokens.div_ceil(ATTENTION_ROWS))
}

pub(super) fn forward(device: &Cuda, qkv: View<'_>, g: Geometry) -> Result<Attended<Cuda>> {
    let mut y = device.empty_bf16(g.batch * g.tokens * g.channels())?;
    let mut log_sums = device.empty(g.batch * g.heads * g.tokens)?;
    of_width!(
        g.head_dim,
        [
            16: attention_forward_16,
            32: attention_forward_32,
            64: attention_forward_64,
            96: attention_forward_96,
            128: attention_forward_128
        ],
        (
            device.context(),
            blocks(g),
            qkv,
            &mut y,
            &mut log_sums,
            size(OP, g.tokens)?,
            size(OP, g.heads)?,
            g.scale(),
        )
    )?;
    Ok(Attended { y: y.into(), log_sums })
}

/// The gradient at qkv.
pub(super) fn backward(
    device: &Cuda,
    qkv: View<'_>,
    attended: AttendedViews<'_, Cuda>,
    dy: View<'_>,
    g: Geometry,
) -> Result<Buffer> {
    let (context, tokens, heads) = (device.context(), size(OP, g.tokens)?, size(OP, g.heads)?);
    // once for both kernels, where they are not already
    let (qkv, dy) = (&*qkv.bf16(context)?, &*dy.bf16(context)?);
    let mut dqkv = device.empty_bf16(3 * g.batch * g.tokens * g.channels())?;
    let mut along = device.empty(g.batch * g.heads * g.tokens)?;
    let (runs, columns) = (g.batch * g.tokens.div_ceil(ATTENTION_ROWS), 3 * g.channels());
    let mut sums = device.empty(runs * columns)?;
    of_width!(
        g.head_dim,
        [
            16: attention_backward_queries_16,
            32: attention_backward_queries_32,
            64: attention_backward_queries_64,
            96: attention_backward_queries_96,
            128: attention_backward_queries_128
        ],
        (
            context,
            blocks(g),
            qkv,
            attended.y,
            dy,
            attended.log_sums,
            &mut dqkv,
            &mut along,
            &mut sums,
            tokens,
            heads,
            g.scale(),
        )
    )?;
    of_width!(
        g.head_dim,
        [
            16: attention_backward_keys_16,
            32: attention_backward_keys_32,
            64: attention_backward_keys_64,
            96: attention_backward_keys_96,
            128: attention_backward_keys_128
        ],
        (
            context,
            blocks(g),
            qkv,
            dy,
            attended.log_sums,
            &along,
            &mut dqkv,
            &mut sums,
            tokens,
            heads,
            g.scale(),
        )
    )?;
    let [sums, ..] = device.column_totals(&sums, runs, [columns, 0, 0])?;
    Ok(Buffer::from(dqkv).with_column_sums(sums))
}
