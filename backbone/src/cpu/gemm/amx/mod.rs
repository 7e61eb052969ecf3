//! Products by tiles of bfloat16 numbers (AMX), summed in f32.
//!
//! The right-hand side is packed first, or was before ([`Packed`]); a task then packs some rows of the left-hand side, all of
//! the inner length, which stays in the second cache, and goes over the right-hand panels, of which a pass (up to
//! [`PASS`] steps) stays in the first. The order of a sum depends on the shape alone.
//!
//! With [`Precision::Tf32`] each factor is the sum of two numbers, and three of the four products are added (Markidis et al.,
//! arXiv 1803.04014): the fourth is below the last digit kept.

pub mod pack;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod stand_in;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod tile;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "absent.rs"]
mod tile;

use super::{Dst, Side};
use crate::cpu::simd::vectorized;
use crate::tensor::Precision;
use pack::{Hand, PANEL, Part, Tile, panel, steps};
use rayon::prelude::*;
use std::borrow::Cow;
use std::cell::Cell;
use std::mem::MaybeUninit;
pub use tile::available;
use tile::{Registers, Sums};

/// Steps of 32 of one pass over the inner length: a right-hand panel of 20 takes 40 KiB, most of the first cache.
const PASS: usize = 20;
/// Panels of rows that a task packs at most: 256 rows.
const TASK: usize = 8;

/// A factor as the kernel takes it, for more products than one.
#[derive(Clone, Debug)]
pub struct Packed {
    hand: Hand,
    /// Rows of a left-hand factor, columns of a right-hand one.
    count: usize,
    /// The inner length.
    inner: usize,
    /// Panels of the rounded numbers, then, for [`Precision::Tf32`], those of the rests.
    tiles: Vec<Tile>,
    parts: usize,
}

/// The parts of a number that a precision keeps, as many as there are.
fn parts(precision: Precision) -> &'static [Part] {
    match precision {
        Precision::Tf32 => &[Part::Rounded, Part::Rest],
        Precision::Bf16 | Precision::F32 => &[Part::Rounded],
    }
}

/// Which parts of the two factors are multiplied, the largest products last.
fn terms(parts: usize) -> &'static [(usize, usize)] {
    match parts {
        1 => &[(0, 0)],
        _ => &[(0, 1), (1, 0), (0, 0)],
    }
}

impl Packed {
    /// A factor of products of this precision.
    pub fn new(mat: super::Mat<'_>, hand: Hand, precision: Precision, parallel: bool) -> Self {
        let (count, inner) = match hand {
            Hand::Left => (mat.rows, mat.cols),
            Hand::Right => (mat.cols, mat.rows),
        };
        let (parts, len) = (parts(precision), 2 * steps(inner));
        let mut tiles = vec![Tile::ZERO; parts.len() * count.div_ceil(PANEL) * len];
        if len > 0 {
            let panels = count.div_ceil(PANEL);
            let fill = |(i, tiles): (usize, &mut [Tile])| {
                panel(mat, hand, parts[i / panels], i % panels * PANEL, tiles);
            };
            match parallel {
                true => tiles.par_chunks_mut(len).enumerate().for_each(fill),
                false => tiles.chunks_mut(len).enumerate().for_each(fill),
            }
        }
        Self { hand, count, inner, tiles, parts: parts.len() }
    }

    /// Rows of a left-hand factor, columns of a right-hand one; the inner length.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.count, self.inner)
    }

    pub(super) fn hand(&self) -> Hand {
        self.hand
    }

    fn panel(&self, part: usize, index: usize) -> &[Tile] {
        let len = 2 * steps(self.inner);
        &self.tiles[(part * self.count.div_ceil(PANEL) + index) * len..][..len]
    }
}

thread_local! {
    /// Packing space, kept from call to call; taken while in use, so a nested call makes its own.
    static LEFT: Cell<Vec<Tile>> = const { Cell::new(Vec::new()) };
    static SUMS: Cell<Vec<Sums>> = const { Cell::new(Vec::new()) };
}

/// A destination that tasks write side by side.
#[derive(Clone, Copy)]
struct Shared {
    start: *mut f32,
    stride: usize,
}

// SAFETY: tasks write rectangles that do not overlap (`product`).
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// `dst (+)= factor · lhs · rhs`; the caller has checked that `dst` holds it and that packed sides are of this precision.
/// Must only be called where [`available`] is true.
pub(super) fn product(
    dst: &mut [MaybeUninit<f32>],
    p: &super::Product<'_>,
    precision: Precision,
    parallel: bool,
) {
    let ((m, inner), n) = (p.lhs.left_size(), p.rhs.right_size().1);
    let rhs: Cow<'_, Packed> = match p.rhs {
        Side::Packed(packed) => Cow::Borrowed(packed),
        Side::Mat(mat) => Cow::Owned(Packed::new(mat, Hand::Right, precision, parallel)),
    };
    assert_eq!(rhs.parts, parts(precision).len(), "precision of a packed right-hand side");
    let (rows, columns) = (m.div_ceil(PANEL), n.div_ceil(PANEL));
    // tasks of rows; of columns too where rows are few
    let threads = if parallel { rayon::current_num_threads() } else { 1 };
    let down = match threads {
        1 => rows.div_ceil(TASK),
        _ => rows.div_ceil(TASK).next_multiple_of(threads).min(rows),
    };
    let across = if down >= 2 * threads || !parallel { 1 } else { (4 * threads).div_ceil(down).min(columns) };
    let part_of = |i: usize, of: usize, count: usize| i * count / of..(i + 1) * count / of;
    let shared = Shared { start: dst.as_mut_ptr().cast(), stride: p.stride };
    let task = |i: usize| {
        let (rows, columns) = (part_of(i / across, down, rows), part_of(i % across, across, columns));
        let writer = Writer { p, shared, m, n };
        block(&writer, (rows, columns), inner, &rhs, precision);
    };
    match parallel {
        true => (0..down * across).into_par_iter().for_each(task),
        false => (0..down * across).for_each(task),
    }
}

/// Panels of rows and of columns of the product.
type Panels = (std::ops::Range<usize>, std::ops::Range<usize>);

fn block(writer: &Writer<'_>, (rows, columns): Panels, inner: usize, rhs: &Packed, precision: Precision) {
    let (parts, len) = (parts(precision), 2 * steps(inner));
    let mut space = LEFT.take();
    let packed = match writer.p.lhs {
        Side::Packed(packed) => Some(packed),
        Side::Mat(mat) => {
            let count = parts.len() * rows.len() * len;
            if space.len() < count {
                space.resize(count, Tile::ZERO);
            }
            if len > 0 {
                for (i, tiles) in space[..count].chunks_mut(len).enumerate() {
                    let first = (rows.start + i % rows.len()) * PANEL;
                    panel(mat, Hand::Left, parts[i / rows.len()], first, tiles);
                }
            }
            None
        }
    };
    let left = |part: usize, row: usize| match packed {
        Some(packed) => packed.panel(part, row),
        None => &space[(part * rows.len() + row - rows.start) * len..][..len],
    };
    let mut sums = SUMS.take();
    sums.resize(rows.len().max(sums.len()), Sums::ZERO);
    let passes = steps(inner).div_ceil(PASS).max(1);
    let registers = Registers::configured();
    for column in columns {
        for pass in 0..passes {
            let [start, end] = [pass, pass + 1].map(|pass| 2 * (pass * steps(inner) / passes));
            for (row, sums) in rows.clone().zip(&mut sums) {
                let both = [writer.m - row * PANEL > 16, writer.n - column * PANEL > 16];
                for (i, (a, b)) in terms(parts.len()).iter().enumerate() {
                    let (left, right) = (&left(*a, row)[start..end], &rhs.panel(*b, column)[start..end]);
                    registers.multiply(left, right, sums, pass == 0 && i == 0, both);
                }
                if pass + 1 == passes {
                    writer.write(row, column, sums);
                }
            }
        }
    }
    drop(registers);
    SUMS.set(sums);
    LEFT.set(space);
}

/// Where sums go, and what is done to them on the way.
struct Writer<'a> {
    p: &'a super::Product<'a>,
    shared: Shared,
    m: usize,
    n: usize,
}

impl Writer<'_> {
    /// The 32 × 32 sums of a panel of rows and one of columns, as many as are in the product.
    fn write(&self, row: usize, column: usize, sums: &Sums) {
        let (first, left) = (row * PANEL, column * PANEL);
        let (rows, columns) = (PANEL.min(self.m - first), PANEL.min(self.n - left));
        let bias = self.p.bias.map(|bias| &bias[left..left + columns]);
        vectorized(
            #[inline(always)]
            || {
                for (r, half) in (0..rows).flat_map(|r| (0..columns.div_ceil(16)).map(move |half| (r, half)))
                {
                    let (at, count) = (half * 16, 16.min(columns - half * 16));
                    // SAFETY: the product's rows lie in the destination (`run_on` has checked), of which this task alone has
                    // this rectangle; they were written before where they are read (`Dst::Accumulate`).
                    let dst = unsafe {
                        let start = self.shared.start.add((first + r) * self.shared.stride + left + at);
                        std::slice::from_raw_parts_mut(start.cast::<MaybeUninit<f32>>(), count)
                    };
                    let (sums, bias) =
                        (&sums.0[r / 16 * 2 + half][r % 16], bias.map(|bias| &bias[at..at + count]));
                    let (factor, start) = (self.p.factor, self.p.start);
                    match <&mut [_; 16]>::try_from(&mut *dst) {
                        Ok(whole) => finish(whole, sums, bias, factor, start),
                        Err(_) => finish(dst, sums, bias, factor, start),
                    }
                }
            },
        );
    }
}

/// Scales up to 16 sums, adds what they start from, and writes them.
#[inline(always)]
fn finish(dst: &mut [MaybeUninit<f32>], sums: &[f32; 16], bias: Option<&[f32]>, factor: f32, start: Dst) {
    let slots = dst.iter_mut().zip(sums);
    match (start, bias) {
        (Dst::Overwrite, None) => slots.for_each(|(slot, sum)| {
            slot.write(factor * sum);
        }),
        (Dst::Overwrite, Some(bias)) => slots.zip(bias).for_each(|((slot, sum), bias)| {
            slot.write(factor * sum + bias);
        }),
        (Dst::Accumulate, _) => slots.for_each(|(slot, sum)| {
            // SAFETY: values that are added to were written before.
            let before = unsafe { slot.assume_init() };
            slot.write(factor * sum + before);
        }),
    }
}

#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod tests;
