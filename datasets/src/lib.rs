//! ImageNet, COCO and ADE20K on disk: parsers, transforms, loader, metrics, generated sample data.

pub mod ade20k;
pub mod bench;
pub mod coco;
pub mod decode;
pub mod files;
pub mod imagenet;
pub mod loader;
pub mod metrics;
pub mod pipeline;
pub mod sample;
pub mod shapes;
pub mod survey;
pub mod transform;
