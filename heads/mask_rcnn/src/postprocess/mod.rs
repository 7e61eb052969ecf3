//! From a model's predictions to what is reported: scores and boxes to detections, masks to the image's size.

mod detections;
mod paste;

pub use detections::{ClassBoxes, DetectionConfig, finish, select_detections};
pub use paste::paste_mask;
