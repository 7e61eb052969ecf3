//! The region proposal network (Faster R-CNN, arXiv 1506.01497): anchors, their targets and loss, and proposals.

mod anchors;
mod head;
mod loss;
mod proposals;
mod targets;

pub use anchors::{AnchorConfig, AnchorGenerator, LevelLayout};
pub use head::{Rpn, RpnHead, RpnMaps};
pub use loss::{RpnLoss, rpn_loss};
pub use proposals::{LevelPredictions, ProposalConfig, select_proposals};
pub use targets::{RpnSampling, RpnTargets, assign_anchors};
