//! Semantic segmentation: UperNet on a ViT or KAT, and inference over images of any size.
//!
//! [`Segmentor`] is the network, [`SegmentLoss`] its loss.
//!
//! Class scores of a large image do not fit in memory: 150 classes at 6000 × 4000 pixels are 14.4 GB in f32. So
//! they are handled a row at a time ([`LogitRows`]): [`SlidingRows`] makes rows from windows, [`ResizedRows`] brings
//! them to the image's size, [`AveragedViews`] averages several scales and flips, and [`argmax`] turns rows into
//! labels. Each pulls from the one before it; none holds more than a strip one window high.
//!
//! For 6000 × 4000 with 150 classes and 512-pixel windows:
//!
//! | held | bytes |
//! |---|---|
//! | strip, 512 rows × 150 × 6000 × 4 | 1.84 GB |
//! | one window's scores, 150 × 512 × 512 × 4 | 0.16 GB |
//! | labels, 6000 × 4000 × 2 | 0.05 GB |
//! | rows in resizing, 4 × 150 × 6000 × 4 | 0.01 GB |
//!
//! 2.1 GB in all, beside the network. Several views hold a strip each; [`SlidingRows::strip_bytes`] tells how much
//! before it is taken.
//!
//! # Shapes
//! C classes; a row of scores (C, width), a window's scores (C, height, width), row-major.

mod checks;
mod cost;
mod fcn_head;
mod load;
mod loss;
mod neck;
mod pyramid_pooling;
pub mod recognize;
mod resized;
mod segmentor;
mod sliding;
mod uper_head;
mod views;

pub use cost::Operations;
pub use fcn_head::FcnHead;
pub use loss::{IGNORE, SegmentLoss, SegmentLosses};
pub use neck::{Bare, Halving, MultiLevelNeck, SCALES, Scales};
pub use pyramid_pooling::PyramidPooling;
pub use resized::ResizedRows;
pub use segmentor::{FinalNorm, NeckKind, Scores, Segmentor, SegmentorConfig};
pub use sliding::{SlidingRows, Window, WindowGrid};
pub use uper_head::{UperConfig, UperHead};
pub use views::{AveragedViews, Flip, LabelMap, argmax};

use kat_images::Size;

/// Class scores of an image, row after row from the top.
pub trait LogitRows {
    /// What can go wrong while a row is made.
    type Error;

    /// Number of classes C.
    fn classes(&self) -> usize;

    /// Size of the image the rows make up.
    fn size(&self) -> Size;

    /// The next row, (C, width), or `None` after the last.
    ///
    /// # Errors
    /// Whatever the network that makes the scores reports.
    fn next_row(&mut self) -> Result<Option<&[f32]>, Self::Error>;
}

/// The README's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
