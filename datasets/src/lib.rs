//! ImageNet, COCO and ADE20K on disk: parsers, transforms, loader, metrics, generated sample data.

pub mod decode;
pub mod sample;
