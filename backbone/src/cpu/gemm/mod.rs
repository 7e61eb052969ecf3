//! Matrix products on the CPU, behind slices that are checked against the sizes: our AVX-512 kernels where the
//! machine has AVX-512, the crate `gemm` elsewhere; in lower precision by tiles of bfloat16 numbers (AMX).

mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;
pub mod rate;

use super::buffer::{Unwritten, build};
use crate::tensor::Precision;
pub use amx::Packed;
pub use amx::available as has_tile_products;
pub use amx::pack::Hand;
pub(crate) use amx::pack::{Block, PANEL, Tile, pairs_of_planes, right_of_rows};
pub(crate) use amx::{Panels, Tiles, sweep, with_tiles};
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

/// What computes a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Engine {
    /// Over how many threads.
    pub threads: Threads,
    /// In what numbers; less than f32 only where [`has_tile_products`] is true.
    pub precision: Precision,
}

impl From<Threads> for Engine {
    fn from(threads: Threads) -> Self {
        Self { threads, precision: Precision::F32 }
    }
}

impl Threads {
    /// On as many threads, in these numbers.
    pub fn at(self, precision: Precision) -> Engine {
        Engine { threads: self, precision }
    }
}

/// A factor, where it lies or packed for more products than one.
#[derive(Clone, Copy, Debug)]
pub enum Side<'a> {
    /// Values in a slice.
    Mat(Mat<'a>),
    /// As the tile products take them.
    Packed(&'a Packed),
}

impl<'a> From<Mat<'a>> for Side<'a> {
    fn from(mat: Mat<'a>) -> Self {
        Self::Mat(mat)
    }
}

impl<'a> From<&'a Packed> for Side<'a> {
    fn from(packed: &'a Packed) -> Self {
        Self::Packed(packed)
    }
}

impl<'a> Side<'a> {
    /// Rows and inner length of a left-hand side.
    fn left_size(&self) -> (usize, usize) {
        match self {
            Self::Mat(mat) => (mat.rows, mat.cols),
            Self::Packed(packed) => {
                assert_eq!(packed.hand(), Hand::Left, "hand of a packed factor");
                packed.size()
            }
        }
    }

    /// Inner length and columns of a right-hand side.
    fn right_size(&self) -> (usize, usize) {
        match self {
            Self::Mat(mat) => (mat.rows, mat.cols),
            Self::Packed(packed) => {
                assert_eq!(packed.hand(), Hand::Right, "hand of a packed factor");
                let (columns, inner) = packed.size();
                (inner, columns)
            }
        }
    }

    fn mat(&self) -> Mat<'a> {
        match self {
            Self::Mat(mat) => *mat,
            Self::Packed(_) => panic!("a packed factor of a product in f32"),
        }
    }
}

/// A factor for several products: packed where the engine takes it so, as it lies otherwise.
#[derive(Debug)]
pub enum Kept<'a> {
    /// As it lies.
    Mat(Mat<'a>),
    /// Packed.
    Packed(Packed),
}

impl<'a> Kept<'a> {
    /// `mat` as a factor of the engine's products.
    pub fn new(mat: Mat<'a>, hand: Hand, engine: impl Into<Engine>) -> Self {
        let engine = engine.into();
        match engine.precision {
            Precision::F32 => Self::Mat(mat),
            precision => Self::Packed(Packed::new(mat, hand, precision, engine.threads == Threads::All)),
        }
    }

    /// For one product.
    pub fn side(&self) -> Side<'_> {
        match self {
            Self::Mat(mat) => Side::Mat(*mat),
            Self::Packed(packed) => Side::Packed(packed),
        }
    }
}

/// A product and what it starts from.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a, S = Side<'a>> {
    /// m × k.
    pub lhs: S,
    /// k × n.
    pub rhs: S,
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
pub fn gemm<'a>(
    dst: &mut [f32],
    start: Dst,
    lhs: impl Into<Side<'a>>,
    rhs: impl Into<Side<'a>>,
    engine: impl Into<Engine>,
) {
    let rhs = rhs.into();
    let stride = rhs.right_size().1;
    run(dst, Product { lhs: lhs.into(), rhs, factor: 1.0, start, bias: None, stride }, engine);
}

/// `dst (+)= factor · lhs · rhs`, rows of `dst` being `stride` values apart.
pub fn gemm_strided<'a>(
    dst: &mut [f32],
    stride: usize,
    start: Dst,
    factor: f32,
    lhs: impl Into<Side<'a>>,
    rhs: impl Into<Side<'a>>,
    engine: impl Into<Engine>,
) {
    run(dst, Product { lhs: lhs.into(), rhs: rhs.into(), factor, start, bias: None, stride }, engine);
}

/// `lhs · rhs`, and `bias` in every row, into a new buffer's memory.
pub fn write<'a, 'b>(
    mut dst: Unwritten<'a>,
    lhs: impl Into<Side<'b>>,
    rhs: impl Into<Side<'b>>,
    bias: Option<&'b [f32]>,
    engine: impl Into<Engine>,
) -> &'a mut [f32] {
    let (lhs, rhs) = (lhs.into(), rhs.into());
    let stride = rhs.right_size().1;
    assert_eq!(lhs.left_size().0 * stride, dst.len(), "destination of a product");
    let p = Product { lhs, rhs, factor: 1.0, start: Dst::Overwrite, bias, stride };
    run_on(dst.slots(), p, engine.into());
    // SAFETY: a product that overwrites writes every value of its rows, and there is nothing between the rows.
    unsafe { dst.assume_written() }
}

/// `earlier + lhs · rhs`, in place of `earlier` where there is one.
pub(crate) fn onto<'a>(
    earlier: Option<Vec<f32>>,
    lhs: impl Into<Side<'a>>,
    rhs: impl Into<Side<'a>>,
    engine: impl Into<Engine>,
) -> Vec<f32> {
    let (lhs, rhs) = (lhs.into(), rhs.into());
    match earlier {
        Some(mut sum) => {
            gemm(&mut sum, Dst::Accumulate, lhs, rhs, engine);
            sum
        }
        None => build(lhs.left_size().0 * rhs.right_size().1, |dst| {
            write(dst, lhs, rhs, None, engine);
        }),
    }
}

/// A product as described. Panics where sizes do not fit: they are the caller's arithmetic, not the user's data.
pub fn run(dst: &mut [f32], p: Product<'_>, engine: impl Into<Engine>) {
    // SAFETY: an f32 lies as a MaybeUninit<f32> does, and `run_on` writes numbers only.
    let dst = unsafe { std::slice::from_raw_parts_mut(dst.as_mut_ptr().cast(), dst.len()) };
    run_on(dst, p, engine.into());
}

/// As [`run`]; reads `dst` only with [`Dst::Accumulate`].
fn run_on(dst: &mut [MaybeUninit<f32>], p: Product<'_>, engine: Engine) {
    let ((m, k), (inner, n)) = (p.lhs.left_size(), p.rhs.right_size());
    assert_eq!(k, inner, "inner sizes of a product");
    if m == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * p.stride + n <= dst.len() && (n <= p.stride || m == 1), "destination of a product");
    assert!(p.bias.is_none_or(|b| b.len() == n && p.start == Dst::Overwrite), "bias of a product");
    // one thread is faster below this size
    let parallel = engine.threads == Threads::All && m * n * k > 48 * 48 * 256;
    let dst = &mut dst[..(m - 1) * p.stride + n];
    if engine.precision != Precision::F32 {
        return amx::product(dst, &p, engine.precision, parallel);
    }
    let Product { lhs, rhs, factor, start, bias, stride } = p;
    let whole = Whole { lhs: lhs.mat(), rhs: rhs.mat(), factor, start, bias, stride };
    #[cfg(target_arch = "x86_64")]
    if avx512::available() {
        return avx512::product(dst, whole, parallel);
    }
    portable::product(dst, whole, parallel);
}

/// A [`Product`] of values where they lie.
type Whole<'a> = Product<'a, Mat<'a>>;

#[cfg(test)]
mod tests;
