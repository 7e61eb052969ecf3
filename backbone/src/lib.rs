//! The Kolmogorov-Arnold Transformer (KAT) as a vision backbone: tensor ops, modules, named models, checkpoints.

pub mod checkpoint;
pub mod config;
pub mod count;
pub mod error;
pub mod init;
pub mod kat;
pub mod memory;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod shape;
pub mod tensor;
pub mod variants;
pub mod verify;

pub use config::{InitScheme, KatConfig, Pool, Size};
pub use error::{Error, Result};
pub use kat::Kat;
pub use ops::device::{Backend, Device};
pub use ops::host::Cpu;
pub use ops::tape::{Gradients, Grads, Graph, Mode};
pub use shape::Shape;
pub use tensor::Tensor;
