//! The Kolmogorov-Arnold Transformer (KAT) as a vision backbone: tensor ops, modules, named models, checkpoints.
//!
//! ```
//! use kat_backbone::{Cpu, Graph, Kat, KatConfig, Size, Tensor, variants};
//!
//! # fn main() -> Result<(), kat_backbone::Error> {
//! let named = variants::named("kat_tiny_patch16_224")?.config;
//! let config = KatConfig { image_size: Size::square(64), depth: 2, classes: 10, ..named };
//! let model = Kat::new(&Cpu::default(), &config, 0)?;
//! let image = Tensor::zeros(&Cpu::default(), [1, 3, 64, 64])?;
//! let logits = model.forward(&mut Graph::inference(), &image)?;
//! assert_eq!(logits.shape().axes(), [1, 10]);
//! let maps = model.feature_maps(&mut Graph::inference(), &image, &[0, 1])?;
//! assert_eq!(maps[1].shape().axes(), [1, 192, 4, 4]);
//! # Ok(())
//! # }
//! ```

pub mod checkpoint;
pub mod collective;
pub mod config;
pub mod count;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod device;
pub mod init;
pub mod kat;
pub mod memory;
pub mod meta;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod step_monitor;
pub mod tensor;
pub mod variants;
pub mod verify;

pub use config::{InitScheme, KatConfig, Pool, Size};
#[cfg(feature = "cuda")]
pub use cuda::Cuda;
pub use device::Device;
pub use kat::Kat;
pub use tensor::dfdx::Cpu;
pub use tensor::{
    Backend, Error, Gradients, Grads, Graph, Mode, Precision, Result, Shape, Tensor, error, shape,
};

/// The README's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
