//! COCO (and LVIS) on disk: annotation files, masks, checks, results, and the evaluation of results.
//!
//! What becomes of a faulty annotation is said in [`check`]; none makes the program panic.

pub mod arena;
pub mod bench;
pub mod categories;
pub mod check;
pub mod convert;
pub mod dataset;
pub(crate) mod engine;
pub mod error;
pub mod evaluate;
pub mod json;
pub mod layout;
mod lenient;
mod map;
pub mod outline;
mod record;
pub mod results;
mod scan;
mod subset;
pub mod survey;

pub use arena::{Annotations, Record, Segmentation};
pub use dataset::CocoDataset;
pub use error::CocoError;
pub use json::{Category, CocoFile, ImageInfo};

/// The README's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
