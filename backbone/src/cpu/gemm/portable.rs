//! Products by the crate `gemm`, which has kernels for every machine.

use super::{Dst, Product};

/// `dst (+)= factor · lhs · rhs`; the caller has checked that `dst` holds it.
pub(super) fn product(dst: &mut [f32], p: Product<'_>, parallel: bool) {
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
