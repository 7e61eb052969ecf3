//! Object detection, one step a file.
//!
//! Anchors ([`AnchorGenerator`]) are matched to the annotation ([`Matcher`]) and sampled ([`sample_labels`]) for the
//! RPN's loss; its predictions become proposals ([`select_proposals`]); those are matched and sampled again for the
//! RoI heads ([`sample_rois`]), or, at inference, turned into detections ([`select_detections`]) and masks at the
//! picture's size ([`finish`]). [`net`] has the modules with weights, [`net::MaskRcnn`] all together.

mod anchors;
mod box_coder;
mod matcher;
pub mod net;
mod paste;
mod postprocess;
mod roi_levels;
mod roi_targets;
mod rpn_targets;
mod sampler;
mod select_proposals;

pub use anchors::{AnchorConfig, AnchorGenerator, LevelLayout};
pub use box_coder::BoxCoder;
pub use matcher::{MatchLabel, Matcher, Matches};
pub use paste::paste_mask;
pub use postprocess::{ClassBoxes, DetectionConfig, finish, select_detections};
pub use roi_levels::RoiLevels;
pub use roi_targets::{RoiSampling, RoiTargets, sample_rois};
pub use rpn_targets::{RpnSampling, RpnTargets, assign_anchors};
pub use sampler::{Sampled, sample_labels};
pub use select_proposals::{LevelPredictions, ProposalConfig, select_proposals};
