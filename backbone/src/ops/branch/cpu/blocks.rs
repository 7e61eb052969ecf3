//! What is done to blocks between products.

use super::normed::{NONE, whole as step_of};
use super::rows::{Factors, Rows};
use crate::cpu::gemm::{Block, PANEL, Tile};
use crate::cpu::scatter::{Gather, Scatter};
use crate::cpu::simd::{lanes, vectorized};
use std::mem::MaybeUninit;

/// A step of the gradient at a branch, from that at the stream's rows.
///
/// # Safety
/// Nobody may write these rows of `dy` meanwhile.
pub unsafe fn read_slopes(
    dy: &Scatter<'_, f32>,
    channels: usize,
    rows: &[usize; PANEL],
    step: usize,
    factors: Factors<'_>,
    block: &mut Block,
) {
    vectorized(
        #[inline(always)]
        || {
            for r in 0..PANEL {
                if rows[r] == NONE {
                    block.0[r] = [0.0; PANEL];
                    continue;
                }
                let factor = factors.of(rows[r]);
                let start = rows[r] * channels + step * PANEL;
                // SAFETY: the caller's promise.
                let dy = *step_of(unsafe { dy.part(start..start + PANEL) });
                block.set_row(r, lanes(|l| factor * dy[l]));
            }
        },
    );
}

/// y = x + f · (sums + bias), of a step of a panel's rows; asks for the values at `next`, a panel's rows and a step too.
///
/// # Safety
/// Nobody else may have these places of `y`; `x` may be the same.
pub unsafe fn write_sum(
    y: &Scatter<'_, MaybeUninit<f32>>,
    x: Gather<'_, f32>,
    (channels, step): (usize, usize),
    rows: &[usize; PANEL],
    factors: Factors<'_>,
    sums: &Block,
    next: (&[usize; PANEL], usize),
) {
    vectorized(
        #[inline(always)]
        || {
            for r in 0..PANEL {
                if rows[r] == NONE {
                    continue;
                }
                let ahead = next.0[r].wrapping_mul(channels).wrapping_add(next.1 * PANEL);
                x.expect(ahead);
                x.expect(ahead.wrapping_add(16));
                let factor = factors.of(rows[r]);
                let start = rows[r] * channels + step * PANEL;
                let (x, sums) = (*step_of(x.part(start..start + PANEL)), sums.row(r));
                let sum: [f32; PANEL] = lanes(|l| factor.mul_add(sums[l], x[l]));
                // SAFETY: the caller's promise.
                let y: &mut [_; PANEL] = unsafe { y.part(start..start + PANEL) }.try_into().expect("a step");
                for l in 0..PANEL {
                    y[l].write(sum[l]);
                }
            }
        },
    );
}

/// Of panels `task`, panel `i` of which was met at column `column`: what is next where rows are met before columns.
pub fn next_of(
    rows: &Rows,
    task: &std::ops::Range<usize>,
    i: usize,
    column: usize,
) -> ([usize; PANEL], usize) {
    match i + 1 < task.len() {
        true => (rows.of(task.start + i + 1), column),
        false => (rows.of(task.start), column + 1),
    }
}

/// Adds the bias of a step's columns to each row.
pub fn add_bias(sums: &mut Block, bias: Option<&[f32]>, column: usize) {
    let Some(bias) = bias else { return };
    let bias = *step_of(&bias[column * PANEL..][..PANEL]);
    vectorized(
        #[inline(always)]
        || {
            for r in 0..PANEL {
                let row = sums.row(r);
                sums.set_row(r, lanes(|l| row[l] + bias[l]));
            }
        },
    );
}

/// A block as a step of a left-hand factor whose rows are the block's columns.
pub fn turn(block: &Block, tiles: &mut [Tile]) {
    block.write_right(tiles);
    tiles.iter_mut().for_each(Tile::transpose);
}
