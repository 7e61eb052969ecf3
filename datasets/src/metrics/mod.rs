//! Measures of the three tasks: top-1 and top-5 accuracy, COCO's average precision, mean IoU.

mod coco_check;
pub mod coco_map;
pub mod label_png;
pub mod miou;
pub mod topk;
