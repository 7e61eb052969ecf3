//! Matrix products on the CPU, behind slices that are checked against the sizes: our AVX-512 kernels where the
//! machine has AVX-512, the crate `gemm` elsewhere.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use super::buffer::Unwritten;
use std::mem::MaybeUninit;

/// A matrix in a slice, by strides.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a> {
    data: &'a [f32],
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Mat<'a> {
    /// A row-major matrix that fills its slice.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// A matrix whose rows are `row_stride` values apart.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        let mat = Self { data, rows, cols, row_stride, col_stride: 1 };
        assert!(mat.fits(data.len()), "a {rows}x{cols} matrix does not fit {} values", data.len());
        mat
    }

    /// The transposed matrix, same values.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    fn fits(&self, len: usize) -> bool {
        let empty = self.rows == 0 || self.cols == 0;
        empty || (self.rows - 1) * self.row_stride + (self.cols - 1) * self.col_stride < len
    }
}

/// What becomes of the values in the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dst {
    /// They are not read.
    Overwrite,
    /// The product is added to them.
    Accumulate,
}

/// Over how many threads one product is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// All of rayon's.
    All,
    /// The caller's own: for products inside a parallel loop.
    One,
}

/// A product and what it starts from.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    /// m × k.
    pub lhs: Mat<'a>,
    /// k × n.
    pub rhs: Mat<'a>,
    /// Scales the product, not the bias.
    pub factor: f32,
    /// What becomes of the values in the destination.
    pub start: Dst,
    /// n values added to every row; only with [`Dst::Overwrite`].
    pub bias: Option<&'a [f32]>,
    /// Distance of the destination's rows.
    pub stride: usize,
}

/// `dst (+)= lhs · rhs`; `dst` is row-major and dense.
pub fn gemm(dst: &mut [f32], start: Dst, lhs: Mat<'_>, rhs: Mat<'_>, threads: Threads) {
    let stride = rhs.cols;
    run(dst, Product { lhs, rhs, factor: 1.0, start, bias: None, stride }, threads);
}

/// `dst (+)= factor · lhs · rhs`, rows of `dst` being `stride` values apart.
pub fn gemm_strided(
    dst: &mut [f32],
    stride: usize,
    start: Dst,
    factor: f32,
    lhs: Mat<'_>,
    rhs: Mat<'_>,
    threads: Threads,
) {
    run(dst, Product { lhs, rhs, factor, start, bias: None, stride }, threads);
}

/// `lhs · rhs`, and `bias` in every row, into a new buffer's memory.
pub fn write<'a>(
    mut dst: Unwritten<'a>,
    lhs: Mat<'_>,
    rhs: Mat<'_>,
    bias: Option<&[f32]>,
    threads: Threads,
) -> &'a mut [f32] {
    assert_eq!(lhs.rows * rhs.cols, dst.len(), "destination of a product");
    let p = Product { lhs, rhs, factor: 1.0, start: Dst::Overwrite, bias, stride: rhs.cols };
    run_on(dst.slots(), p, threads);
    // SAFETY: a product that overwrites writes every value of its rows, and there is nothing between the rows.
    unsafe { dst.assume_written() }
}

/// A product as described. Panics where sizes do not fit: they are the caller's arithmetic, not the user's data.
pub fn run(dst: &mut [f32], p: Product<'_>, threads: Threads) {
    // SAFETY: an f32 lies as a MaybeUninit<f32> does, and `run_on` writes numbers only.
    let dst = unsafe { std::slice::from_raw_parts_mut(dst.as_mut_ptr().cast(), dst.len()) };
    run_on(dst, p, threads);
}

/// As [`run`]; reads `dst` only with [`Dst::Accumulate`].
fn run_on(dst: &mut [MaybeUninit<f32>], p: Product<'_>, threads: Threads) {
    let (m, k, n) = (p.lhs.rows, p.lhs.cols, p.rhs.cols);
    assert_eq!(k, p.rhs.rows, "inner sizes of a product");
    if m == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * p.stride + n <= dst.len() && (n <= p.stride || m == 1), "destination of a product");
    assert!(p.bias.is_none_or(|b| b.len() == n && p.start == Dst::Overwrite), "bias of a product");
    // one thread is faster below this size
    let parallel = threads == Threads::All && m * n * k > 48 * 48 * 256;
    let dst = &mut dst[..(m - 1) * p.stride + n];
    #[cfg(target_arch = "x86_64")]
    if avx512::available() {
        return avx512::product(dst, p, parallel);
    }
    portable::product(dst, p, parallel);
}

#[cfg(test)]
mod tests;
