//! ImageNet, COCO and ADE20K on disk: parsers, transforms, loader, metrics, generated sample data.

pub mod bench;
pub mod coco;
pub mod decode;
pub mod metrics;
pub mod sample;
