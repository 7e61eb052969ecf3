//! Mask R-CNN on a plain backbone, its modules named as in detectron2's ViTDet project, so that weights trained
//! there can be loaded.
//!
//! # Shapes
//! B images, C channels of the pyramid, K classes, A anchors a position, R regions; level maps (B, C, H/s, W/s).

mod backbone;
mod box_head;
mod config;
mod count;
mod load;
mod mask_head;
mod mask_rcnn;
mod pyramid;
mod roi_losses;
mod roi_pool;
mod rpn;
mod rpn_loss;
mod vit;

pub use backbone::Backbone;
pub use box_head::{BoxHead, BoxPredictor, RegionPredictions};
pub use config::{BoxHeadKind, BoxRegression, MaskRcnnConfig};
pub use count::Operations;
pub use mask_head::MaskHead;
pub use mask_rcnn::{Found, Losses, MaskRcnn, RoiHeads};
pub use pyramid::{LEVELS, NormedConv, SimpleFeaturePyramid};
pub use roi_losses::{RoiLoss, box_loss, mask_loss};
pub use roi_pool::{Region, RoiPooler};
pub use rpn::{Rpn, RpnHead, RpnMaps};
pub use rpn_loss::{RpnLoss, rpn_loss};
pub use vit::Vit;
