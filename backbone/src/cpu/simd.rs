//! SIMD chosen at run time, and the few functions of one variable that the kernels share.

pub use kat_images::simd::vectorized;

/// e^x to 2 ulp for x in [-87, 88], by 2^n · e^r with a degree-6 polynomial in r; clamped outside.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // 1.5 · 2²³: what is added to it is rounded to an integer, which are then the lowest bits. Converted to one by a cast, which
    // saturates, it would be so number by number.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.3, 88.3);
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-0.693_359_4, clamped);
    let r = n.mul_add(2.121_944_4e-4, r);
    let mut p = 1.987_569_2e-4f32;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1] {
        p = p.mul_add(r, c);
    }
    let y = (p * r).mul_add(r, r) + 1.0;
    let y = f32::from_bits(y.to_bits().wrapping_add(shifted.to_bits() << 23));
    // of a NaN the lowest bits are anything
    if x.is_nan() { x } else { y }
}

/// As [`coarse_reciprocal`] to the last digits, by a step more; for x below 0 too.
#[inline(always)]
pub fn reciprocal(x: f32) -> f32 {
    let third = coarse_reciprocal(x);
    third * (-x).mul_add(third, 2.0)
}

/// Asks for the cache line at an address, which need not be one of anything.
#[inline(always)]
pub fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction is on every x86-64, and reads nothing.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// The values of lanes. The compiler makes vectors of it where a loop over parts of memory, which might overlap for all that it
/// knows, stays one by one, and where `array::map` becomes calls.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "as above")]
pub fn lanes<const N: usize>(f: impl Fn(usize) -> f32) -> [f32; N] {
    let mut values = [0.0; N];
    for l in 0..N {
        values[l] = f(l);
    }
    values
}

/// Brings a power of two of lanes together by halves: each step is one vector operation, where one after the other would wait for
/// each before.
#[inline(always)]
pub fn fold<const N: usize>(mut lanes: [f32; N], f: impl Fn(f32, f32) -> f32) -> f32 {
    const { assert!(N.is_power_of_two()) };
    let mut half = N / 2;
    while half > 0 {
        for l in 0..half {
            lanes[l] = f(lanes[l], lanes[l + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// erf(x) to 4e-7: the odd rational minimax approximation on [-4, 4], beyond which erf is 1 in f32.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    erf_by(x, |p, q| p / q)
}

/// As [`erf`], with a division of the caller's.
#[inline(always)]
pub fn erf_by(x: f32, divide: impl Fn(f32, f32) -> f32) -> f32 {
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
    divide(x * p, q)
}

/// σ(x) = 1/(1 + e^-x), without overflow on either side.
#[inline(always)]
pub fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// 1/x to 1.2e-5 for x in [2⁻⁶⁰, 2⁶⁰], where the quotient is rounded to bfloat16: a division takes as long as all the rest of a
/// rational function. Two of Newton's steps from a line through the logarithm (the bits), which is 12 % off at most.
#[inline(always)]
pub fn coarse_reciprocal(x: f32) -> f32 {
    let first = f32::from_bits(0x7ef3_11c3u32.wrapping_sub(x.to_bits()));
    let second = first * (-x).mul_add(first, 2.0);
    second * (-x).mul_add(second, 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarse_reciprocal_is_as_exact_as_it_says() {
        for i in 0..100_000 {
            let x = f32::from_bits(0x2180_0000 + i * 0x28f1);
            let error = (f64::from(coarse_reciprocal(x)) * f64::from(x) - 1.0).abs();
            assert!(error < 1.2e-5, "{x}: {error}");
        }
        assert!(coarse_reciprocal(f32::NAN).is_nan());
    }

    #[test]
    fn exp_is_within_two_ulp() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0 + 0.003;
            let exact = (x as f64).exp();
            assert!(((exp(x) as f64 - exact) / exact).abs() < 2.4e-7, "exp({x}) = {}", exp(x));
        }
    }

    #[test]
    fn exp_of_what_is_no_number_is_none() {
        for bits in [0x7fc0_0000, 0x7fc0_0001, 0x7f80_0001, 0xffc0_1234] {
            assert!(exp(f32::from_bits(bits)).is_nan(), "{bits:x}");
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(f32::INFINITY) > 1e38);
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
