//! The Kolmogorov-Arnold Transformer as a vision backbone: tensor ops, modules, named models, checkpoints.

pub mod checkpoint;
pub mod init;
