//! Where a run stands, to be saved with a checkpoint.

use serde::{Deserialize, Serialize};

use super::{LoaderConfig, LoaderError};

/// The next batch to be delivered, and what it depends on. Continuing from it gives exactly the batches that
/// an unbroken run would have given; the number of threads and buffers may differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoaderState {
    /// Epoch of the next batch.
    pub epoch: u64,
    /// The next batch within the epoch.
    pub batch: u64,
    /// Seed of order and transforms.
    pub seed: u64,
    /// Samples in the dataset.
    pub samples: u64,
    /// Samples a batch.
    pub batch_size: u64,
    /// Number of processes.
    pub world: u64,
}

impl LoaderState {
    /// The start of a run.
    pub fn start(config: &LoaderConfig, samples: usize) -> Self {
        Self {
            epoch: 0,
            batch: 0,
            seed: config.order.seed,
            samples: samples as u64,
            batch_size: config.batch_size as u64,
            world: config.order.world as u64,
        }
    }

    /// Checks that this state belongs to a run of `config` over `samples`.
    ///
    /// # Errors
    /// [`LoaderError::StateMismatch`] naming the first field that differs.
    pub fn check(&self, config: &LoaderConfig, samples: usize) -> Result<(), LoaderError> {
        let run = Self::start(config, samples);
        let batches = config.order.batches(samples, config.batch_size) as u64;
        for (field, found, expected) in [
            ("seed", self.seed, run.seed),
            ("samples", self.samples, run.samples),
            ("batch_size", self.batch_size, run.batch_size),
            ("world", self.world, run.world),
            // a batch past the end of the epoch can only come from another configuration
            ("batch", self.batch, self.batch.min(batches.saturating_sub(1))),
        ] {
            if found != expected {
                return Err(LoaderError::StateMismatch { field, found, expected });
            }
        }
        Ok(())
    }
}
