//! GELU, exact form: x Φ(x) = x/2 (1 + erf(x/√2)).

#[cfg(feature = "cuda")]
mod cuda;

use crate::cpu::simd::{erf, exp, vectorized};
use crate::cpu::{Cpu, GRAIN, overwritten};
use crate::device::Device;
use crate::error::Result;
use crate::tensor::Backend;
use crate::tensor::Graph;
use crate::tensor::Tensor;
use rayon::prelude::*;
use std::f32::consts::FRAC_1_SQRT_2;

/// GELU on a device.
pub trait GeluKernel: Backend {
    /// x Φ(x).
    fn gelu_forward(&self, x: Self::View<'_>) -> Result<Self::Buf>;
    /// dy (Φ(x) + x φ(x)), in place of dy.
    fn gelu_backward(&self, x: Self::View<'_>, dy: Self::Buf) -> Result<Self::Buf>;
}

/// GELU of every element; any shape.
pub fn gelu<D: Device>(graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
    let y = x.device().gelu_forward(x.view())?;
    graph.record(x.device(), y, x.shape(), &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().gelu_backward(x.view(), dy)?;
            grads.add(&x, dx)
        }
    })
}

impl GeluKernel for Cpu {
    fn gelu_forward(&self, x: &[f32]) -> Result<Vec<f32>> {
        Ok(overwritten(x.len(), |y| {
            y.par_chunks_mut(GRAIN).zip(x.par_chunks(GRAIN)).for_each(|(y, x)| {
                vectorized(
                    #[inline(always)]
                    || {
                        for (y, x) in y.iter_mut().zip(x) {
                            *y = x * 0.5 * (1.0 + erf(x * FRAC_1_SQRT_2));
                        }
                    },
                )
            })
        }))
    }

    fn gelu_backward(&self, x: &[f32], mut dy: Vec<f32>) -> Result<Vec<f32>> {
        const INV_SQRT_2PI: f32 = 0.398_942_3;
        dy.par_chunks_mut(GRAIN).zip(x.par_chunks(GRAIN)).for_each(|(dy, x)| {
            vectorized(
                #[inline(always)]
                || {
                    for (dy, x) in dy.iter_mut().zip(x) {
                        let cdf = 0.5 * (1.0 + erf(x * FRAC_1_SQRT_2));
                        *dy *= cdf + x * INV_SQRT_2PI * exp(-0.5 * x * x);
                    }
                },
            )
        });
        Ok(dy)
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::check::Case;

    #[test]
    fn matches_the_definition() {
        // erf by its Taylor series in f64
        let erf = |x: f64| {
            let (mut term, mut sum) = (x, x);
            for n in 1..200 {
                term *= -x * x / n as f64;
                sum += term / (2 * n + 1) as f64;
            }
            sum * std::f64::consts::FRAC_2_SQRT_PI
        };
        Case::new().input([3, 50], -5.0..5.0).gradients_match(
            |graph, t| super::gelu(graph, &t[0]),
            |t| t[0].iter().map(|x| x / 2.0 * (1.0 + erf(x / 2f64.sqrt()))).collect(),
            1e-6,
        );
    }
}
