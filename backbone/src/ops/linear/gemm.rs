//! Matrix products on the CPU by the crate `gemm`, behind slices that are checked against the sizes.

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

/// `dst (+)= lhs · rhs`; `dst` is row-major and dense.
pub fn gemm(dst: &mut [f32], start: Dst, lhs: Mat<'_>, rhs: Mat<'_>, threads: Threads) {
    let columns = rhs.cols;
    gemm_strided(dst, columns, start, 1.0, lhs, rhs, threads);
}

/// `dst (+)= factor · lhs · rhs`, rows of `dst` being `dst_stride` values apart.
pub fn gemm_strided(
    dst: &mut [f32],
    dst_stride: usize,
    start: Dst,
    factor: f32,
    lhs: Mat<'_>,
    rhs: Mat<'_>,
    threads: Threads,
) {
    let (m, k, n) = (lhs.rows, lhs.cols, rhs.cols);
    assert_eq!(k, rhs.rows, "inner sizes of a product");
    if m == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * dst_stride + n <= dst.len() && (n <= dst_stride || m == 1), "destination of a product");
    let parallelism = match threads {
        // gemm splits by rayon; below this size one thread is faster
        Threads::All if m * n * k > 48 * 48 * 256 => gemm::Parallelism::Rayon(0),
        _ => gemm::Parallelism::None,
    };
    // SAFETY: all three matrices were checked to lie within their slices, and `dst` is borrowed exclusively.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            dst_stride as isize,
            start == Dst::Accumulate,
            lhs.data.as_ptr(),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.col_stride as isize,
            rhs.row_stride as isize,
            1.0,
            factor,
            false,
            false,
            false,
            parallelism,
        );
    }
}
