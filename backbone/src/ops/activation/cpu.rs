//! Activations on the CPU: chunks over threads, vectors within.

use super::{ActivationKernel, Function};
use crate::cpu::gemm::Block;
use crate::cpu::simd::{erf, erf_by, exp, logistic, reciprocal, vectorized};
use crate::cpu::{Cpu, buffer};
use crate::error::Result;
use std::f32::consts::FRAC_1_SQRT_2;

/// 2 √(2/π)
const GELU_TANH: f32 = 1.595_769;
/// What σ's argument is multiplied by in QuickGELU.
const QUICK_GELU: f32 = 1.702;
const INV_SQRT_2PI: f32 = 0.398_942_3;

/// Does `$work`, a closure, with a function's f(x) and its dy f'(x), which are closures: it is compiled for each of them.
macro_rules! with_function {
    ($function:expr, $work:expr) => {
        match $function {
            Function::Relu => ($work)(
                #[inline(always)]
                |x: f32| if x < 0.0 { 0.0 } else { x },
                #[inline(always)]
                |x: f32, dy: f32| if x > 0.0 { dy } else { 0.0 },
            ),
            Function::Sigmoid => ($work)(
                #[inline(always)]
                |x: f32| logistic(x),
                #[inline(always)]
                |x: f32, dy: f32| dy * logistic(x) * logistic(-x),
            ),
            Function::Silu => ($work)(
                #[inline(always)]
                |x: f32| x / (1.0 + exp(-x)),
                #[inline(always)]
                |x: f32, dy: f32| {
                    let s = 1.0 / (1.0 + exp(-x));
                    dy * (s * (1.0 + x * (1.0 - s)))
                },
            ),
            Function::Gelu => ($work)(
                #[inline(always)]
                |x: f32| x * 0.5 * (1.0 + erf(x * FRAC_1_SQRT_2)),
                #[inline(always)]
                |x: f32, dy: f32| {
                    let cdf = 0.5 * (1.0 + erf(x * FRAC_1_SQRT_2));
                    dy * (cdf + x * INV_SQRT_2PI * exp(-0.5 * x * x))
                },
            ),
            // (1 + tanh u)/2 = σ(2u)
            Function::GeluTanh => ($work)(
                #[inline(always)]
                |x: f32| x * logistic(x * (GELU_TANH + GELU_TANH * 0.044_715 * x * x)),
                #[inline(always)]
                |x: f32, dy: f32| {
                    let s = logistic(x * (GELU_TANH + GELU_TANH * 0.044_715 * x * x));
                    let slope = GELU_TANH + 3.0 * GELU_TANH * 0.044_715 * x * x;
                    dy * (s + x * s * (1.0 - s) * slope)
                },
            ),
            Function::QuickGelu => ($work)(
                #[inline(always)]
                |x: f32| x * logistic(QUICK_GELU * x),
                #[inline(always)]
                |x: f32, dy: f32| {
                    let s = logistic(QUICK_GELU * x);
                    dy * (s + QUICK_GELU * x * s * (1.0 - s))
                },
            ),
        }
    };
}

impl ActivationKernel for Cpu {
    fn activation_forward(&self, function: Function, x: &[f32]) -> Result<Vec<f32>> {
        Ok(with_function!(function, |value, _| buffer::map(x, value)))
    }

    fn activation_backward(&self, function: Function, x: &[f32], dy: Vec<f32>) -> Result<Vec<f32>> {
        Ok(with_function!(function, |_, gradient| buffer::zip_in_place(x, dy, gradient)))
    }
}

impl Function {
    /// Each value of a block becomes the function's.
    pub(crate) fn apply(self, block: &mut Block) {
        if self == Self::Gelu {
            return values_of_block(
                block,
                #[inline(always)]
                |x| x * 0.5 * (1.0 + erf_by(x * FRAC_1_SQRT_2, |p, q| p * reciprocal(q))),
            );
        }
        with_function!(self, |value, _| values_of_block(block, value));
    }

    /// `dy` becomes the gradient at `x`, and `x` the function's value.
    pub(crate) fn gradient(self, x: &mut Block, dy: &mut Block) {
        with_function!(self, |value, gradient| block_gradient(x, dy, value, gradient));
    }
}

fn values_of_block(block: &mut Block, value: impl Fn(f32) -> f32) {
    vectorized(
        #[inline(always)]
        || block.0.as_flattened_mut().iter_mut().for_each(|x| *x = value(*x)),
    );
}

fn block_gradient(
    x: &mut Block,
    dy: &mut Block,
    value: impl Fn(f32) -> f32,
    gradient: impl Fn(f32, f32) -> f32,
) {
    vectorized(
        #[inline(always)]
        || {
            for (x, dy) in x.0.as_flattened_mut().iter_mut().zip(dy.0.as_flattened_mut()) {
                (*x, *dy) = (value(*x), gradient(*x, *dy));
            }
        },
    );
}
