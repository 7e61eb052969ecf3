//! Matrix products for x86-64 with AVX-512: tiles of 14 × 32 in registers, the right-hand side packed in panels of
//! 32 columns, the left-hand side read where it lies when its rows are contiguous.
//!
//! The crate `gemm` does the same for every machine; on this kind its kernels reach about half of what two
//! multiply-adds a cycle allow, and products are nearly all of a transformer's time.

use super::{Dst, Mat, Whole};
use rayon::prelude::*;
use std::arch::x86_64::*;
use std::cell::Cell;
use std::mem::MaybeUninit;

/// Rows of a register tile: 28 sums, 2 right-hand vectors and a broadcast fill the 32 registers.
const ROWS: usize = 14;
/// Columns of a register tile and of a packed panel: two vectors.
const COLS: usize = 32;
/// Inner length of one pass: a panel of 32 columns is 48 KiB, about the first cache.
const DEPTH: usize = 384;
/// Rows of one task.
const BLOCK: usize = 8 * ROWS;

/// Whether this machine runs these kernels.
pub fn available() -> bool {
    is_x86_feature_detected!("avx512f")
}

thread_local! {
    /// Packing space, kept from call to call; taken while in use, so a nested call makes its own.
    static RIGHT: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    static LEFT: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Runs `work` with `len` values of this thread's packing space.
fn with_space<R>(
    space: &'static std::thread::LocalKey<Cell<Vec<f32>>>,
    len: usize,
    work: impl FnOnce(&mut [f32]) -> R,
) -> R {
    let mut buffer = space.take();
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    let result = work(&mut buffer[..len]);
    space.set(buffer);
    result
}

/// `dst (+)= factor · lhs · rhs`; the caller has checked that `dst` holds it. Must only be called where
/// [`available`] is true.
pub fn product(dst: &mut [MaybeUninit<f32>], p: Whole<'_>, parallel: bool) {
    assert!(available(), "AVX-512 kernels need AVX-512");
    let (k, n) = (p.lhs.cols, p.rhs.cols);
    let passes = k.div_ceil(DEPTH).max(1);
    let depth = k.div_ceil(passes);
    let panels = n.div_ceil(COLS);
    with_space(&RIGHT, panels * COLS * depth, |packed| {
        for pass in 0..passes {
            let inner = pass * depth..k.min((pass + 1) * depth);
            let panel_len = COLS * inner.len();
            let packed = &mut packed[..panels * panel_len];
            let pack = |(i, panel): (usize, &mut [f32])| pack_right(p.rhs, inner.clone(), i * COLS, panel);
            let start = if pass == 0 { p.start } else { Dst::Accumulate };
            if parallel {
                if panel_len > 0 {
                    packed.par_chunks_mut(panel_len).enumerate().for_each(pack);
                }
                dst.par_chunks_mut(BLOCK * p.stride).enumerate().for_each(|(i, dst)| {
                    block(dst, Whole { start, ..p }, i * BLOCK, inner.clone(), packed);
                });
            } else {
                if panel_len > 0 {
                    packed.chunks_mut(panel_len).enumerate().for_each(pack);
                }
                for (i, dst) in dst.chunks_mut(BLOCK * p.stride).enumerate() {
                    block(dst, Whole { start, ..p }, i * BLOCK, inner.clone(), packed);
                }
            }
        }
    });
}

/// Columns `first…` of rows `inner` of the right-hand side, 32 at a time, zeros behind the last column.
fn pack_right(rhs: Mat<'_>, inner: std::ops::Range<usize>, first: usize, panel: &mut [f32]) {
    let count = COLS.min(rhs.cols - first);
    if rhs.col_stride == 1 {
        for (row, dst) in inner.zip(panel.chunks_exact_mut(COLS)) {
            let src = &rhs.data[row * rhs.row_stride + first..][..count];
            dst[..count].copy_from_slice(src);
            dst[count..].fill(0.0);
        }
    } else {
        if count < COLS {
            panel.fill(0.0);
        }
        // 16 rows at a time: the written lines stay in the first cache while every column passes over them
        for (band, dst) in panel.chunks_mut(16 * COLS).enumerate() {
            let top = inner.start + band * 16;
            for column in 0..count {
                let start = (first + column) * rhs.col_stride + top * rhs.row_stride;
                let src = rhs.data[start..].iter().step_by(rhs.row_stride);
                dst[column..].iter_mut().step_by(COLS).zip(src).for_each(|(d, s)| *d = *s);
            }
        }
    }
}

/// Rows `top…` of the product, as many as `dst` has.
fn block(
    dst: &mut [MaybeUninit<f32>],
    p: Whole<'_>,
    top: usize,
    inner: std::ops::Range<usize>,
    packed: &[f32],
) {
    let rows = BLOCK.min(p.lhs.rows - top);
    let depth = inner.len();
    if p.lhs.col_stride == 1 {
        let lhs = &p.lhs.data[(top * p.lhs.row_stride + inner.start).min(p.lhs.data.len())..];
        tiles(dst, p, rows, depth, (lhs, |tile| tile * ROWS * p.lhs.row_stride, p.lhs.row_stride, 1), packed);
    } else {
        // transposed: 14 neighbors of each inner step side by side
        let count = rows.div_ceil(ROWS);
        with_space(&LEFT, count * ROWS * depth, |left| {
            for tile in 0..count {
                let panel = &mut left[tile * ROWS * depth..(tile + 1) * ROWS * depth];
                let first = top + tile * ROWS;
                let height = ROWS.min(top + rows - first);
                for (step, dst) in inner.clone().zip(panel.chunks_exact_mut(ROWS)) {
                    let start = first * p.lhs.row_stride + step * p.lhs.col_stride;
                    let src = p.lhs.data[start..].iter().step_by(p.lhs.row_stride);
                    dst[..height].iter_mut().zip(src).for_each(|(d, s)| *d = *s);
                }
            }
            tiles(dst, p, rows, depth, (left, |tile| tile * ROWS * depth, 1, ROWS), packed);
        });
    }
}

/// All register tiles of a block. `lhs` is the values, where a tile starts in them, and the distances of rows and
/// of inner steps.
fn tiles(
    dst: &mut [MaybeUninit<f32>],
    p: Whole<'_>,
    rows: usize,
    depth: usize,
    (lhs, start_of, row_step, inner_step): (&[f32], impl Fn(usize) -> usize, usize, usize),
    packed: &[f32],
) {
    let n = p.rhs.cols;
    for panel in 0..n.div_ceil(COLS) {
        let columns = COLS.min(n - panel * COLS);
        let right = &packed[panel * COLS * depth..][..COLS * depth];
        let bias = p.bias.map(|bias| &bias[panel * COLS..]);
        for tile in 0..rows.div_ceil(ROWS) {
            let height = ROWS.min(rows - tile * ROWS);
            let left = &lhs[start_of(tile).min(lhs.len())..];
            let dst = &mut dst[tile * ROWS * p.stride + panel * COLS..];
            let last = (height - 1) * row_step + depth.saturating_sub(1) * inner_step;
            assert!(depth == 0 || last < left.len(), "left-hand side of a product");
            assert!((height - 1) * p.stride + columns <= dst.len(), "destination of a product");
            assert!(bias.is_none_or(|bias| bias.len() >= columns), "bias of a product");
            let args = Tile { left: left.as_ptr(), row_step, inner_step, right, columns, bias, p };
            // SAFETY: AVX-512 was found in `product`. Within `left`, `dst` and `bias` the kernel touches what the
            // asserts above have checked, and of `right` exactly its `depth` rows of 32. What it reads of `dst`, where it adds
            // to it, an earlier pass or the caller has written.
            unsafe { args.run(height, depth, dst.as_mut_ptr().cast()) }
        }
    }
}

/// What a register tile reads.
struct Tile<'a> {
    left: *const f32,
    row_step: usize,
    inner_step: usize,
    right: &'a [f32],
    columns: usize,
    bias: Option<&'a [f32]>,
    p: Whole<'a>,
}

impl Tile<'_> {
    /// Chooses the kernel compiled for this number of rows.
    ///
    /// # Safety
    /// As [`Tile::kernel`].
    #[target_feature(enable = "avx512f")]
    unsafe fn run(&self, height: usize, depth: usize, dst: *mut f32) {
        macro_rules! choose {
            ($($rows:literal)*) => {
                match height {
                    // SAFETY: the caller's promise, for as many rows as it checked.
                    $($rows => unsafe { self.kernel::<$rows>(depth, dst) },)*
                    _ => unreachable!("a tile has 1 to 14 rows"),
                }
            };
        }
        choose!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    }

    /// R rows by up to 32 columns.
    ///
    /// # Safety
    /// Needs AVX-512. `left` must be readable at `r · row_step + i · inner_step` for r < R, i < depth, `right` hold
    /// 32 · depth values, `dst` be writable for R rows of `columns` at distance `p.stride` (and written before, where the product is added), and `bias`, if there is
    /// one, hold `columns` values.
    #[target_feature(enable = "avx512f")]
    unsafe fn kernel<const R: usize>(&self, depth: usize, dst: *mut f32) {
        // SAFETY: every address below is within what the caller promised; masked-off lanes are not touched.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); 2]; R];
            let (mut left, mut right) = (self.left, self.right.as_ptr());
            for _ in 0..depth {
                let columns = [_mm512_loadu_ps(right), _mm512_loadu_ps(right.add(16))];
                for (r, sum) in sums.iter_mut().enumerate() {
                    let value = _mm512_set1_ps(*left.add(r * self.row_step));
                    sum[0] = _mm512_fmadd_ps(value, columns[0], sum[0]);
                    sum[1] = _mm512_fmadd_ps(value, columns[1], sum[1]);
                }
                left = left.wrapping_add(self.inner_step);
                right = right.wrapping_add(COLS);
            }
            let factor = _mm512_set1_ps(self.p.factor);
            for half in 0..self.columns.div_ceil(16) {
                let count = 16.min(self.columns - half * 16);
                let mask = ((1u32 << count) - 1) as __mmask16;
                let bias = match self.bias {
                    Some(bias) => _mm512_maskz_loadu_ps(mask, bias.as_ptr().add(half * 16)),
                    None => _mm512_setzero_ps(),
                };
                for (r, sum) in sums.iter().enumerate() {
                    let at = dst.add(r * self.p.stride + half * 16);
                    let before = match self.p.start {
                        Dst::Overwrite => bias,
                        Dst::Accumulate => _mm512_maskz_loadu_ps(mask, at),
                    };
                    _mm512_mask_storeu_ps(at, mask, _mm512_fmadd_ps(factor, sum[half], before));
                }
            }
        }
    }
}
