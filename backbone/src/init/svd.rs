//! Singular value decompositions for the mimetic initialisation: all of a square matrix, or its leading part.
//!
//! One-sided Jacobi (Hestenes 1958) makes the columns of a matrix orthogonal by plane rotations; their norms
//! are then the singular values. The leading part comes from subspace iteration with a Chebyshev filter
//! (Zhou & Saad 2007), with Jacobi for the small problem inside.

use super::matmul::{Rhs, multiply};
use super::random;
use rand_chacha::ChaCha8Rng;

/// Sweeps after which Jacobi stops in any case; random matrices converge in 6 to 9.
const SWEEPS: usize = 20;
/// Cosine between two vectors below which they count as orthogonal: f32 noise in a sum of ~1,000 products.
const ORTHOGONAL: f32 = 2e-6;
/// Rounds of filter and projection, and the filter's degree.
const ROUNDS: usize = 4;
const DEGREE: usize = 8;

/// A (partial) decomposition `M ≈ Σ s_i u_i v_iᵀ`, largest first.
///
/// # Shapes
/// `scaled_left`: (k, d), row i is `s_i u_i`; `singular`: k; `right`: (k, d), row i is `v_i`.
#[derive(Debug, Clone)]
pub struct Svd {
    /// Left vectors times singular values.
    pub scaled_left: Vec<f32>,
    /// Singular values, descending.
    pub singular: Vec<f32>,
    /// Right vectors.
    pub right: Vec<f32>,
}

/// All singular triplets of a (d, d) row-major matrix.
pub fn full(matrix: &[f32], d: usize) -> Svd {
    // Orthogonalising the columns of M gives U S = M V; V then follows as Mᵀ U S⁻¹ without having been carried.
    let mut left = transpose(matrix, d);
    orthogonalise(&mut left, &mut [], d);
    let (left, singular, _) = sorted(left, Vec::new(), d);
    let mut right = multiply((d, d, d), &left, matrix, Rhs::Plain);
    for (row, s) in right.chunks_exact_mut(d).zip(&singular) {
        let inverse = 1.0 / (s * s).max(f32::MIN_POSITIVE);
        row.iter_mut().for_each(|v| *v *= inverse);
    }
    Svd { scaled_left: left, singular, right }
}

/// The `count` largest singular triplets of a (d, d) row-major matrix.
///
/// For the random matrices of this module they span the leading space to about 1e-3 in captured norm;
/// the factor pair is exact for what it spans.
pub fn leading(matrix: &[f32], d: usize, count: usize, rng: &mut ChaCha8Rng) -> Svd {
    // A block larger than asked for converges faster; near d the full decomposition is cheaper.
    let block = count + count / 2 + 8;
    let mut svd = if 2 * block >= d {
        full(matrix, d)
    } else {
        let mut basis = random::normal(block * d, 1.0, rng);
        let mut round = 0;
        loop {
            orthonormalise(&mut basis, d);
            let mut left = multiply((block, d, d), &basis, matrix, Rhs::Transposed);
            orthogonalise(&mut left, &mut basis, d);
            let (left, singular, right) = sorted(left, basis, d);
            round += 1;
            if round > ROUNDS {
                break Svd { scaled_left: left, singular, right };
            }
            let cut = singular.last().map_or(0.0, |s| s * s);
            basis = chebyshev(matrix, (d, block), right, cut.max(f32::MIN_POSITIVE));
        }
    };
    svd.scaled_left.truncate(count * d);
    svd.right.truncate(count * d);
    svd.singular.truncate(count);
    svd
}

/// `T_DEGREE((2/cut) MᵀM − 1)` applied to each row of `x`: damps what lies below `cut`, amplifies the rest.
fn chebyshev(matrix: &[f32], (d, block): (usize, usize), x: Vec<f32>, cut: f32) -> Vec<f32> {
    let apply = |x: &[f32]| {
        let left = multiply((block, d, d), x, matrix, Rhs::Transposed);
        let gram = multiply((block, d, d), &left, matrix, Rhs::Plain);
        gram.into_iter().zip(x).map(|(g, x)| 2.0 / cut * g - x).collect::<Vec<f32>>()
    };
    let mut current = apply(&x);
    let mut previous = x;
    for _ in 1..DEGREE {
        let next = apply(&current).into_iter().zip(&previous).map(|(a, p)| 2.0 * a - p).collect();
        previous = std::mem::replace(&mut current, next);
    }
    current
}

fn transpose(matrix: &[f32], d: usize) -> Vec<f32> {
    (0..d).flat_map(|c| (0..d).map(move |r| matrix[r * d + c])).collect()
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    // Sixteen partial sums: vectorises without reordering a single chain of additions.
    let mut sums = [0.0_f32; 16];
    let (a_chunks, b_chunks) = (a.chunks_exact(16), b.chunks_exact(16));
    let tail: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((s, a), b) in sums.iter_mut().zip(a).zip(b) {
            *s += a * b;
        }
    }
    sums.iter().sum::<f32>() + tail
}

#[inline(always)]
fn rotate(a: &mut [f32], b: &mut [f32], c: f32, s: f32) {
    for (a, b) in a.iter_mut().zip(b) {
        (*a, *b) = (c * *a - s * *b, s * *a + c * *b);
    }
}

/// Rotates the rows of `vectors` (each of length d) until they are orthogonal, and those of `companions`
/// alike (empty: none).
fn orthogonalise(vectors: &mut [f32], companions: &mut [f32], d: usize) {
    pulp::Arch::new().dispatch(|| {
        let count = vectors.len() / d;
        for _ in 0..SWEEPS {
            let mut worst = 0.0_f32;
            let mut squares: Vec<f32> = vectors.chunks_exact(d).map(|v| dot(v, v)).collect();
            for p in 0..count {
                for q in p + 1..count {
                    let (head, tail) = vectors.split_at_mut(q * d);
                    let (vp, vq) = (&mut head[p * d..(p + 1) * d], &mut tail[..d]);
                    let product = dot(vp, vq);
                    let cosine = product.abs() / (squares[p] * squares[q]).sqrt().max(f32::MIN_POSITIVE);
                    worst = worst.max(cosine);
                    if cosine <= ORTHOGONAL {
                        continue;
                    }
                    let zeta = (squares[q] - squares[p]) / (2.0 * product);
                    let t = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                    let c = 1.0 / (1.0 + t * t).sqrt();
                    rotate(vp, vq, c, c * t);
                    squares[p] -= t * product;
                    squares[q] += t * product;
                    if !companions.is_empty() {
                        let (head, tail) = companions.split_at_mut(q * d);
                        rotate(&mut head[p * d..(p + 1) * d], &mut tail[..d], c, c * t);
                    }
                }
            }
            if worst <= 10.0 * ORTHOGONAL || !worst.is_finite() {
                break;
            }
        }
    });
}

/// Gram–Schmidt on the rows, twice for orthogonality to working precision.
fn orthonormalise(vectors: &mut [f32], d: usize) {
    pulp::Arch::new().dispatch(|| {
        for i in 0..vectors.len() / d {
            let (done, rest) = vectors.split_at_mut(i * d);
            let current = &mut rest[..d];
            for _ in 0..2 {
                // Scaled first: the filter's output spans many powers of ten.
                let norm = dot(current, current).sqrt().max(f32::MIN_POSITIVE);
                current.iter_mut().for_each(|v| *v /= norm);
                for earlier in done.chunks_exact(d) {
                    let overlap = dot(earlier, current);
                    current.iter_mut().zip(earlier).for_each(|(c, e)| *c -= overlap * e);
                }
            }
            let norm = dot(current, current).sqrt().max(f32::MIN_POSITIVE);
            current.iter_mut().for_each(|v| *v /= norm);
        }
    });
}

/// Rows in order of falling norm, the norms, and the companions in the same order.
fn sorted(vectors: Vec<f32>, companions: Vec<f32>, d: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let norms: Vec<f32> = vectors.chunks_exact(d).map(|v| dot(v, v).sqrt()).collect();
    let mut order: Vec<usize> = (0..norms.len()).collect();
    order.sort_by(|&i, &j| norms[j].total_cmp(&norms[i]));
    let take = |rows: &[f32]| -> Vec<f32> {
        if rows.is_empty() {
            return Vec::new();
        }
        order.iter().flat_map(|&i| rows[i * d..(i + 1) * d].iter().copied()).collect()
    };
    (take(&vectors), order.iter().map(|&i| norms[i]).collect(), take(&companions))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(d: usize) -> Vec<f32> {
        let mut m = random::normal(d * d, 0.7 / (d as f32).sqrt(), &mut random::stream(5, "svd"));
        (0..d).for_each(|i| m[i * d + i] += 0.7);
        m
    }

    #[test]
    fn the_full_decomposition_multiplies_back_and_is_orthogonal() {
        let d = 50;
        let m = sample(d);
        let svd = full(&m, d);
        let back = multiply((d, d, d), &transpose(&svd.scaled_left, d), &svd.right, Rhs::Plain);
        assert!(back.iter().zip(&m).all(|(a, b)| (a - b).abs() < 1e-4));
        assert!(svd.singular.windows(2).all(|w| w[0] >= w[1]));
        let gram = multiply((d, d, d), &svd.right, &svd.right, Rhs::Transposed);
        for (i, row) in gram.chunks(d).enumerate() {
            assert!(row.iter().enumerate().all(|(j, g)| (g - f32::from(u8::from(i == j))).abs() < 2e-3));
        }
    }

    #[test]
    fn the_leading_part_agrees_with_the_full_one() {
        let d = 160;
        let m = sample(d);
        let (all, part) = (full(&m, d), leading(&m, d, 16, &mut random::stream(0, "start")));
        for (a, b) in all.singular.iter().zip(&part.singular) {
            assert!((a - b).abs() < 2e-3 * a, "{a} {b}");
        }
        // The spans agree: all of the norm of the exact leading vectors lies in the found space.
        let overlap = multiply((16, d, 16), &all.right[..16 * d], &part.right, Rhs::Transposed);
        let captured: f32 = overlap.iter().map(|v| v * v).sum::<f32>() / 16.0;
        assert!(captured > 0.999, "{captured}");
    }
}
