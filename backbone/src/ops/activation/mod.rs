//! Functions of one value: ReLU, the logistic function, SiLU, and GELU: in its exact form, x Φ(x) = x/2 (1 + erf(x/√2)), and in
//! the two approximations that published weights were trained with.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::tensor::{Backend, Graph, Tensor};

/// Which function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// max(x, 0); a NaN stays one.
    Relu,
    /// σ(x) = 1/(1 + e^-x).
    Sigmoid,
    /// x σ(x).
    Silu,
    /// x Φ(x).
    Gelu,
    /// x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))), PyTorch's `approximate="tanh"`.
    GeluTanh,
    /// x σ(1.702 x), OpenAI's CLIP.
    QuickGelu,
}

/// Activations on a device.
pub trait ActivationKernel: Backend {
    /// f(x).
    ///
    /// # Errors
    /// The device refuses.
    fn activation_forward(&self, function: Function, x: Self::View<'_>) -> Result<Self::Buf>;
    /// dy f'(x), in place of dy.
    ///
    /// # Errors
    /// The device refuses.
    fn activation_backward(&self, function: Function, x: Self::View<'_>, dy: Self::Buf) -> Result<Self::Buf>;
}

/// max(x, 0) of every element; any shape.
///
/// # Errors
/// The device refuses.
pub fn relu<D: ActivationKernel>(graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
    activate(graph, x, Function::Relu)
}

/// 1/(1 + e^-x) of every element; any shape.
///
/// # Errors
/// The device refuses.
pub fn sigmoid<D: ActivationKernel>(graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
    activate(graph, x, Function::Sigmoid)
}

/// SiLU (Swish), x σ(x), of every element; any shape.
///
/// # Errors
/// The device refuses.
pub fn silu<D: ActivationKernel>(graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
    activate(graph, x, Function::Silu)
}

/// GELU of every element; any shape.
///
/// # Errors
/// The device refuses.
pub fn gelu<D: ActivationKernel>(graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
    activate(graph, x, Function::Gelu)
}

/// The function `function` of every element; any shape.
///
/// # Errors
/// The device refuses.
pub fn activate<D: ActivationKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    function: Function,
) -> Result<Tensor<D>> {
    let y = x.device().activation_forward(function, x.view())?;
    graph.record(x.device(), y, x.shape(), &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().activation_backward(function, x.view(), dy)?;
            grads.add(&x, dx)
        }
    })
}
