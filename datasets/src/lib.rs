//! ImageNet, COCO and ADE20K on disk: parsers, transforms, loader, metrics, generated sample data.

pub mod sample;
pub mod shapes;
