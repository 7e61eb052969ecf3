//! Mask R-CNN on a plain backbone with a simple feature pyramid (ViTDet, arXiv 2203.16527), its modules named as in
//! detectron2's ViTDet project, so that weights trained there can be loaded.
//!
//! [`MaskRcnn`] is the whole detector: [`Backbone`] makes a pyramid, [`rpn`] proposes regions, [`roi_heads`] classify and
//! refine them and draw their masks, [`postprocess`] keeps what is reported and brings it to the image's size.
//! [`matching`] says which annotation a box is trained on; [`structures`] are the values the steps hand to each other.
//!
//! Numbers that a model can get wrong never panic: a NaN or infinite score or box leaves its candidate out. What a
//! caller gets wrong, lengths that do not fit or settings outside their range, is a [`HeadError`].
//!
//! ```
//! use kat_mask_rcnn::{AnchorConfig, AnchorGenerator, Matcher};
//!
//! let anchors = AnchorGenerator::new(AnchorConfig::default())?.level(1, 8, 8)?;
//! let gt_boxes = [[0.0, 0.0, 64.0, 60.0]];
//! let matches = Matcher::RPN.run(anchors.as_slice(), &gt_boxes)?;
//! assert_eq!(matches.labels.len(), 8 * 8 * 3);
//! # Ok::<(), kat_mask_rcnn::HeadError>(())
//! ```
//!
//! # Shapes
//! B images, C channels of the pyramid, K classes, A anchors a position, R regions; level maps (B, C, H/s, W/s).

mod backbone;
mod config;
mod count;
mod error;
mod load;
mod mask_rcnn;
pub mod matching;
pub mod postprocess;
mod pyramid;
pub mod recognize;
pub mod roi_heads;
pub mod rpn;
pub mod structures;

pub use backbone::Backbone;
pub use config::{BoxHeadKind, BoxRegression, MaskRcnnConfig};
pub use count::Operations;
pub use error::HeadError;
pub use mask_rcnn::{Found, Losses, MaskRcnn, RoiHeads};
pub use matching::{BoxCoder, MatchLabel, Matcher, Matches, Sampled, sample_labels};
pub use postprocess::{ClassBoxes, DetectionConfig, finish, paste_mask, select_detections};
pub use pyramid::{LEVELS, NormedConv, SimpleFeaturePyramid};
pub use roi_heads::{
    BatchCounts, BoxHead, BoxLossConfig, BoxPredictor, MaskHead, Region, RegionPredictions, RoiLevels,
    RoiLoss, RoiPooler, RoiSampling, RoiTargets, box_loss, mask_loss, sample_rois,
};
pub use rpn::{
    AnchorConfig, AnchorGenerator, LevelLayout, LevelPredictions, ProposalConfig, Rpn, RpnHead, RpnLoss,
    RpnMaps, RpnSampling, RpnTargets, assign_anchors, rpn_loss, select_proposals,
};

/// The README's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
