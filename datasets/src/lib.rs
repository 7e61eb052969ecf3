//! ImageNet, COCO and ADE20K on disk: parsers, transforms, loader, metrics, generated sample data.

pub mod ade20k;
pub mod imagenet;
pub mod loader;
pub mod sample;
pub mod shapes;
