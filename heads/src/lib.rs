//! Detection and segmentation heads: simple feature pyramid, Mask R-CNN, UperNet.

pub mod detect;
mod error;
pub mod segment;
pub mod structures;

pub use error::HeadError;
