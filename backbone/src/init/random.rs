//! Seeded random tensors.
//!
//! One portable generator (ChaCha8), and one stream of it for each tensor name: the values of a tensor depend
//! on the seed and its own name only, not on the order in which tensors are made or on threads.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// A tensor's own random numbers.
pub type Stream = ChaCha8Rng;

/// The generator for the tensor `name` under `seed`.
pub fn stream(seed: u64, name: &str) -> Stream {
    // FNV-1a: stable across platforms and releases, unlike the standard library's hasher.
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ b as u64).wrapping_mul(0x0000_0100_0000_01b3));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(hash);
    rng
}

/// `len` values of N(0, std²).
pub fn normal(len: usize, std: f32, rng: &mut impl Rng) -> Vec<f32> {
    (0..len).map(|_| std * rng.sample::<f32, _>(StandardNormal)).collect()
}

/// `len` values of N(0, std²) cut to [-limit, limit] by drawing again.
///
/// `limit` is absolute, as in timm, not in standard deviations; it is raised to `std` if smaller, so that
/// drawing again ends.
pub fn truncated_normal(len: usize, std: f32, limit: f32, rng: &mut impl Rng) -> Vec<f32> {
    let limit = limit.max(std);
    let mut draw = || loop {
        let value = std * rng.sample::<f32, _>(StandardNormal);
        if value.abs() <= limit || value.is_nan() {
            return value;
        }
    };
    (0..len).map(|_| draw()).collect()
}

/// The initialization of ViT and published KAT linear layers and position embeddings:
/// standard deviation 0.02, cut at ±2.
pub fn vit_normal(len: usize, rng: &mut impl Rng) -> Vec<f32> {
    truncated_normal(len, 0.02, 2.0, rng)
}

/// `len` values uniform in [-limit, limit].
pub fn uniform(len: usize, limit: f32, rng: &mut impl Rng) -> Vec<f32> {
    (0..len).map(|_| limit * (2.0 * rng.random::<f32>() - 1.0)).collect()
}

/// Kaiming normal initialization: standard deviation `gain / √fan_in`.
pub fn kaiming_normal(len: usize, fan_in: usize, gain: f32, rng: &mut impl Rng) -> Vec<f32> {
    normal(len, gain / (fan_in.max(1) as f32).sqrt(), rng)
}

/// Kaiming uniform initialization: limit `gain √(3 / fan_in)`, the same variance as [`kaiming_normal`].
pub fn kaiming_uniform(len: usize, fan_in: usize, gain: f32, rng: &mut impl Rng) -> Vec<f32> {
    uniform(len, gain * (3.0 / fan_in.max(1) as f32).sqrt(), rng)
}

/// Xavier (Glorot) uniform initialization: limit `√(6 / (fan_in + fan_out))`.
///
/// timm and the published KAT treat the fused qkv weight as three square matrices: pass one third of its rows
/// as `fan_out`.
pub fn xavier_uniform(len: usize, fan_in: usize, fan_out: usize, rng: &mut impl Rng) -> Vec<f32> {
    uniform(len, (6.0 / (fan_in + fan_out).max(1) as f32).sqrt(), rng)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: &[f32]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| v as f64).sum::<f64>() / n;
        (mean, (values.iter().map(|&v| (v as f64 - mean).powi(2)).sum::<f64>() / n).sqrt())
    }

    #[test]
    fn a_tensor_depends_on_seed_and_name_only() {
        let a = normal(16, 1.0, &mut stream(7, "blocks.0.attn.qkv.weight"));
        assert_eq!(a, normal(16, 1.0, &mut stream(7, "blocks.0.attn.qkv.weight")));
        assert_ne!(a, normal(16, 1.0, &mut stream(7, "blocks.1.attn.qkv.weight")));
        assert_ne!(a, normal(16, 1.0, &mut stream(8, "blocks.0.attn.qkv.weight")));
    }

    #[test]
    fn spreads_are_as_asked() {
        let mut rng = stream(3, "spread");
        let n = 200_000;
        let close = |values: Vec<f32>, std: f64| {
            let (mean, found) = moments(&values);
            assert!(mean.abs() < 0.01 * std && (found / std - 1.0).abs() < 0.01, "{mean} {found} {std}");
        };
        close(vit_normal(n, &mut rng), 0.02);
        close(kaiming_normal(n, 64, 2.0, &mut rng), 0.25);
        close(kaiming_uniform(n, 64, 2.0, &mut rng), 0.25);
        close(xavier_uniform(n, 100, 200, &mut rng), (2.0_f64 / 300.0).sqrt());
    }

    #[test]
    fn the_cut_is_absolute_and_never_hangs() {
        let values = truncated_normal(50_000, 1.0, 2.0, &mut stream(0, "cut"));
        assert!(values.iter().all(|v| v.abs() <= 2.0));
        // N(0, 1) cut at ±2 has standard deviation 0.8796.
        assert!((moments(&values).1 - 0.8796).abs() < 0.01);
        assert_eq!(truncated_normal(4, 1.0, 0.0, &mut stream(0, "cut")).len(), 4);
    }
}
