//! The error function in double precision, for the exact GELU.
//!
//! `erf(x) = 2/√π Σ (-1)^k x^(2k+1) / (k! (2k+1))` for |x| < 2.5, and the continued fraction of erfc beyond
//! (Abramowitz & Stegun 7.1.6 in its all-positive form, and 7.1.14).

/// erf(x), absolute error below 1e-14.
pub fn erf(x: f64) -> f64 {
    let ax = x.abs();
    if ax < 2.5 {
        // 2/√π e^(-x²) Σ 2^k x^(2k+1) / (1·3·…·(2k+1)): every term positive, no cancellation.
        let (mut term, mut sum) = (x, x);
        for k in 1..200 {
            term *= 2.0 * x * x / (2 * k + 1) as f64;
            sum += term;
            if term.abs() < 1e-17 * sum.abs() {
                break;
            }
        }
        return std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum;
    }
    if ax > 6.0 {
        return x.signum();
    }
    // erfc(x) = e^(-x²)/√π · 1/(x + (1/2)/(x + 1/(x + (3/2)/(x + …)))), evaluated from the inside.
    let mut tail = ax;
    for k in (1..=60).rev() {
        tail = ax + 0.5 * k as f64 / tail;
    }
    let erfc = (-ax * ax).exp() / (std::f64::consts::PI.sqrt() * tail);
    x.signum() * (1.0 - erfc)
}

#[cfg(test)]
mod tests {
    use super::erf;

    #[test]
    fn values_from_the_tables_and_both_branches_meet() {
        // Abramowitz & Stegun, table 7.1.
        for (x, want) in
            [(0.0, 0.0), (0.5, 0.520_499_877_813), (1.0, 0.842_700_792_950), (2.0, 0.995_322_265_019)]
        {
            assert!((erf(x) - want).abs() < 1e-12, "erf({x}) = {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
        assert!((erf(2.5 - 1e-12) - erf(2.5 + 1e-12)).abs() < 1e-13);
        assert_eq!(erf(9.0), 1.0);
    }
}
