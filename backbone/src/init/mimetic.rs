//! Mimetic initialization of self-attention (Trockman & Kolter, arXiv 2305.09828), as published KAT uses it.
//!
//! Trained transformers have `W_Q W_Kᵀ ≈ αZ + βI` in every head and `W_V W_proj ≈ αZ − βI`. The weights are
//! made so from the start: with `Z` of independent entries of variance 1/d (uniform, as published), and
//! `αZ ± βI = U S Vᵀ`, let `L = U √S` and `R = √S Vᵀ`.
//!
//! - Query and key of a head: the first D columns of `L` and of `Rᵀ`, so that `qᵀk` between tokens x and y is
//!   `xᵀ M_D y`, `M_D` the best rank-D approximation of `αZ + βI`. α = β = 0.7, a new Z for each head.
//! - Value and projection: `L` and `R` of `αZ − βI` are taken as the two layers' weights (out, in) as they
//!   stand, α = β = 0.4. The published code does not transpose here, and neither is it done here: the product of
//!   the layers is `R L`, whose trace equals that of `αZ − βI`.
//!
//! # Shapes
//! d width, D head width, H heads, d = H·D. Weights are (out, in), row-major.

use super::svd::{self, Svd};
use super::{InitError, random};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Strength of the random part and of the identity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Strength {
    /// α, the factor of Z.
    pub noise: f32,
    /// β with its sign, the factor of I.
    pub identity: f32,
}

/// The strengths of both products.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MimeticConfig {
    /// For W_Q W_Kᵀ, head by head.
    pub query_key: Strength,
    /// For W_V W_proj, over all heads.
    pub value_proj: Strength,
}

impl Default for MimeticConfig {
    /// As published for ViT and KAT: 0.7, +0.7 and 0.4, −0.4.
    fn default() -> Self {
        Self {
            query_key: Strength { noise: 0.7, identity: 0.7 },
            value_proj: Strength { noise: 0.4, identity: -0.4 },
        }
    }
}

/// Weights of one attention module.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionWeights {
    /// (3d, d): the rows of all heads' queries, then keys, then values.
    pub qkv: Vec<f32>,
    /// (d, d).
    pub proj: Vec<f32>,
}

/// Makes the weights of the attention module `name` of width `dim` with `heads` heads.
///
/// The numbers depend on `seed`, `name` and the dimensions only. Heads are computed in parallel; the modules
/// of a model can be as well.
///
/// # Errors
/// [`InitError::Dimension`] if `heads` does not divide `dim` or either is zero.
pub fn attention(
    (dim, heads): (usize, usize),
    config: MimeticConfig,
    (seed, name): (u64, &str),
) -> Result<AttentionWeights, InitError> {
    if heads == 0 || dim == 0 || !dim.is_multiple_of(heads) {
        let expected = format!("a positive multiple of the {heads} heads");
        return Err(InitError::Dimension { what: "attention width", found: dim, expected });
    }
    let head_dim = dim / heads;
    let (query_key, value_proj) = rayon::join(
        || -> Vec<(Vec<f32>, Vec<f32>)> {
            let head = |h| {
                let mut rng = random::stream(seed, &format!("{name}.mimetic.head{h}"));
                let matrix = target(dim, config.query_key, &mut rng);
                balanced(svd::leading(&matrix, dim, head_dim, &mut rng), dim)
            };
            (0..heads).into_par_iter().map(head).collect()
        },
        || {
            let mut rng = random::stream(seed, &format!("{name}.mimetic.value"));
            balanced(svd::full(&target(dim, config.value_proj, &mut rng), dim), dim)
        },
    );
    let mut qkv = Vec::with_capacity(3 * dim * dim);
    query_key.iter().for_each(|(query, _)| qkv.extend_from_slice(query));
    query_key.iter().for_each(|(_, key)| qkv.extend_from_slice(key));
    // `balanced` gives Lᵀ (rows are left vectors); the value weight is L itself.
    let (left_rows, right_rows) = value_proj;
    qkv.extend((0..dim).flat_map(|r| (0..dim).map(move |c| (r, c))).map(|(r, c)| left_rows[c * dim + r]));
    Ok(AttentionWeights { qkv, proj: right_rows })
}

/// `noise · Z + identity · I`, Z uniform of variance 1/d. (d, d), row-major.
fn target(d: usize, strength: Strength, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let mut matrix = random::uniform(d * d, strength.noise * (3.0 / d as f32).sqrt(), rng);
    matrix.iter_mut().step_by(d + 1).for_each(|v| *v += strength.identity);
    matrix
}

/// The two factors with the singular values shared evenly: rows √s u and √s v.
fn balanced(svd: Svd, d: usize) -> (Vec<f32>, Vec<f32>) {
    let Svd { mut scaled_left, singular, mut right } = svd;
    for ((left, right), s) in scaled_left.chunks_mut(d).zip(right.chunks_mut(d)).zip(&singular) {
        let root = s.sqrt();
        left.iter_mut().for_each(|v| *v /= root.max(f32::MIN_POSITIVE));
        right.iter_mut().for_each(|v| *v *= root);
    }
    (scaled_left, right)
}

#[cfg(test)]
mod tests {
    use super::super::matmul::{Rhs, multiply};
    use super::*;

    fn mean_of_diagonal(m: &[f32], d: usize) -> f32 {
        m.iter().step_by(d + 1).sum::<f32>() / d as f32
    }

    #[test]
    fn products_carry_the_identity_with_the_published_signs() {
        let (d, heads) = (96, 4);
        let w = attention((d, heads), MimeticConfig::default(), (1, "blocks.0.attn")).unwrap();
        assert_eq!((w.qkv.len(), w.proj.len()), (3 * d * d, d * d));
        let head_dim = d / heads;
        for h in 0..heads {
            let rows = |part: usize| &w.qkv[(part * d + h * head_dim) * d..][..head_dim * d];
            // The D largest singular values of αZ + βI. For α = β they end at α √(27/4) = 1.82 (wide limit).
            let gram = multiply((head_dim, d, head_dim), rows(0), rows(0), Rhs::Transposed);
            let keys = multiply((head_dim, d, head_dim), rows(1), rows(1), Rhs::Transposed);
            assert!(gram.iter().step_by(head_dim + 1).all(|&s| (0.9..1.95).contains(&s)));
            // Balanced: queries and keys have the same norms, and the vectors of a head are orthogonal.
            for (i, (g, k)) in gram.iter().zip(&keys).enumerate() {
                assert!((g - k).abs() < 5e-3, "{g} {k}");
                assert!(i % (head_dim + 1) == 0 || g.abs() < 5e-3, "{g}");
            }
        }
        let product = multiply((d, d, d), &w.proj, &w.qkv[2 * d * d..], Rhs::Plain);
        assert!((mean_of_diagonal(&product, d) + 0.4).abs() < 0.03);
    }

    #[test]
    fn value_times_projection_is_a_factorisation_of_the_target() {
        let d = 64;
        let strength = MimeticConfig::default().value_proj;
        let m = target(d, strength, &mut random::stream(9, "a.mimetic.value"));
        let w = attention((d, 2), MimeticConfig::default(), (9, "a")).unwrap();
        // L R = M exactly, L the value weight and R the projection.
        let back = multiply((d, d, d), &w.qkv[2 * d * d..], &w.proj, Rhs::Plain);
        assert!(back.iter().zip(&m).all(|(a, b)| (a - b).abs() < 1e-4));
        assert_eq!(w, attention((d, 2), MimeticConfig::default(), (9, "a")).unwrap());
        assert_ne!(w, attention((d, 2), MimeticConfig::default(), (9, "b")).unwrap());
    }

    #[test]
    fn heads_must_divide_the_width() {
        let error = attention((64, 5), MimeticConfig::default(), (0, "a")).unwrap_err().to_string();
        assert_eq!(error, "attention width: found 64, expected a positive multiple of the 5 heads");
        assert!(attention((64, 0), MimeticConfig::default(), (0, "a")).is_err());
    }
}
