//! How the factors of a tile product lie: in tiles of 16 × 32 bfloat16 numbers, two side by side, in the order in which the
//! kernel reads them. The same on every machine.

use super::super::Mat;
use super::convert;
use crate::cpu::simd::{lanes, vectorized};
use std::hint::black_box;

/// Rows of a left-hand panel and columns of a right-hand one: two tiles.
pub const PANEL: usize = 32;
/// Inner length of a tile.
pub const DEPTH: usize = 32;

/// 16 rows of 16 pairs. Of a left-hand tile a row is 32 inner steps of one row of the matrix; of a right-hand one a row is
/// two inner steps of 16 columns, a pair for each column.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Tile(pub [[u32; 16]; 16]);

impl Tile {
    /// Zeros.
    pub const ZERO: Self = Self([[0; 16]; 16]);

    /// The same as rows of 32 numbers.
    fn numbers(&self) -> &[[u16; 32]; 16] {
        // SAFETY: as many bytes, all of which are numbers of either kind, at a place that is aligned for both.
        unsafe { &*(&raw const self.0).cast() }
    }

    /// The same as rows of 32 numbers.
    fn halves(&mut self) -> &mut [[u16; 32]; 16] {
        // SAFETY: as many bytes, all of which are numbers of either kind, at a place that is aligned for both.
        unsafe { &mut *(&raw mut self.0).cast() }
    }

    /// The words, transposed: of a left-hand tile of rows, a right-hand one of as many columns, and the other way round.
    pub fn transpose(&mut self) {
        if convert::available() {
            return convert::transpose(self);
        }
        let Self(rows) = self;
        for i in 0..16 {
            let (above, below) = rows.split_at_mut(i + 1);
            for (j, row) in below.iter_mut().enumerate() {
                std::mem::swap(&mut above[i][i + 1 + j], &mut row[i]);
            }
        }
    }
}

/// 32 × 32 numbers in f32, by rows: sums of a product, or a step of a panel before it is rounded.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Block(pub [[f32; 32]; 32]);

impl Block {
    /// Zeros.
    pub const ZERO: Self = Self([[0.0; 32]; 32]);

    /// A row's values. The compiler does not know that it lies beside others: it would go over many rows at once, by gathers.
    #[inline(always)]
    pub fn row(&self, r: usize) -> [f32; 32] {
        *black_box(&self.0[r])
    }

    /// Writes a row, likewise.
    #[inline(always)]
    pub fn set_row(&mut self, r: usize, values: [f32; 32]) {
        *black_box(&mut self.0[r]) = values;
    }

    /// The two tiles of a left-hand step of which these are 32 rows.
    pub fn write_left(&self, tiles: &mut [Tile]) {
        let mat = Mat::new(self.0.as_flattened(), 32, 32);
        for (i, tile) in tiles.iter_mut().enumerate() {
            rows_of::<false>(&mat, (16 * i, 16), (0, 32), tile);
        }
    }

    /// The two tiles of a right-hand step: rows lie along the inner length.
    pub fn write_right(&self, tiles: &mut [Tile]) {
        let mat = Mat::new(self.0.as_flattened(), 32, 32).transposed();
        for (i, tile) in tiles.iter_mut().enumerate() {
            pairs_of::<false>(&mat, (16 * i, 16), (0, 32), tile);
        }
    }

    /// The rows of a left-hand step's two tiles.
    pub fn read_left(&mut self, tiles: &[Tile]) {
        vectorized(
            #[inline(always)]
            || {
                for r in 0..32 {
                    let numbers = *black_box(&tiles[r / 16].numbers()[r % 16]);
                    self.set_row(r, lanes(|l| f32::from_bits(u32::from(numbers[l]) << 16)));
                }
            },
        );
    }

    /// Adds `factor` times another block.
    pub fn add_scaled(&mut self, other: &Self, factor: f32) {
        vectorized(
            #[inline(always)]
            || {
                for r in 0..32 {
                    let (before, other) = (self.row(r), other.row(r));
                    self.set_row(r, lanes(|l| factor.mul_add(other[l], before[l])));
                }
            },
        );
    }
}

/// Of the two tiles of a left-hand step, those of the right-hand one whose inner length lies along their rows.
pub fn right_of_rows(left: &[Tile], right: &mut [Tile]) {
    for (half, tile) in right.iter_mut().enumerate() {
        if convert::available() {
            convert::pairs_of_rows([&left[0], &left[1]], half, tile);
            continue;
        }
        for (p, pairs) in tile.0.iter_mut().enumerate() {
            let [even, odd] = [0, 1].map(|i| &left[p / 8].numbers()[p % 8 * 2 + i]);
            for (c, pair) in pairs.iter_mut().enumerate() {
                let [even, odd] = [even, odd].map(|row| u32::from(row[16 * half + c]));
                *pair = even | odd << 16;
            }
        }
    }
}

/// Two runs of values, rounded, as pairs.
pub fn pairs_of_planes(even: &[f32], odd: &[f32], pairs: &mut [u32]) {
    vectorized(
        #[inline(always)]
        || {
            let (evens, odds, chunks) =
                (even.as_chunks::<16>(), odd.as_chunks::<16>(), pairs.as_chunks_mut::<16>());
            for i in 0..chunks.0.len() {
                let (even, odd) = (evens.0[i], odds.0[i]);
                for l in 0..16 {
                    chunks.0[i][l] = upper(even[l]) >> 16 | upper(odd[l]);
                }
            }
            for i in 0..chunks.1.len() {
                chunks.1[i] = upper(evens.1[i]) >> 16 | upper(odds.1[i]);
            }
        },
    );
}

/// Which factor of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hand {
    /// The one with the product's rows.
    Left,
    /// The one with the product's columns.
    Right,
}

/// What of each number is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The nearest bfloat16 number.
    Rounded,
    /// The nearest bfloat16 number to what the rounding left over.
    Rest,
}

/// The bits of the nearest bfloat16 number, halves to even, in the upper half; NaN stays NaN.
#[inline(always)]
fn upper(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let nan = bits & 0x7fff_ffff > 0x7f80_0000;
    (if nan { bits | 0x40_0000 } else { rounded }) & 0xffff_0000
}

/// As [`upper`] of the part of `x` that is kept.
#[inline(always)]
fn kept<const REST: bool>(x: f32) -> u32 {
    let rounded = upper(x);
    if !REST {
        return rounded;
    }
    let rest = upper(x - f32::from_bits(rounded));
    // what is infinite or no number leaves nothing over
    if rounded & 0x7f80_0000 == 0x7f80_0000 { 0 } else { rest }
}

/// The tiles that a product of inner length `k` has along it.
pub const fn steps(k: usize) -> usize {
    k.div_ceil(DEPTH)
}

/// One panel of a factor: from row (left) or column (right) `first` on, 32 of them, all of the inner length; zeros beyond the
/// matrix. `tiles` are two for each step.
pub fn panel(mat: Mat<'_>, hand: Hand, part: Part, first: usize, tiles: &mut [Tile]) {
    // seen as the left-hand factor: (panel's own index, inner index)
    let own = if hand == Hand::Left { mat } else { mat.transposed() };
    assert_eq!(tiles.len(), 2 * steps(own.cols), "tiles of a panel");
    match part {
        Part::Rounded => vectorized(
            #[inline(always)]
            || fill::<false>(own, hand, first, tiles),
        ),
        Part::Rest => vectorized(
            #[inline(always)]
            || fill::<true>(own, hand, first, tiles),
        ),
    }
}

#[inline(always)]
fn fill<const REST: bool>(own: Mat<'_>, hand: Hand, first: usize, tiles: &mut [Tile]) {
    let along = own.col_stride == 1;
    for (i, tile) in tiles.iter_mut().enumerate() {
        let (row, inner) = (first + i % 2 * 16, i / 2 * DEPTH);
        let rows = own.rows.saturating_sub(row).min(16);
        let count = (own.cols - inner).min(DEPTH);
        if rows < 16 || count < DEPTH {
            *tile = Tile::ZERO;
        }
        if rows == 0 {
            continue;
        }
        match along {
            true => rows_of::<REST>(&own, (row, rows), (inner, count), tile),
            false => pairs_of::<REST>(&own, (row, rows), (inner, count), tile),
        }
        if along != (hand == Hand::Left) {
            tile.transpose();
        }
    }
}

/// Inner steps lie side by side: a row of the tile is a run of values.
#[inline(always)]
fn rows_of<const REST: bool>(
    own: &Mat<'_>,
    (row, rows): (usize, usize),
    (inner, count): (usize, usize),
    tile: &mut Tile,
) {
    if (rows, count) == (16, DEPTH) && convert::available() {
        let src = &own.data[row * own.row_stride + inner..];
        return convert::rows::<REST>(src, own.row_stride, tile);
    }
    for (r, numbers) in tile.halves().iter_mut().enumerate().take(rows) {
        let src = &own.data[(row + r) * own.row_stride + inner..][..count];
        match <&[f32; 32]>::try_from(src) {
            Ok(src) => narrow::<REST, 32>(src, numbers),
            Err(_) => numbers.iter_mut().zip(src).for_each(|(n, x)| *n = (kept::<REST>(*x) >> 16) as u16),
        }
    }
}

/// N at a time, so that the compiler sees whole vectors.
#[inline(always)]
fn narrow<const REST: bool, const N: usize>(src: &[f32; N], numbers: &mut [u16; N]) {
    for (number, x) in numbers.iter_mut().zip(src) {
        *number = (kept::<REST>(*x) >> 16) as u16;
    }
}

/// Rows lie side by side: a row of the tile is two inner steps of 16 rows of the matrix.
#[inline(always)]
fn pairs_of<const REST: bool>(
    own: &Mat<'_>,
    (row, rows): (usize, usize),
    (inner, count): (usize, usize),
    tile: &mut Tile,
) {
    if (rows, count, own.row_stride) == (16, DEPTH, 1) && convert::available() {
        let src = &own.data[inner * own.col_stride + row..];
        return convert::pairs::<REST>(src, own.col_stride, tile);
    }
    for (p, pairs) in tile.0.iter_mut().enumerate().take(count.div_ceil(2)) {
        let line = |i: usize| &own.data[(inner + i) * own.col_stride + row * own.row_stride..][..rows];
        let even = line(2 * p);
        match (<&[f32; 16]>::try_from(even), 2 * p + 1 < count) {
            (Ok(even), true) => {
                let odd = line(2 * p + 1);
                for ((pair, a), b) in pairs.iter_mut().zip(even).zip(odd) {
                    *pair = kept::<REST>(*a) >> 16 | kept::<REST>(*b);
                }
            }
            (_, odd) => {
                for (r, (pair, a)) in pairs.iter_mut().zip(even).enumerate() {
                    let b = if odd { line(2 * p + 1)[r] } else { 0.0 };
                    *pair = kept::<REST>(*a) >> 16 | kept::<REST>(b);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    #[test]
    fn numbers_round_as_the_crate_half_rounds_them() {
        let special =
            [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN_POSITIVE, 1e-40];
        let halves = (0..4000u32).map(|i| f32::from_bits(0x3f80_0000 + i * 0x2003));
        for x in special.into_iter().chain(halves) {
            let (found, expected) = ((upper(x) >> 16) as u16, bf16::from_f32(x));
            match x.is_nan() {
                true => assert!(bf16::from_bits(found).is_nan()),
                false => assert_eq!(found, expected.to_bits(), "{x}"),
            }
            let rest = f32::from_bits(kept::<true>(x));
            if x.is_finite() && expected.is_finite() {
                let error = (x - expected.to_f32() - rest).abs();
                // the smallest bfloat16 number is 2⁻¹³³, and half of it may be lost of a number near it
                let least = f32::from_bits(1 << 15);
                assert!(
                    error <= (x.abs() * 2f32.powi(-17)).max(least),
                    "{x}: {rest} is left over, off by {error}"
                );
            } else {
                assert_eq!(rest, 0.0, "{x}");
            }
        }
    }

    #[test]
    fn every_number_is_in_its_place() {
        for (rows, k) in [(1, 1), (16, 32), (32, 64), (19, 33), (40, 31), (5, 70)] {
            let values: Vec<f32> = (0..rows * k).map(|i| i as f32 % 251.0 - 125.0).collect();
            let turned: Vec<f32> = (0..rows * k).map(|i| values[i % rows * k + i / rows]).collect();
            for mat in [Mat::new(&values, rows, k), Mat::new(&turned, k, rows).transposed()] {
                for hand in [Hand::Left, Hand::Right] {
                    let mat = if hand == Hand::Left { mat } else { mat.transposed() };
                    for first in (0..rows).step_by(PANEL) {
                        let mut tiles = vec![Tile([[7; 16]; 16]); 2 * steps(k)];
                        panel(mat, hand, Part::Rounded, first, &mut tiles);
                        for r in 0..PANEL {
                            for i in 0..steps(k) * DEPTH {
                                let (row, pair) = match hand {
                                    Hand::Left => (r % 16, i % DEPTH / 2),
                                    Hand::Right => (i % DEPTH / 2, r % 16),
                                };
                                let bits = tiles[i / DEPTH * 2 + r / 16].0[row][pair] >> (i % 2 * 16);
                                let inside = first + r < rows && i < k;
                                let expected = if inside { values[(first + r) * k + i] } else { 0.0 };
                                assert_eq!(
                                    bf16::from_bits(bits as u16).to_f32(),
                                    expected,
                                    "{rows}x{k} {r},{i}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}
