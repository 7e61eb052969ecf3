//! Variance-preserving initialization.
//!
//! A linear layer `y = W h` with independent zero-mean weights of standard deviation σ gives
//! `E[y²] = fan_in σ² E[h²]`. If `h = F(x)` with `x ~ N(0, 1)`, unit variance at the output therefore needs
//!
//! `σ = gain(F) / √fan_in`, with `gain(F)² = 1 / E[F(x)²]`.
//!
//! In a GR-KAN layer `y = fc2(act2(fc1(act1(x))))`, `act1` starts as the identity (gain 1) and feeds `fc1`,
//! `act2` starts as GELU or swish and feeds `fc2`. So, for width d and hidden width r·d:
//!
//! | weight | fan_in | standard deviation |
//! |---|---|---|
//! | fc1 | d | `1 / √d` |
//! | fc2 | r·d | `gain(act2) / √(r·d)` |
//!
//! Biases are zero. The sum over `fan_in` terms makes the pre-activations of `act2` normal, which is what
//! the gain assumes; it is the second moment, not the variance about the mean, that counts, because `act2`
//! has a positive mean. gain² is 1 for the identity, 1 / (1/3 + 1/(2π√3)) = 2.3517 for GELU
//! and 2.8108 for swish; the constants in the published repository, 2.3568 and 2.8178, are sample estimates of
//! these, 0.2 % high.
//!
//! **What to expect of a stack without norms.** v = 1 is a fixed point of `v → gain² E[F(√v x)²]`, but a
//! repelling one for GELU and swish (its slope there is [`sensitivity`], above 1: both are nearer to linear for
//! larger inputs), and a sampled matrix is off by about `√(2/d)`. A stack of bare layers so drifts with
//! narrow widths, whereas in the model every GR-KAN layer sees a layer-normalized input and the deviations do
//! not compound.

use super::Activation;

/// `E[f(x)²]` for x ~ N(0, variance), by composite Simpson quadrature over ±12 standard deviations
/// with a node at 0, where relu has its kink; relative error below 1e-9 for the functions of [`Activation`].
pub fn second_moment(f: impl Fn(f64) -> f64, variance: f64) -> f64 {
    const INTERVALS: usize = 48_000;
    const REACH: f64 = 12.0;
    let h = 2.0 * REACH / INTERVALS as f64;
    let sigma = variance.sqrt();
    let term = |i: usize| {
        let z = (i as f64 - (INTERVALS / 2) as f64) * h;
        let density = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
        f(sigma * z).powi(2) * density
    };
    let inner: f64 = (1..INTERVALS).map(|i| term(i) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum();
    (term(0) + inner + term(INTERVALS)) * h / 3.0
}

/// The gain of an activation: `1 / √E[F(x)²]` for x ~ N(0, 1).
pub fn gain(activation: Activation) -> f64 {
    second_moment(|x| activation.evaluate(x), 1.0).sqrt().recip()
}

/// Standard deviation of the weights of a linear layer that follows `activation`: `gain / √fan_in`.
pub fn weight_std(activation: Activation, fan_in: usize) -> f32 {
    (gain(activation) / (fan_in.max(1) as f64).sqrt()) as f32
}

/// Slope of `log E[F(√v x)²]` over `log v` at v = 1: by how much one layer multiplies a small relative error
/// of the variance.
pub fn sensitivity(activation: Activation) -> f64 {
    let h = 1e-3_f64;
    let at = |e: f64| second_moment(|x| activation.evaluate(x), e.exp()).ln();
    (at(h) - at(-h)) / (2.0 * h)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::{Order, fit, random, tables};
    use crate::ops::rational::Denominator;
    use std::f64::consts::PI;

    #[test]
    fn gains_are_the_closed_forms_and_near_the_published_constants() {
        for (activation, squared) in [
            (Activation::Identity, 1.0),
            (Activation::Relu, 2.0),
            (Activation::LeakyRelu, 2.0 / (1.0 + 1e-4)),
            (Activation::Gelu, 1.0 / (1.0 / 3.0 + 1.0 / (2.0 * PI * 3.0_f64.sqrt()))),
        ] {
            let found = gain(activation).powi(2);
            assert!((found / squared - 1.0).abs() < 1e-8, "{activation}: {found} against {squared}");
        }
        // The constants in the published repository are sample estimates, 0.2 % from the integral.
        for (activation, published) in
            [(Activation::Gelu, 2.356_785_037_992_897_6), (Activation::Swish, 2.817_820_527_035_965_3)]
        {
            let found = gain(activation).powi(2);
            assert!((found / published - 1.0).abs() < 3e-3, "{activation}: {found} against {published}");
        }
    }

    #[test]
    fn rational_functions_have_the_moment_of_the_function_they_stand_for() {
        for activation in Activation::ALL {
            for form in [Denominator::Kernel, Denominator::Paper] {
                let c = tables::coefficients(activation, Order::default(), form).unwrap();
                let f = (&c.numerator[..], &c.denominator[..], form);
                let rational = second_moment(|x| fit::evaluate(f, x), 1.0);
                let exact = second_moment(|x| activation.evaluate(x), 1.0);
                assert!((rational / exact - 1.0).abs() < 5e-3, "{activation}: {rational} against {exact}");
            }
        }
    }

    /// One GR-KAN layer, on plain vectors: tokens × d in, tokens × d out.
    fn layer(x: &[f64], dims: (usize, usize), activation: Activation, seed: u64) -> Vec<f64> {
        let (d, hidden) = dims;
        let multiply = |x: &[f64], rows: usize, cols: usize, name: &str, std: f32| -> Vec<f64> {
            let w = random::normal(rows * cols, std, &mut random::stream(seed, name));
            x.chunks(cols)
                .flat_map(|t| {
                    w.chunks(cols)
                        .map(|row| row.iter().zip(t).map(|(&w, &x)| w as f64 * x).sum::<f64>())
                        .collect::<Vec<_>>()
                })
                .collect()
        };
        let h = multiply(x, hidden, d, "fc1", weight_std(Activation::Identity, d));
        let h: Vec<f64> = h.into_iter().map(|v| activation.evaluate(v)).collect();
        multiply(&h, d, hidden, "fc2", weight_std(activation, hidden))
    }

    #[test]
    fn twelve_normalized_layers_keep_unit_variance() {
        let (d, tokens) = (192, 24);
        for activation in [Activation::Gelu, Activation::Swish] {
            let start = random::normal(tokens * d, 1.0, &mut random::stream(1, "input"));
            let mut x: Vec<f64> = start.into_iter().map(f64::from).collect();
            let mut moments = Vec::new();
            for seed in 0..12 {
                x = layer(&x, (d, 4 * d), activation, seed);
                moments.push(x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64);
                // As the block's layer norm does before the next mixer.
                for token in x.chunks_mut(d) {
                    let mean = token.iter().sum::<f64>() / d as f64;
                    let var = token.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / d as f64;
                    token.iter_mut().for_each(|v| *v = (*v - mean) / var.sqrt());
                }
            }
            let mean = moments.iter().sum::<f64>() / 12.0;
            assert!((mean - 1.0).abs() < 0.1, "{activation}: mean {mean}, layers {moments:?}");
            assert!(moments.iter().all(|m| (m - 1.0).abs() < 0.3), "{activation}: {moments:?}");
        }
    }

    #[test]
    fn errors_of_the_variance_grow_for_smooth_activations_only() {
        assert!((sensitivity(Activation::Relu) - 1.0).abs() < 1e-6);
        for activation in [Activation::Gelu, Activation::Swish] {
            let s = sensitivity(activation);
            assert!(s > 1.0 && s < 1.5, "{activation}: {s}");
        }
    }
}
