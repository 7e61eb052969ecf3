//! Activations on the CPU: chunks over threads, vectors within.

use super::{ActivationKernel, Function};
use crate::cpu::simd::{erf, exp, logistic};
use crate::cpu::{Cpu, buffer};
use crate::error::Result;
use std::f32::consts::FRAC_1_SQRT_2;

/// 2 √(2/π)
const GELU_TANH: f32 = 1.595_769;
/// What σ's argument is multiplied by in QuickGELU.
const QUICK_GELU: f32 = 1.702;

impl ActivationKernel for Cpu {
    fn activation_forward(&self, function: Function, x: &[f32]) -> Result<Vec<f32>> {
        Ok(match function {
            Function::Relu => buffer::map(
                x,
                #[inline(always)]
                |x| if x < 0.0 { 0.0 } else { x },
            ),
            Function::Sigmoid => buffer::map(x, logistic),
            Function::Silu => buffer::map(
                x,
                #[inline(always)]
                |x| x / (1.0 + exp(-x)),
            ),
            Function::Gelu => buffer::map(
                x,
                #[inline(always)]
                |x| x * 0.5 * (1.0 + erf(x * FRAC_1_SQRT_2)),
            ),
            // (1 + tanh u)/2 = σ(2u)
            Function::GeluTanh => buffer::map(
                x,
                #[inline(always)]
                |x| x * logistic(x * (GELU_TANH + GELU_TANH * 0.044_715 * x * x)),
            ),
            Function::QuickGelu => buffer::map(
                x,
                #[inline(always)]
                |x| x * logistic(QUICK_GELU * x),
            ),
        })
    }

    fn activation_backward(&self, function: Function, x: &[f32], dy: Vec<f32>) -> Result<Vec<f32>> {
        const INV_SQRT_2PI: f32 = 0.398_942_3;
        Ok(match function {
            Function::Relu => buffer::zip_in_place(
                x,
                dy,
                #[inline(always)]
                |x, dy| if x > 0.0 { dy } else { 0.0 },
            ),
            Function::Sigmoid => buffer::zip_in_place(
                x,
                dy,
                #[inline(always)]
                |x, dy| dy * logistic(x) * logistic(-x),
            ),
            Function::Silu => buffer::zip_in_place(
                x,
                dy,
                #[inline(always)]
                |x, dy| {
                    let s = 1.0 / (1.0 + exp(-x));
                    dy * (s * (1.0 + x * (1.0 - s)))
                },
            ),
            Function::Gelu => buffer::zip_in_place(
                x,
                dy,
                #[inline(always)]
                |x, dy| {
                    let cdf = 0.5 * (1.0 + erf(x * FRAC_1_SQRT_2));
                    dy * (cdf + x * INV_SQRT_2PI * exp(-0.5 * x * x))
                },
            ),
            Function::GeluTanh => buffer::zip_in_place(
                x,
                dy,
                #[inline(always)]
                |x, dy| {
                    let s = logistic(x * (GELU_TANH + GELU_TANH * 0.044_715 * x * x));
                    let slope = GELU_TANH + 3.0 * GELU_TANH * 0.044_715 * x * x;
                    dy * (s + x * s * (1.0 - s) * slope)
                },
            ),
            Function::QuickGelu => buffer::zip_in_place(
                x,
                dy,
                #[inline(always)]
                |x, dy| {
                    let s = logistic(QUICK_GELU * x);
                    dy * (s + QUICK_GELU * x * s * (1.0 - s))
                },
            ),
        })
    }
}
