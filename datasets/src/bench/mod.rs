//! Measurements of speed that the programs' `bench` commands print.

mod classify;
pub mod coco;

pub use classify::{ClassifyFigure, classify_pipeline, sample_jpeg};

/// What can go wrong while measuring.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The images given do not decode.
    #[error("image {index} of the benchmark: {source}")]
    Decode {
        /// Position in the list given.
        index: usize,
        /// What is wrong with it.
        source: crate::decode::DecodeError,
    },
    /// A transform failed.
    #[error(transparent)]
    Transform(#[from] crate::transform::TransformError),
    /// The sample image could not be written.
    #[error("cannot encode the sample image: {0}")]
    Encode(#[from] image::ImageError),
    /// Threads could not be started.
    #[error("cannot start {threads} threads: {reason}")]
    Threads {
        /// Number asked for.
        threads: usize,
        /// What the system said.
        reason: String,
    },
    /// Nothing to measure.
    #[error("{field} is 0: nothing to measure")]
    Nothing {
        /// What is zero.
        field: &'static str,
    },
}
