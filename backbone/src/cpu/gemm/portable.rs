//! Products by the crate `gemm`, which has kernels for every machine.

use super::{Dst, Whole};
use std::mem::MaybeUninit;

/// `dst (+)= factor · lhs · rhs`; the caller has checked that `dst` holds it.
pub(super) fn product(dst: &mut [MaybeUninit<f32>], p: Whole<'_>, parallel: bool) {
    let (m, k, n) = (p.lhs.rows, p.lhs.cols, p.rhs.cols);
    if let Some(bias) = p.bias {
        for row in dst.chunks_mut(p.stride) {
            row.iter_mut().zip(bias).for_each(|(slot, bias)| {
                slot.write(*bias);
            });
        }
    }
    let read_dst = p.start == Dst::Accumulate || p.bias.is_some();
    let parallelism = if parallel { gemm::Parallelism::Rayon(0) } else { gemm::Parallelism::None };
    // SAFETY: `run` has checked that `dst` holds the product, and `Mat` that its values lie within its slice; `dst`
    // is borrowed exclusively, and read only where it is added to, which its values are there for (the bias, or `run`'s).
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr().cast(),
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
