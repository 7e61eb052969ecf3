//! ReLU, max(x, 0), and the logistic function 1/(1 + e^-x).

#[cfg(feature = "cuda")]
mod cuda;

use crate::cpu::simd::{exp, vectorized};
use crate::cpu::{Cpu, GRAIN, overwritten};
use crate::device::Device;
use crate::error::Result;
use crate::tensor::Backend;
use crate::tensor::Graph;
use crate::tensor::Tensor;
use rayon::prelude::*;

/// ReLU and the logistic function on a device.
pub trait ReluKernel: Backend {
    /// max(x, 0).
    fn relu_forward(&self, x: Self::View<'_>) -> Result<Self::Buf>;
    /// dy where x > 0, in place of dy.
    fn relu_backward(&self, x: Self::View<'_>, dy: Self::Buf) -> Result<Self::Buf>;
    /// σ(x).
    fn sigmoid_forward(&self, x: Self::View<'_>) -> Result<Self::Buf>;
    /// dy σ(x) (1 - σ(x)), in place of dy.
    fn sigmoid_backward(&self, x: Self::View<'_>, dy: Self::Buf) -> Result<Self::Buf>;
}

/// max(x, 0) of every element; any shape.
pub fn relu<D: Device>(graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
    let y = x.device().relu_forward(x.view())?;
    graph.record(x.device(), y, x.shape(), &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().relu_backward(x.view(), dy)?;
            grads.add(&x, dx)
        }
    })
}

/// 1/(1 + e^-x) of every element; any shape.
pub fn sigmoid<D: Device>(graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
    let y = x.device().sigmoid_forward(x.view())?;
    graph.record(x.device(), y, x.shape(), &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().sigmoid_backward(x.view(), dy)?;
            grads.add(&x, dx)
        }
    })
}

/// σ(x), without overflow on either side.
#[inline(always)]
pub fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

fn map(x: &[f32], f: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    overwritten(x.len(), |y| {
        y.par_chunks_mut(GRAIN).zip(x.par_chunks(GRAIN)).for_each(|(y, x)| {
            vectorized(
                #[inline(always)]
                || y.iter_mut().zip(x).for_each(|(y, x)| *y = f(*x)),
            )
        });
    })
}

fn update(x: &[f32], mut dy: Vec<f32>, f: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    dy.par_chunks_mut(GRAIN).zip(x.par_chunks(GRAIN)).for_each(|(dy, x)| {
        vectorized(
            #[inline(always)]
            || dy.iter_mut().zip(x).for_each(|(dy, x)| *dy = f(*x, *dy)),
        )
    });
    dy
}

impl ReluKernel for Cpu {
    fn relu_forward(&self, x: &[f32]) -> Result<Vec<f32>> {
        // a NaN stays one
        Ok(map(
            x,
            #[inline(always)]
            |x| if x < 0.0 { 0.0 } else { x },
        ))
    }

    fn relu_backward(&self, x: &[f32], dy: Vec<f32>) -> Result<Vec<f32>> {
        Ok(update(
            x,
            dy,
            #[inline(always)]
            |x, dy| if x > 0.0 { dy } else { 0.0 },
        ))
    }

    fn sigmoid_forward(&self, x: &[f32]) -> Result<Vec<f32>> {
        Ok(map(x, logistic))
    }

    fn sigmoid_backward(&self, x: &[f32], dy: Vec<f32>) -> Result<Vec<f32>> {
        Ok(update(
            x,
            dy,
            #[inline(always)]
            |x, dy| dy * logistic(x) * logistic(-x),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::Case;

    #[test]
    fn match_their_definitions() {
        Case::new().input([3, 50], -5.0..5.0).gradients_match(
            |graph, t| relu(graph, &t[0]),
            |t| t[0].iter().map(|x| x.max(0.0)).collect(),
            1e-6,
        );
        Case::new().input([3, 50], -9.0..9.0).gradients_match(
            |graph, t| sigmoid(graph, &t[0]),
            |t| t[0].iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect(),
            1e-6,
        );
        assert_eq!((logistic(200.0), logistic(-200.0) < 1e-37), (1.0, true));
        assert!(Cpu::default().relu_forward(&[f32::NAN]).unwrap()[0].is_nan());
    }
}
