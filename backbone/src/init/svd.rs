//! Singular value decompositions for the mimetic initialization: all of a square matrix, or its leading part.
//!
//! One-sided Jacobi (Hestenes 1958) makes the columns of a matrix orthogonal by plane rotations; their norms
//! are then the singular values. The leading part comes from subspace iteration with a Chebyshev filter
//! (Zhou & Saad 2007), with Jacobi for the small problem inside.
//!
//! Not faer's: 0.24 without default features adds 139 crates and 160 s of processor time to a clean release build
//! (`cargo build --release` of a program that calls `Mat::svd`), a sixth of that of the whole suite.

use super::matmul::{Rhs, multiply};
use super::random;
use rand_chacha::ChaCha8Rng;

/// Sweeps after which Jacobi stops in any case; random matrices converge in 5 to 8.
const SWEEPS: usize = 20;
/// Cosine between two vectors below which they are left as they are.
const ORTHOGONAL: f32 = 1e-5;
/// A sweep that met no cosine above this is the last: convergence is quadratic, so about 1e-5 is left.
const LAST: f32 = 3e-3;
/// Rows of a tile: two tiles of 768 floats a row take 48 KiB.
const TILE: usize = 8;
/// Degrees of the filter, one a round.
const DEGREES: [usize; 2] = [6, 9];

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
    orthogonalise(&mut left, d);
    let (left, singular) = sorted(left, d);
    let mut right = multiply((d, d, d), &left, matrix, Rhs::Plain);
    for (row, s) in right.chunks_exact_mut(d).zip(&singular) {
        let inverse = 1.0 / (s * s).max(f32::MIN_POSITIVE);
        row.iter_mut().for_each(|v| *v *= inverse);
    }
    Svd { scaled_left: left, singular, right }
}

/// The `count` largest singular triplets of a (d, d) row-major matrix.
///
/// For the random matrices of this module they capture the norm of the exact ones to 1e-3; the factor pair is
/// exact for what it spans.
pub fn leading(matrix: &[f32], d: usize, count: usize, rng: &mut ChaCha8Rng) -> Svd {
    // A block larger than asked for converges faster; near d the full decomposition is cheaper.
    let block = count + count / 2 + 8;
    let mut svd = if 2 * block >= d {
        full(matrix, d)
    } else {
        let columns = transpose(matrix, d);
        let gram = multiply((d, d, d), &columns, &columns, Rhs::Transposed);
        let mut svd = rayleigh_ritz(matrix, d, random::normal(block * d, 1.0, rng));
        for degree in DEGREES {
            let cut = svd.singular.last().map_or(0.0, |s| s * s).max(f32::MIN_POSITIVE);
            svd = rayleigh_ritz(matrix, d, chebyshev(&gram, (d, block), svd.right, (degree, cut)));
        }
        svd
    };
    svd.scaled_left.truncate(count * d);
    svd.right.truncate(count * d);
    svd.singular.truncate(count);
    svd
}

/// The singular triplets of the matrix restricted to the span of the rows of `basis`.
fn rayleigh_ritz(matrix: &[f32], d: usize, mut basis: Vec<f32>) -> Svd {
    orthonormalize(&mut basis, d);
    let block = basis.len() / d;
    let left = multiply((block, d, d), &basis, matrix, Rhs::Transposed);
    // Orthogonalising the rows of a symmetric positive matrix W Λ Wᵀ leaves the rows λᵢ wᵢᵀ. Small, and the
    // eigenvalues of the leading part lie within a factor of ten, so that squaring costs no accuracy.
    let mut gram = multiply((block, d, block), &left, &left, Rhs::Transposed);
    orthogonalise(&mut gram, block);
    let (mut rotation, values) = sorted(gram, block);
    for (row, value) in rotation.chunks_exact_mut(block).zip(&values) {
        let inverse = 1.0 / value.max(f32::MIN_POSITIVE);
        row.iter_mut().for_each(|v| *v *= inverse);
    }
    Svd {
        scaled_left: multiply((block, block, d), &rotation, &left, Rhs::Plain),
        singular: values.iter().map(|v| v.sqrt()).collect(),
        right: multiply((block, block, d), &rotation, &basis, Rhs::Plain),
    }
}

/// `T_degree((2/cut) G − 1)` applied to each row of `x`, G symmetric: damps what lies below `cut`, amplifies the
/// rest.
fn chebyshev(gram: &[f32], (d, block): (usize, usize), x: Vec<f32>, (degree, cut): (usize, f32)) -> Vec<f32> {
    let apply = |x: &[f32]| {
        let mut y = multiply((block, d, d), x, gram, Rhs::Plain);
        y.iter_mut().zip(x).for_each(|(g, x)| *g = 2.0 / cut * *g - x);
        y
    };
    let mut current = apply(&x);
    let mut previous = x;
    for _ in 1..degree {
        let mut next = apply(&current);
        next.iter_mut().zip(&previous).for_each(|(a, p)| *a = 2.0 * *a - p);
        previous = std::mem::replace(&mut current, next);
    }
    current
}

fn transpose(matrix: &[f32], d: usize) -> Vec<f32> {
    (0..d).flat_map(|c| (0..d).map(move |r| matrix[r * d + c])).collect()
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    // Sixteen partial sums twice: vectorizes without reordering a single chain of additions.
    let ((a_chunks, a_tail), (b_chunks, b_tail)) = (a.as_chunks::<32>(), b.as_chunks::<32>());
    let mut sums = [0.0_f32; 32];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..32 {
            sums[i] += a[i] * b[i];
        }
    }
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + tail
}

#[inline(always)]
fn rotate(a: &mut [f32], b: &mut [f32], c: f32, s: f32) {
    let ((a_chunks, a_tail), (b_chunks, b_tail)) = (a.as_chunks_mut::<16>(), b.as_chunks_mut::<16>());
    for (a, b) in a_chunks.iter_mut().zip(b_chunks) {
        for i in 0..16 {
            (a[i], b[i]) = (c * a[i] - s * b[i], s * a[i] + c * b[i]);
        }
    }
    for (a, b) in a_tail.iter_mut().zip(b_tail) {
        (*a, *b) = (c * *a - s * *b, s * *a + c * *b);
    }
}

/// Rotates the rows of `vectors` (each of length d) until they are orthogonal.
///
/// A sweep visits every pair once, tile by tile, so that the rows at work stay in the first-level cache.
fn orthogonalise(vectors: &mut [f32], d: usize) {
    pulp::Arch::new().dispatch(|| {
        let count = vectors.len() / d;
        for _ in 0..SWEEPS {
            let mut worst = 0.0_f32;
            let mut squares: Vec<f32> = vectors.chunks_exact(d).map(|v| dot(v, v)).collect();
            for tile_p in (0..count).step_by(TILE) {
                for tile_q in (tile_p..count).step_by(TILE) {
                    for p in tile_p..(tile_p + TILE).min(count) {
                        for q in tile_q.max(p + 1)..(tile_q + TILE).min(count) {
                            worst = worst.max(rotate_pair(vectors, &mut squares, (p, q), d));
                        }
                    }
                }
            }
            if worst <= LAST || !worst.is_finite() {
                break;
            }
        }
    });
}

/// Makes rows p < q orthogonal, keeping their squared norms up to date; returns the cosine that was between them.
#[inline(always)]
fn rotate_pair(vectors: &mut [f32], squares: &mut [f32], (p, q): (usize, usize), d: usize) -> f32 {
    let (head, tail) = vectors.split_at_mut(q * d);
    let (vp, vq) = (&mut head[p * d..(p + 1) * d], &mut tail[..d]);
    let product = dot(vp, vq);
    let cosine = product.abs() / (squares[p] * squares[q]).sqrt().max(f32::MIN_POSITIVE);
    if cosine > ORTHOGONAL {
        let zeta = (squares[q] - squares[p]) / (2.0 * product);
        let t = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
        let c = 1.0 / (1.0 + t * t).sqrt();
        rotate(vp, vq, c, c * t);
        squares[p] -= t * product;
        squares[q] += t * product;
    }
    cosine
}

/// Gram–Schmidt on the rows, twice for orthogonality to working precision.
fn orthonormalize(vectors: &mut [f32], d: usize) {
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

/// Rows in order of falling norm, and the norms.
fn sorted(vectors: Vec<f32>, d: usize) -> (Vec<f32>, Vec<f32>) {
    let norms: Vec<f32> = vectors.chunks_exact(d).map(|v| dot(v, v).sqrt()).collect();
    let mut order: Vec<usize> = (0..norms.len()).collect();
    order.sort_by(|&i, &j| norms[j].total_cmp(&norms[i]));
    let rows = order.iter().flat_map(|&i| vectors[i * d..(i + 1) * d].iter().copied()).collect();
    (rows, order.iter().map(|&i| norms[i]).collect())
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
