//! The Kolmogorov-Arnold Transformer (KAT) as a vision backbone: tensor ops, modules, named models, checkpoints.

pub mod error;
pub mod ops;
pub mod shape;
pub mod tensor;

pub use error::{Error, Result};
pub use ops::device::{Backend, Device};
pub use ops::host::Cpu;
pub use ops::tape::{Gradients, Grads, Graph, Mode};
pub use shape::Shape;
pub use tensor::Tensor;
