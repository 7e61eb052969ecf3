//! The group rational in plain loops and f64, to compare the kernels with.

use super::{Denominator, Geometry};

/// y of `x`, coefficients as the op takes them.
pub fn forward(x: &[f64], a: &[f64], b: &[f64], geometry: &Geometry) -> Vec<f64> {
    let group_size = geometry.channels / geometry.groups;
    x.iter()
        .enumerate()
        .map(|(i, &x)| {
            let g = i % geometry.channels / group_size;
            let a_row = if geometry.numerator_groups == 1 { 0 } else { g } * geometry.numerator_len;
            let b_row = if geometry.denominator_groups == 1 { 0 } else { g } * geometry.denominator_len;
            let p: f64 = (0..geometry.numerator_len).map(|i| a[a_row + i] * x.powi(i as i32)).sum();
            let terms = |of: fn(f64) -> f64, x: f64| -> f64 {
                (0..geometry.denominator_len).map(|j| of(b[b_row + j]) * x.powi(j as i32 + 1)).sum()
            };
            p / (1.0
                + match geometry.form {
                    Denominator::Kernel => terms(f64::abs, x.abs()),
                    Denominator::Paper => terms(|b| b, x).abs(),
                })
        })
        .collect()
}
