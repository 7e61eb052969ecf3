//! What a dataset yields and a transform carries along: one image with whatever is annotated on it.
//!
//! Coordinates are pixels of the image as it stands in the sample, x to the right, y down, (0, 0) the outer
//! corner of the first pixel; boxes are `[x0, y0, x1, y1]` with x1, y1 exclusive.

use image::{GrayImage, RgbImage};

use crate::mask::Mask;

/// One image and its annotations.
#[derive(Debug, Clone)]
pub struct Sample {
    /// 8-bit RGB, upright (EXIF orientation applied).
    pub image: RgbImage,
    /// What is known about the image.
    pub target: Target,
    /// The dataset's own name for the image: a path relative to its root, or a COCO image id in decimal.
    pub id: String,
}

/// The annotation of a sample, by task.
#[derive(Debug, Clone)]
pub enum Target {
    /// Nothing is known (prediction).
    None,
    /// Classification: index of the class.
    Class(u32),
    /// Detection: the objects in the image, crowds included.
    Instances(Vec<Instance>),
    /// Segmentation: class index of each pixel, same size as the image; 255 is ignored.
    LabelMap(GrayImage),
}

/// One annotated object.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Contiguous class index in `[0, classes)`.
    pub class: u32,
    /// `[x0, y0, x1, y1]`.
    pub bbox: [f32; 4],
    /// The object's outline, absent where only boxes are annotated.
    pub mask: Option<Mask>,
    /// A region of many objects (COCO `iscrowd`): never a training target, ignored in evaluation.
    pub crowd: bool,
}
