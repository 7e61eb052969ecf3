//! The published pipelines, one for training and one for evaluation of each task.
//!
//! Each is made from a configuration that is checked once; `apply` gives the transformed sample, `write` puts its
//! image, normalised, into a slice of the batch.

mod classify;
mod detect;
mod segment;

pub use classify::{ClassifyEval, ClassifyEvalConfig, ClassifyTrain, ClassifyTrainConfig, ColorAugment};
pub use detect::{DetectEval, DetectEvalConfig, DetectTrain, DetectTrainConfig};
pub use segment::{SegmentEval, SegmentEvalConfig, SegmentTrain, SegmentTrainConfig};

#[cfg(test)]
mod tests;
