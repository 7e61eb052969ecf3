//! Convolutions and norms as modules, with the names and first values of detectron2 and mmsegmentation.

mod conv;
mod norm;

pub use conv::{Conv2d, ConvInit, ConvShape, ConvTranspose2d};
pub use norm::ChannelNorm;
