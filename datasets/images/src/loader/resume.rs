//! Where a run stands, to be saved with a checkpoint.

use serde::{Deserialize, Serialize};

use super::{LoaderConfig, LoaderError};

/// The next batch to be delivered, and what it depends on. Continuing from it gives exactly the batches that
/// an unbroken run would have given; the number of threads and buffers may differ. Continued by another number of
/// processes, the rest of the epoch is cut into other batches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoaderState {
    /// Epoch of the next batch.
    pub epoch: u64,
    /// The next batch, counted from `visited` on.
    pub batch: u64,
    /// Seed of order and transforms.
    pub seed: u64,
    /// Samples in the dataset.
    pub samples: u64,
    /// Samples a batch.
    pub batch_size: u64,
    /// Number of processes.
    pub world: u64,
    /// Samples of this epoch that were visited before the number of processes changed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub visited: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
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
            world: config.order.shard.world as u64,
            visited: 0,
        }
    }

    /// This state as one of a run of `config` over `samples`, which may have another number of processes.
    ///
    /// # Errors
    /// [`LoaderError::StateMismatch`] naming the first field that differs.
    pub fn adopt(self, config: &LoaderConfig, samples: usize) -> Result<Self, LoaderError> {
        let run = Self::start(config, samples);
        let same_world = self.world == run.world;
        for (field, found, expected) in [
            ("seed", self.seed, run.seed),
            ("samples", self.samples, run.samples),
            // With another number of processes the batch of each may change too: that over all can stay the same.
            ("batch_size", self.batch_size, if same_world { run.batch_size } else { self.batch_size }),
        ] {
            if found != expected {
                return Err(LoaderError::StateMismatch { field, found, expected });
            }
        }
        let visited = |state: &Self| usize::try_from(state.visited).unwrap_or(usize::MAX);
        if same_world {
            let batches = config.order.batches(samples, visited(&self), config.batch_size) as u64;
            if self.batch > batches.saturating_sub(1) {
                // a batch past the end of the epoch can only come from another configuration
                let (found, expected) = (self.batch, batches.saturating_sub(1));
                return Err(LoaderError::StateMismatch { field: "batch", found, expected });
            }
            return Ok(self);
        }
        let stride = self.batch_size.saturating_mul(self.world);
        let behind = self.visited.saturating_add(self.batch.saturating_mul(stride));
        let moved = Self { epoch: self.epoch, visited: behind, ..run };
        match config.order.batches(samples, visited(&moved), config.batch_size) {
            // What is left makes no batch any more.
            0 => Ok(Self { epoch: moved.epoch + 1, visited: 0, ..moved }),
            _ => Ok(moved),
        }
    }

    /// Batches left in this epoch.
    pub fn left(&self, config: &LoaderConfig) -> u64 {
        let (samples, visited) = (self.samples as usize, self.visited as usize);
        (config.order.batches(samples, visited, config.batch_size) as u64).saturating_sub(self.batch)
    }
}

/// Batches of each epoch: the one that a run goes on in may have been begun with other batches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Epochs {
    first: u64,
    /// Samples of the first that were visited before.
    visited: usize,
    /// Batches of the first, counted from there.
    pub(super) in_first: u64,
    /// Batches of every other one.
    pub(super) in_others: u64,
}

impl Epochs {
    pub(super) fn new(config: &LoaderConfig, samples: usize, position: &LoaderState) -> Self {
        let visited = position.visited as usize;
        let batches = |visited| config.order.batches(samples, visited, config.batch_size) as u64;
        Self { first: position.epoch, visited, in_first: batches(visited), in_others: batches(0) }
    }

    pub(super) fn batches(&self, epoch: u64) -> u64 {
        if epoch == self.first { self.in_first } else { self.in_others }
    }

    pub(super) fn visited(&self, epoch: u64) -> usize {
        if epoch == self.first { self.visited } else { 0 }
    }
}
