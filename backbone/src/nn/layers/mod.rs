//! Convolutions and norms as modules, with the names and first values of detectron2 and mmsegmentation.

mod batch_norm;
mod conv;
mod conv_norm_act;
mod norm;

pub use batch_norm::BatchNorm2d;
pub use conv::{Conv2d, ConvInit, ConvShape, ConvTranspose2d};
pub use conv_norm_act::ConvNormAct;
pub use norm::ChannelNorm;
