//! Row-major matrix product on plain slices, one thread: the initializers run one matrix a task.

use crate::cpu::gemm::{Dst, Mat, Threads, gemm};

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
    let b = match rhs {
        Rhs::Plain => Mat::new(b, k, n),
        Rhs::Transposed => Mat::new(b, n, k).transposed(),
    };
    let mut out = vec![0.0_f32; m * n];
    gemm(&mut out, Dst::Overwrite, Mat::new(a, m, k), b, Threads::One);
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
