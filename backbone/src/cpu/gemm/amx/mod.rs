//! Products by tiles of bfloat16 numbers (AMX), summed in f32.
//!
//! The right-hand side is packed first, or was before ([`Packed`]); a task then packs some rows of the left-hand side, all of
//! the inner length, which stays in the second cache, and goes over the right-hand panels, of which a pass (up to
//! [`PASS`] steps) stays in the first. The order of a sum depends on the shape alone.
//!
//! With [`Precision::Tf32`] each factor is the sum of two numbers, and three of the four products are added (Markidis et al.,
//! arXiv 1803.04014): the fourth is below the last digit kept.

#[cfg(target_arch = "x86_64")]
mod convert;
#[cfg(not(target_arch = "x86_64"))]
#[path = "convert_absent.rs"]
mod convert;
pub mod pack;
mod space;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod stand_in;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod tile;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "absent.rs"]
mod tile;

use super::{Dst, Side};
use crate::cpu::simd::{lanes, vectorized};
use crate::tensor::Precision;
use pack::{Block, Hand, PANEL, Part, Tile, panel, steps};
use rayon::prelude::*;
pub(crate) use space::{Tiles, with_tiles};
use std::borrow::Cow;
use std::cell::Cell;
use std::mem::MaybeUninit;
use tile::Registers;
pub use tile::available;

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
    tiles: Tiles,
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
        let mut tiles = Tiles::new(parts.len() * count.div_ceil(PANEL) * len);
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

    /// A factor of products of [`Precision::Bf16`] from its tiles, panel by panel.
    ///
    /// # Panics
    /// If they are not as many as its panels have.
    pub(crate) fn of_tiles(hand: Hand, count: usize, inner: usize, tiles: Tiles) -> Self {
        assert_eq!(tiles.len(), 2 * count.div_ceil(PANEL) * steps(inner), "tiles of a factor");
        Self { hand, count, inner, tiles, parts: 1 }
    }

    /// Rows of a left-hand factor, columns of a right-hand one; the inner length.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.count, self.inner)
    }

    pub(super) fn hand(&self) -> Hand {
        self.hand
    }

    pub(crate) fn panels(&self) -> Panels<'_> {
        let period = self.count.div_ceil(PANEL);
        Panels { tiles: &self.tiles, count: self.count, steps: steps(self.inner), period, first: 0 }
    }
}

/// The panels of a factor, or of some of its rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panels<'a> {
    /// Of each part, each panel, each step two.
    pub tiles: &'a [Tile],
    /// Rows of a left-hand factor, columns of a right-hand one.
    pub count: usize,
    /// Along the inner length.
    pub steps: usize,
    /// Panels after which the rows begin anew: each part of `count` rows begins a panel of its own.
    pub period: usize,
    /// The number of the first panel, where these are not all.
    pub first: usize,
}

impl<'a> Panels<'a> {
    fn panel(&self, part: usize, index: usize) -> &'a [Tile] {
        let len = 2 * self.steps;
        let place = part * (self.tiles.len() / 2) + index * len;
        &self.tiles[place..place + len]
    }

    /// Whether a panel has more than one tile's rows.
    fn has_both(&self, index: usize) -> bool {
        self.count - (self.first + index) % self.period.max(1) * PANEL > 16
    }
}

thread_local! {
    /// Sums, kept from call to call; taken while in use, so a nested call makes its own.
    static SUMS: Cell<Vec<Block>> = const { Cell::new(Vec::new()) };
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
type Place = (std::ops::Range<usize>, std::ops::Range<usize>);

fn block(writer: &Writer<'_>, (rows, columns): Place, inner: usize, rhs: &Packed, precision: Precision) {
    let (parts, len) = (parts(precision), 2 * steps(inner));
    let first = rows.start;
    let with = |left: Panels<'_>, offset: usize| {
        sweep(left, offset..offset + rows.len(), rhs.panels(), columns.clone(), |row, column, sums| {
            writer.write(row - offset + first, column, sums);
        });
    };
    let mat = match writer.p.lhs {
        Side::Packed(packed) => return with(packed.panels(), first),
        Side::Mat(mat) => mat,
    };
    with_tiles(parts.len() * rows.len() * len, |space| {
        if len > 0 {
            for (i, tiles) in space.chunks_mut(len).enumerate() {
                panel(mat, Hand::Left, parts[i / rows.len()], (first + i % rows.len()) * PANEL, tiles);
            }
        }
        let period = writer.m.div_ceil(PANEL);
        with(Panels { tiles: space, count: writer.m, steps: steps(inner), period, first }, 0);
    });
}

/// Gives `sink` the sums of each of these panels of rows by each of these of columns, and their numbers. Sums of rows and columns
/// that are none are 0.
pub(crate) fn sweep(
    left: Panels<'_>,
    rows: std::ops::Range<usize>,
    right: Panels<'_>,
    columns: std::ops::Range<usize>,
    mut sink: impl FnMut(usize, usize, &mut Block),
) {
    assert_eq!(left.steps, right.steps, "steps of a product");
    let steps = left.steps;
    let passes = steps.div_ceil(PASS).max(1);
    let parts = match steps {
        0 => 1,
        _ => right.tiles.len() / (2 * steps * right.period),
    };
    let mut sums = SUMS.take();
    let kept = if passes == 1 { 1 } else { rows.len() };
    sums.resize(kept.max(sums.len()), Block::ZERO);
    let registers = Registers::configured();
    for column in columns {
        // of the panel after this one, which arrives while this one is multiplied
        let mut next = right.tiles.as_ptr().wrapping_add(2 * (column + 1) * steps);
        for pass in 0..passes {
            let (start, end) = (2 * (pass * steps / passes), 2 * ((pass + 1) * steps / passes));
            for (i, row) in rows.clone().enumerate() {
                let sums = &mut sums[if passes == 1 { 0 } else { i }];
                let both = [left.has_both(row), right.has_both(column)];
                for (i, (a, b)) in terms(parts).iter().enumerate() {
                    let (left, right) =
                        (&left.panel(*a, row)[start..end], &right.panel(*b, column)[start..end]);
                    registers.multiply(left, right, sums, pass == 0 && i == 0, both, next);
                    next = next.wrapping_byte_add((end - start) * 256);
                }
                if pass + 1 == passes {
                    clear(sums, both);
                    sink(row, column, sums);
                }
            }
        }
    }
    drop(registers);
    SUMS.set(sums);
}

/// Of sums that only some of the tiles were multiplied for.
fn clear(sums: &mut Block, [rows, columns]: [bool; 2]) {
    if !rows {
        sums.0[16..].fill([0.0; 32]);
    }
    if !columns {
        sums.0.iter_mut().for_each(|row| row[16..].fill(0.0));
    }
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
    fn write(&self, row: usize, column: usize, sums: &Block) {
        let (first, left) = (row * PANEL, column * PANEL);
        let (rows, columns) = (PANEL.min(self.m - first), PANEL.min(self.n - left));
        let bias = self.p.bias.map(|bias| &bias[left..left + columns]);
        // SAFETY: the product's rows lie in the destination (`run_on` has checked), of which this task alone has this rectangle;
        // they were written before where they are read (`Dst::Accumulate`).
        let row = |r: usize| unsafe {
            let start = self.shared.start.add((first + r) * self.shared.stride + left);
            std::slice::from_raw_parts_mut(start.cast::<MaybeUninit<f32>>(), columns)
        };
        let (factor, start) = (self.p.factor, self.p.start);
        if columns < PANEL {
            for r in 0..rows {
                let (sums, dst) = (sums.row(r), row(r));
                for (l, slot) in dst.iter_mut().enumerate() {
                    let base = match (start, bias) {
                        // SAFETY: values that are added to were written before.
                        (Dst::Accumulate, _) => unsafe { slot.assume_init() },
                        (Dst::Overwrite, Some(bias)) => bias[l],
                        (Dst::Overwrite, None) => 0.0,
                    };
                    slot.write(factor.mul_add(sums[l], base));
                }
            }
            return;
        }
        let whole = |values: &[f32]| -> [f32; PANEL] { values.try_into().expect("a panel's columns") };
        let constant = bias.map_or([0.0; PANEL], whole);
        vectorized(
            #[inline(always)]
            || {
                for r in 0..rows {
                    let (sums, dst) = (sums.row(r), row(r));
                    let base = match start {
                        // SAFETY: as above; an f32 lies as a MaybeUninit<f32> does.
                        Dst::Accumulate => unsafe { *dst.as_ptr().cast::<[f32; PANEL]>() },
                        Dst::Overwrite => constant,
                    };
                    let values: [f32; PANEL] = lanes(|l| factor.mul_add(sums[l], base[l]));
                    // SAFETY: the row has as many places.
                    unsafe { *dst.as_mut_ptr().cast::<[f32; PANEL]>() = values };
                }
            },
        );
    }
}

#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod tests;
