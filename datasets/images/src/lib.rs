//! Images and what is annotated on them, without a tensor: sizes, boxes, polygons and masks; decoding, transforms and the
//! loader; generated sample scenes. The other crates of the suite share this vocabulary.

pub mod bench;
mod boxes;
pub mod decode;
pub mod encode;
pub mod files;
pub mod filter;
mod hold_out;
pub mod loader;
mod mask;
pub mod names;
pub mod pipeline;
pub mod polygon;
mod rect;
pub mod rle;
pub mod sample;
pub mod shapes;
mod shard;
pub mod simd;
mod size;
pub mod survey;
pub mod transform;

pub use boxes::{BoxColumns, Boxes, area as box_area, clip as clip_box};
pub use filter::Filter;
pub use hold_out::{TooFew, hold_out};
pub use mask::Mask;
pub use polygon::Polygon;
pub use rect::Rect;
pub use rle::{MaskError, Rle};
pub use shard::{Run, Shard};
pub use size::Size;

/// The README's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
