//! Small dense linear least squares by Householder QR, in double precision.

/// Solves `min ‖A x − y‖` for a tall dense matrix.
///
/// # Shapes
/// `a`: rows × cols, row-major, overwritten; `y`: rows, overwritten; the result has `cols` entries.
/// Returns `None` if `A` is rank-deficient to working precision or holds a number that is not finite.
pub fn solve(a: &mut [f64], y: &mut [f64], cols: usize) -> Option<Vec<f64>> {
    let rows = y.len();
    if cols == 0 || rows < cols || a.len() != rows * cols {
        return None;
    }
    let mut largest = 0.0_f64;
    for j in 0..cols {
        let norm = (j..rows).map(|r| a[r * cols + j].powi(2)).sum::<f64>().sqrt();
        largest = largest.max(norm);
        // A column that depends on those before it leaves nothing below the diagonal.
        if !norm.is_finite() || norm <= 1e-14 * largest {
            return None;
        }
        let pivot = a[j * cols + j];
        let alpha = if pivot > 0.0 { -norm } else { norm };
        // v = x − α e₁, H = I − 2 v vᵀ / vᵀv; vᵀv = 2 (norm² − α·pivot).
        a[j * cols + j] = pivot - alpha;
        let vtv = 2.0 * (norm * norm - alpha * pivot);
        for k in j + 1..cols {
            let dot: f64 = (j..rows).map(|r| a[r * cols + j] * a[r * cols + k]).sum();
            let scale = 2.0 * dot / vtv;
            for r in j..rows {
                a[r * cols + k] -= scale * a[r * cols + j];
            }
        }
        let dot: f64 = (j..rows).map(|r| a[r * cols + j] * y[r]).sum();
        let scale = 2.0 * dot / vtv;
        for r in j..rows {
            y[r] -= scale * a[r * cols + j];
        }
        a[j * cols + j] = alpha;
    }
    let mut x = vec![0.0; cols];
    for j in (0..cols).rev() {
        let known: f64 = (j + 1..cols).map(|k| a[j * cols + k] * x[k]).sum();
        x[j] = (y[j] - known) / a[j * cols + j];
    }
    x.iter().all(|v| v.is_finite()).then_some(x)
}

#[cfg(test)]
mod tests {
    use super::solve;

    #[test]
    fn fits_a_line_by_hand() {
        // y = 1 + 2t through (0,1), (1,3), (2,5) exactly; then one outlier moves it by the normal equations.
        let a = [1.0, 0.0, 1.0, 1.0, 1.0, 2.0];
        let x = solve(&mut a.clone(), &mut [1.0, 3.0, 5.0], 2).unwrap();
        assert!((x[0] - 1.0).abs() < 1e-12 && (x[1] - 2.0).abs() < 1e-12);
        let x = solve(&mut a.clone(), &mut [1.0, 3.0, 8.0], 2).unwrap();
        assert!((x[0] - 0.5).abs() < 1e-12 && (x[1] - 3.5).abs() < 1e-12);
    }

    #[test]
    fn refuses_dependent_columns_and_infinities() {
        assert!(solve(&mut [1.0, 2.0, 2.0, 4.0, 3.0, 6.0], &mut [1.0, 2.0, 3.0], 2).is_none());
        assert!(solve(&mut [f64::INFINITY, 1.0], &mut [1.0, 2.0], 1).is_none());
        assert!(solve(&mut [1.0], &mut [1.0], 2).is_none());
    }
}
