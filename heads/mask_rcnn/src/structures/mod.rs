//! What detection passes between its steps: proposals, targets, detections.
//!
//! Coordinates are pixels, x to the right, y down, (0, 0) the outer corner of the first pixel; a box is
//! `[x0, y0, x1, y1]` with x1, y1 exclusive. Names say whose a value is: `gt_` the annotation's, `pred_` the model's.

mod detections;
mod proposals;
mod targets;

pub use detections::{Detections, ImageResult, MaskGrids};
pub use proposals::Proposals;
pub use targets::Targets;
