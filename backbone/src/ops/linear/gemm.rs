//! Matrix products on the CPU, behind slices that are checked against the sizes: our AVX-512 kernels where the
//! machine has AVX-512, the crate `gemm` elsewhere.

#[cfg(target_arch = "x86_64")]
use super::avx512;

/// A matrix in a slice, by strides.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a> {
    pub(super) data: &'a [f32],
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    pub(super) row_stride: usize,
    pub(super) col_stride: usize,
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

/// A product as described. Panics where sizes do not fit: they are the caller's arithmetic, not the user's data.
pub fn run(dst: &mut [f32], p: Product<'_>, threads: Threads) {
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
    portable(dst, p, parallel);
}

/// The product by the crate `gemm`, which has kernels for every machine.
fn portable(dst: &mut [f32], p: Product<'_>, parallel: bool) {
    let (m, k, n) = (p.lhs.rows, p.lhs.cols, p.rhs.cols);
    if let Some(bias) = p.bias {
        dst.chunks_mut(p.stride).for_each(|row| row[..n].copy_from_slice(bias));
    }
    let read_dst = p.start == Dst::Accumulate || p.bias.is_some();
    let parallelism = if parallel { gemm::Parallelism::Rayon(0) } else { gemm::Parallelism::None };
    // SAFETY: `run` has checked that `dst` holds the product, and `Mat` that its values lie within its slice; `dst`
    // is borrowed exclusively.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            p.stride as isize,
            read_dst,
            p.lhs.data.as_ptr(),
            p.lhs.col_stride as isize,
            p.lhs.row_stride as isize,
            p.rhs.data.as_ptr(),
            p.rhs.col_stride as isize,
            p.rhs.row_stride as isize,
            1.0,
            p.factor,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both implementations against plain sums in f64.
    #[test]
    fn every_form_matches_plain_sums() {
        let values = |len: usize, seed: usize| -> Vec<f32> {
            (0..len).map(|i| ((i * 7919 + seed * 31) % 1009) as f32 / 504.0 - 1.0).collect()
        };
        for (m, k, n) in [(1, 1, 1), (14, 8, 32), (15, 7, 33), (130, 400, 70), (3, 800, 17), (5, 0, 4)] {
            for (left_transposed, right_transposed) in
                [(false, false), (true, false), (false, true), (true, true)]
            {
                let (a, b) = (values(m * k, 1), values(k * n, 2));
                let lhs = if left_transposed { Mat::new(&a, k, m).transposed() } else { Mat::new(&a, m, k) };
                let rhs = if right_transposed { Mat::new(&b, n, k).transposed() } else { Mat::new(&b, k, n) };
                let at =
                    |m: Mat<'_>, r: usize, c: usize| f64::from(m.data[r * m.row_stride + c * m.col_stride]);
                let bias = values(n, 3);
                for (start, bias) in
                    [(Dst::Overwrite, None), (Dst::Accumulate, None), (Dst::Overwrite, Some(&bias[..]))]
                {
                    let stride = n + 3;
                    let before = values((m - 1) * stride + n, 4);
                    let p = Product { lhs, rhs, factor: 0.5, start, bias, stride };
                    let check = |dst: &[f32], what: &str| {
                        for r in 0..m {
                            for c in 0..stride.min(dst.len() - r * stride) {
                                let old = before[r * stride + c];
                                let found = dst[r * stride + c];
                                if c >= n {
                                    assert_eq!(found, old, "{what}: written outside");
                                    continue;
                                }
                                let sum: f64 = (0..k).map(|i| at(lhs, r, i) * at(rhs, i, c)).sum();
                                let first = match (start, bias) {
                                    (Dst::Accumulate, _) => f64::from(old),
                                    (_, Some(bias)) => f64::from(bias[c]),
                                    _ => 0.0,
                                };
                                let error = (f64::from(found) - (0.5 * sum + first)).abs();
                                assert!(error < 1e-4, "{what} {m}x{k}x{n} at {r},{c}: off by {error}");
                            }
                        }
                    };
                    for parallel in [false, true] {
                        let mut dst = before.clone();
                        portable(&mut dst, p, parallel);
                        check(&dst, "portable");
                        #[cfg(target_arch = "x86_64")]
                        if avx512::available() {
                            let mut dst = before.clone();
                            avx512::product(&mut dst, p, parallel);
                            check(&dst, "AVX-512");
                        }
                    }
                }
            }
        }
    }
}
