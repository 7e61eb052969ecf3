//! SIMD chosen at run time, and the few functions of one variable that the kernels share.

pub use kat_images::simd::vectorized;

/// e^x to 2 ulp for x in [-87, 88], by 2^n · e^r with a degree-6 polynomial in r; clamped outside.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.3, 88.3);
    let n = (x * std::f32::consts::LOG2_E + 12_582_912.0) - 12_582_912.0;
    let r = x - n * 0.693_359_4;
    let r = r + n * 2.121_944_4e-4;
    let mut p = 1.987_569_2e-4f32;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5e-1;
    let y = p * r * r + r + 1.0;
    f32::from_bits(y.to_bits().wrapping_add(((n as i32) << 23) as u32))
}

/// erf(x) to 4e-7: the odd rational minimax approximation on [-4, 4], beyond which erf is 1 in f32.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let s = x * x;
    let mut p = -2.726_142_3e-10f32;
    p = p * s + 2.770_681_4e-8;
    p = p * s - 2.101_024e-6;
    p = p * s - 5.692_506_4e-5;
    p = p * s - 7.349_906_3e-4;
    p = p * s - 2.954_6e-3;
    p = p * s - 1.609_603_3e-2;
    let mut q = -1.456_607_2e-5f32;
    q = q * s - 2.133_740_6e-4;
    q = q * s - 1.682_827e-3;
    q = q * s - 7.373_329e-3;
    q = q * s - 1.426_473_9e-2;
    x * p / q
}

/// σ(x) = 1/(1 + e^-x), without overflow on either side.
#[inline(always)]
pub fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0 + 0.003;
            let exact = (x as f64).exp();
            assert!(((exp(x) as f64 - exact) / exact).abs() < 2.4e-7, "exp({x}) = {}", exp(x));
        }
    }

    #[test]
    fn erf_is_within_4e_7() {
        for i in -380..=380 {
            let x = i as f32 / 100.0;
            assert!((erf(x) as f64 - libm::erf(x as f64)).abs() < 4e-7, "erf({x}) = {}", erf(x));
        }
        assert_eq!(erf(9.0), erf(4.0));
    }
}
