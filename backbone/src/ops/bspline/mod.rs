//! The functions of a B-spline KAN's edges: cubic B-splines on equal knots, and a factor for each edge.

#[cfg(feature = "cuda")]
mod cuda;

use crate::cpu::simd::vectorized;
use crate::cpu::{Cpu, GRAIN, build};
use crate::error::{Error, Result};
use crate::tensor::{Backend, Graph, Tensor};
use rayon::prelude::*;

/// KAN edges on a device.
pub trait BsplineKernel: Backend {
    /// The `basis` B-splines of every element, side by side.
    ///
    /// # Errors
    /// The device refuses.
    fn spline_forward(&self, x: Self::View<'_>, basis: usize) -> Result<Self::Buf>;
    /// The gradient at x.
    ///
    /// # Errors
    /// The device refuses.
    fn spline_backward(&self, x: Self::View<'_>, dy: Self::View<'_>, basis: usize) -> Result<Self::Buf>;
    /// `a[row, k] · factors[row]`.
    ///
    /// # Errors
    /// The device refuses.
    fn scale_rows(&self, a: Self::View<'_>, factors: Self::View<'_>) -> Result<Self::Buf>;
    /// `Σ_k a[row, k] b[row, k]`.
    ///
    /// # Errors
    /// The device refuses.
    fn dot_rows(&self, a: Self::View<'_>, b: Self::View<'_>, rows: usize) -> Result<Self::Buf>;
}

/// `basis` cubic B-splines of every element, centerd at equal distances over [-1, 1] (at 0 if there is one).
///
/// # Shapes
/// x (…, C) → (…, C · basis).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn spline_basis<D: BsplineKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    basis: usize,
) -> Result<Tensor<D>> {
    if basis == 0 || x.shape().rank() == 0 {
        return Err(Error::config("B-spline basis", "needs at least one function and one axis"));
    }
    let y = x.device().spline_forward(x.view(), basis)?;
    let shape = x.shape().with_last(x.shape().last() * basis);
    graph.record(x.device(), y, shape, &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().spline_backward(x.view(), D::view_buf(&dy), basis)?;
            grads.add(&x, dx)
        }
    })
}

/// Each row of `a` times its factor.
///
/// # Shapes
/// a (R, K), factors (R) → (R, K).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn scale_rows<D: BsplineKernel>(
    graph: &mut Graph<D>,
    a: &Tensor<D>,
    factors: &Tensor<D>,
) -> Result<Tensor<D>> {
    let [rows, _] = a.axes("scale_rows", "rows (R, K)")?;
    if factors.shape().axes() != [rows] {
        return Err(Error::shape("scale_rows", "the factors", format!("[{rows}]"), factors.shape()));
    }
    let y = a.device().scale_rows(a.view(), factors.view())?;
    graph.record(a.device(), y, a.shape(), &[a, factors], || {
        let (a, factors) = (a.clone(), factors.clone());
        move |dy, grads| {
            let (device, dy) = (a.device(), D::view_buf(&dy));
            grads.add(&factors, device.dot_rows(a.view(), dy, rows)?)?;
            grads.add(&a, device.scale_rows(dy, factors.view())?)
        }
    })
}

/// Center of function `k` and distance of centers.
pub fn knots(basis: usize) -> (f32, f32) {
    if basis == 1 { (0.0, 1.0) } else { (-1.0, 2.0 / (basis - 1) as f32) }
}

/// The cardinal cubic B-spline, support (-2, 2).
#[inline(always)]
fn spline(t: f32) -> f32 {
    let t = t.abs();
    let inner = (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0;
    let rest = (2.0 - t).max(0.0);
    if t < 1.0 { inner } else { rest * rest * rest / 6.0 }
}

/// Its derivative.
#[inline(always)]
fn spline_slope(t: f32) -> f32 {
    let a = t.abs();
    let inner = -2.0 * a + 1.5 * a * a;
    let rest = (2.0 - a).max(0.0);
    let slope = if a < 1.0 { inner } else { -0.5 * rest * rest };
    if t < 0.0 { -slope } else { slope }
}

impl BsplineKernel for Cpu {
    fn spline_forward(&self, x: &[f32], basis: usize) -> Result<Vec<f32>> {
        let (first, step) = knots(basis);
        let task = (GRAIN / basis).max(1);
        Ok(build(x.len() * basis, |y| {
            y.par_chunks(task * basis).zip(x.par_chunks(task)).for_each(|(y, x)| {
                let y = y.zeroed();
                vectorized(
                    #[inline(always)]
                    || {
                        for (y, x) in y.chunks_exact_mut(basis).zip(x) {
                            for (k, y) in y.iter_mut().enumerate() {
                                *y = spline((x - first) / step - k as f32);
                            }
                        }
                    },
                )
            });
        }))
    }

    fn spline_backward(&self, x: &[f32], dy: &[f32], basis: usize) -> Result<Vec<f32>> {
        let (first, step) = knots(basis);
        Ok(build(x.len(), |dx| {
            let parts = dx.par_chunks(GRAIN).zip(x.par_chunks(GRAIN));
            parts.zip(dy.par_chunks(GRAIN * basis)).for_each(|((dx, x), dy)| {
                vectorized(
                    #[inline(always)]
                    || {
                        dx.write(x.iter().zip(dy.chunks_exact(basis)).map(|(x, dy)| {
                            let slope = |(k, dy): (usize, &f32)| {
                                dy * spline_slope((x - first) / step - k as f32) / step
                            };
                            dy.iter().enumerate().map(slope).sum()
                        }));
                    },
                )
            });
        }))
    }

    fn scale_rows(&self, a: &[f32], factors: &[f32]) -> Result<Vec<f32>> {
        let width = (a.len() / factors.len().max(1)).max(1);
        Ok(build(a.len(), |y| {
            let task = (GRAIN / width).max(1);
            let rows = a.par_chunks(task * width).zip(factors.par_chunks(task));
            y.par_chunks(task * width).zip(rows).for_each(|(y, (a, factors))| {
                for (y, factor) in y.copy_from(a).chunks_exact_mut(width).zip(factors) {
                    y.iter_mut().for_each(|y| *y *= factor);
                }
            });
        }))
    }

    fn dot_rows(&self, a: &[f32], b: &[f32], rows: usize) -> Result<Vec<f32>> {
        let width = (a.len() / rows.max(1)).max(1);
        let pairs = a.par_chunks(width).zip(b.par_chunks(width)).with_min_len(GRAIN / width);
        let mut dots: Vec<f32> = pairs.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b).sum()).collect();
        // rows of no values
        dots.resize(rows, 0.0);
        Ok(dots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::Case;
    use crate::ops::silu;

    #[test]
    fn silu_and_scaled_rows_match() {
        Case::new().input([5, 3], -6.0..6.0).input([5], -1.0..1.0).gradients_match(
            |graph, t| {
                let x = silu(graph, &t[0])?;
                scale_rows(graph, &x, &t[1])
            },
            |t| {
                let silu = |x: f64| x / (1.0 + (-x).exp());
                t[0].iter().enumerate().map(|(i, x)| silu(*x) * t[1][i / 3]).collect()
            },
            2e-6,
        );
    }

    #[test]
    fn splines_match_the_recursion_of_de_boor() {
        fn b(k: i32, t: f64, start: f64) -> f64 {
            if k == 0 {
                return if (start..start + 1.0).contains(&t) { 1.0 } else { 0.0 };
            }
            let n = f64::from(k);
            (t - start) / n * b(k - 1, t, start) + (start + n + 1.0 - t) / n * b(k - 1, t, start + 1.0)
        }
        for basis in [1, 2, 5] {
            let (first, step) = knots(basis);
            Case::new().input([30], -2.5..2.5).gradients_match(
                |graph, t| spline_basis(graph, &t[0], basis),
                |t| {
                    let value =
                        |x: &f64, k: usize| b(3, (x - f64::from(first)) / f64::from(step) - k as f64, -2.0);
                    t[0].iter().flat_map(|x| (0..basis).map(move |k| value(x, k))).collect()
                },
                1e-5,
            );
        }
    }
}
