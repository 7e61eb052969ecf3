//! What is done to each proposed region: its features are pooled from the level of its size, classified, its box refined
//! and its mask drawn; with targets and losses of all three.

pub(crate) mod box_head;
mod levels;
mod losses;
pub(crate) mod mask_head;
pub(crate) mod pooler;
mod targets;

pub use box_head::{BoxHead, BoxPredictor, RegionPredictions};
pub use levels::RoiLevels;
pub use losses::{BatchCounts, BoxLossConfig, RoiLoss, box_loss, mask_loss};
pub use mask_head::MaskHead;
pub use pooler::{Region, RoiPooler};
pub use targets::{RoiSampling, RoiTargets, sample_rois};
