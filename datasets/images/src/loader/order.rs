//! Which samples an epoch visits, in which order, and the generators they are transformed with.
//!
//! An epoch is a permutation of all samples (or their own order) drawn from (seed, epoch). Rank `r` of `w`
//! takes positions r, r + w, r + 2w, … of it.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::LoaderError;

/// What happens when the samples do not divide evenly among the ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remainder {
    /// The last `n mod w` positions of the epoch are left out: all ranks have equally many.
    Drop,
    /// The first positions of the epoch are repeated at its end: all ranks have equally many.
    Pad,
    /// Each sample exactly once; ranks may differ by one sample (evaluation).
    Keep,
}

/// What happens to the samples left after the last full batch of a rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LastBatch {
    /// They are left out of this epoch.
    Drop,
    /// They form a shorter batch.
    Keep,
}

/// Whether each epoch is drawn anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shuffle {
    /// A permutation for each epoch.
    Each,
    /// Dataset order.
    Never,
}

/// Shuffling and sharding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Seed of the permutations and of every transform.
    pub seed: u64,
    /// Whether to permute.
    pub shuffle: Shuffle,
    /// This process, in `0..world`.
    pub rank: usize,
    /// Number of processes.
    pub world: usize,
    /// Uneven shares.
    pub remainder: Remainder,
    /// Uneven last batch.
    pub last_batch: LastBatch,
}

impl Order {
    /// One process that shuffles and drops the last incomplete batch.
    pub fn training(seed: u64) -> Self {
        Self {
            seed,
            shuffle: Shuffle::Each,
            rank: 0,
            world: 1,
            remainder: Remainder::Drop,
            last_batch: LastBatch::Drop,
        }
    }

    /// One process, each sample once and in dataset order.
    pub fn evaluation() -> Self {
        Self {
            seed: 0,
            shuffle: Shuffle::Never,
            rank: 0,
            world: 1,
            remainder: Remainder::Keep,
            last_batch: LastBatch::Keep,
        }
    }

    /// Checks rank and world.
    ///
    /// # Errors
    /// [`LoaderError::Field`].
    pub fn validate(&self) -> Result<(), LoaderError> {
        if self.world == 0 || self.rank >= self.world {
            return Err(LoaderError::Field {
                field: "rank",
                found: format!("{} of {}", self.rank, self.world),
                expected: "rank < world, world at least 1".into(),
            });
        }
        Ok(())
    }

    /// Samples this rank visits in an epoch over `samples`.
    pub fn share(&self, samples: usize) -> usize {
        match self.remainder {
            Remainder::Drop => samples / self.world,
            Remainder::Pad => samples.div_ceil(self.world),
            Remainder::Keep => (samples + self.world - 1 - self.rank) / self.world,
        }
    }

    /// Batches this rank makes in an epoch.
    pub fn batches(&self, samples: usize, batch_size: usize) -> usize {
        match self.last_batch {
            LastBatch::Drop => self.share(samples) / batch_size,
            LastBatch::Keep => self.share(samples).div_ceil(batch_size),
        }
    }

    /// The samples of this rank in an epoch, in order. `samples` is below 2³².
    pub fn epoch(&self, samples: usize, epoch: u64) -> Vec<u32> {
        let mut all: Vec<u32> = (0..samples as u32).collect();
        if let Shuffle::Each = self.shuffle {
            let mut rng = keyed(self.seed, epoch, 0, Use::Order);
            for i in (1..all.len()).rev() {
                all.swap(i, rng.random_range(0..=i));
            }
        }
        (0..self.share(samples)).map(|k| all[(self.rank + k * self.world) % samples]).collect()
    }
}

/// What a generator is for; each use has numbers of its own.
#[derive(Debug, Clone, Copy)]
pub(super) enum Use {
    Order = 1,
    Sample = 2,
    Batch = 3,
}

/// The generator keyed by (seed, epoch, index, use): equal keys, equal numbers, on every machine.
pub(super) fn keyed(seed: u64, epoch: u64, index: u64, r#use: Use) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    for (part, value) in key.chunks_exact_mut(8).zip([seed, epoch, index, r#use as u64]) {
        part.copy_from_slice(&value.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranks_share_an_epoch(samples in 1usize..200, world in 1usize..7, seed: u64, epoch in 0u64..5) {
            for remainder in [Remainder::Drop, Remainder::Pad, Remainder::Keep] {
                let mut seen = vec![0usize; samples];
                let mut shares = Vec::new();
                for rank in 0..world {
                    let order = Order { rank, world, remainder, ..Order::training(seed) };
                    let mine = order.epoch(samples, epoch);
                    prop_assert_eq!(mine.len(), order.share(samples));
                    shares.push(mine.len());
                    mine.iter().for_each(|&i| seen[i as usize] += 1);
                }
                let visits: usize = shares.iter().sum();
                match remainder {
                    Remainder::Keep => prop_assert!(seen.iter().all(|&n| n == 1)),
                    Remainder::Drop => {
                        prop_assert!(seen.iter().all(|&n| n <= 1));
                        prop_assert_eq!(visits, samples / world * world);
                    }
                    Remainder::Pad => {
                        prop_assert!(seen.iter().all(|&n| n >= 1));
                        prop_assert_eq!(visits, samples.div_ceil(world) * world);
                    }
                }
            }
        }
    }

    #[test]
    fn epochs_and_seeds_differ_and_repeat() {
        let order = Order::training(7);
        assert_eq!(order.epoch(50, 3), order.epoch(50, 3));
        assert_ne!(order.epoch(50, 3), order.epoch(50, 4));
        assert_ne!(order.epoch(50, 3), Order::training(8).epoch(50, 3));
        assert_eq!(Order::evaluation().epoch(5, 1), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_last_batch_is_kept_or_dropped() {
        assert_eq!(Order::training(0).batches(10, 4), 2);
        assert_eq!(Order::evaluation().batches(10, 4), 3);
        let bad = Order { rank: 2, world: 2, ..Order::training(0) };
        assert!(bad.validate().unwrap_err().to_string().contains("2 of 2"));
    }
}
