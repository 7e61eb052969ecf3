//! Row-major matrix product on plain slices, one thread: the initializers run one matrix a task.

/// Whether the right-hand matrix is used as stored or transposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rhs {
    /// `B` is (k, n).
    Plain,
    /// `B` is stored (n, k) and used transposed.
    Transposed,
}

/// `A B` or `A Bᵀ`.
///
/// # Shapes
/// `a`: (m, k); `b`: (k, n), or (n, k) if transposed; result: (m, n).
///
/// # Panics
/// If the slices do not have these lengths: a programming error of the caller within this crate.
pub(super) fn multiply((m, k, n): (usize, usize, usize), a: &[f32], b: &[f32], rhs: Rhs) -> Vec<f32> {
    assert_eq!((a.len(), b.len()), (m * k, k * n), "matrix product of ({m}, {k}) and ({k}, {n})");
    let mut out = vec![0.0_f32; m * n];
    let (b_col, b_row) = match rhs {
        Rhs::Plain => (1, n as isize),
        Rhs::Transposed => (k as isize, 1),
    };
    // SAFETY: the assertion above and the allocation of `out` make every element that the strides reach lie
    // inside its slice; `out` is exclusively borrowed and does not overlap the inputs.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            false,
            a.as_ptr(),
            1,
            k as isize,
            b.as_ptr(),
            b_col,
            b_row,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_by_hand() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(multiply((2, 3, 1), &a, &[1.0, 0.0, -1.0], Rhs::Plain), [-2.0, -2.0]);
        assert_eq!(multiply((2, 3, 2), &a, &a, Rhs::Transposed), [14.0, 32.0, 32.0, 77.0]);
    }
}
