//! Detection and segmentation heads: simple feature pyramid, Mask R-CNN, UperNet.
//!
//! [`structures`] are the typed values that steps hand to each other; [`detect`] is Mask R-CNN in the ViTDet manner
//! (arXiv 2203.16527), one step a file; [`segment`] is inference over images of any size.
//!
//! Numbers that a model can get wrong never panic: a NaN or infinite score or box leaves its candidate out. What a
//! caller gets wrong, lengths that do not fit or settings outside their range, is a [`HeadError`].
//!
//! ```
//! use kat_heads::detect::{AnchorConfig, AnchorGenerator, Matcher};
//!
//! let anchors = AnchorGenerator::new(AnchorConfig::default())?.level(1, 8, 8)?;
//! let gt_boxes = [[0.0, 0.0, 64.0, 60.0]];
//! let matches = Matcher::RPN.run(anchors.as_slice(), &gt_boxes)?;
//! assert_eq!(matches.labels.len(), 8 * 8 * 3);
//! # Ok::<(), kat_heads::HeadError>(())
//! ```

pub mod detect;
mod error;
pub mod layers;
pub mod segment;
pub mod structures;

pub use error::HeadError;
