//! COCO (and LVIS) on disk: annotation files, masks, checks, results.
//!
//! What becomes of a faulty annotation is said in [`check`]; none makes the program panic.

pub mod arena;
pub mod check;
pub mod dataset;
pub(crate) mod engine;
pub mod error;
pub mod json;
pub mod layout;
mod lenient;
mod map;
pub mod polygon;
mod record;
pub mod results;
pub mod rle;
mod scan;
pub mod survey;

pub use arena::{Annotations, Record, Segmentation};
pub use dataset::CocoDataset;
pub use error::CocoError;
pub use json::{Category, CocoFile, ImageInfo};
pub use rle::Rle;
