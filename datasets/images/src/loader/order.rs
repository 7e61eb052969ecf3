//! Which samples an epoch visits, in which order, and the generators they are transformed with.
//!
//! An epoch is a permutation of all samples (or their own order) drawn from (seed, epoch), whatever the number of
//! processes. Where only full batches count, it is cut into batches over all processes, and each takes its rows of
//! each ([`Shard`]); else each process has one stretch of it.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::LoaderError;
use crate::Shard;

/// What happens to the samples left after the last full batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LastBatch {
    /// They are left out of this epoch: all processes have equally many batches of one size.
    Drop,
    /// They form a shorter batch: each sample is visited exactly once, by one process.
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
    /// Which process this is.
    pub shard: Shard,
    /// Uneven last batch.
    pub last_batch: LastBatch,
}

impl Order {
    /// One process that shuffles and drops the last incomplete batch.
    pub fn training(seed: u64) -> Self {
        Self { seed, shuffle: Shuffle::Each, shard: Shard::WHOLE, last_batch: LastBatch::Drop }
    }

    /// One process, each sample once and in dataset order.
    pub fn evaluation() -> Self {
        Self { seed: 0, shuffle: Shuffle::Never, shard: Shard::WHOLE, last_batch: LastBatch::Keep }
    }

    /// The same as one of several processes.
    pub fn of(self, shard: Shard) -> Self {
        Self { shard, ..self }
    }

    /// Checks rank and world.
    ///
    /// # Errors
    /// [`LoaderError::Field`].
    pub fn validate(&self) -> Result<(), LoaderError> {
        let Shard { rank, world } = self.shard;
        if world == 0 || rank >= world {
            return Err(LoaderError::Field {
                field: "rank",
                found: format!("{rank} of {world}"),
                expected: "rank < world, world at least 1".into(),
            });
        }
        Ok(())
    }

    /// Samples that one batch takes from the epoch, over all processes that take from the same place.
    pub fn stride(&self, batch_size: usize) -> usize {
        match self.last_batch {
            LastBatch::Drop => batch_size.saturating_mul(self.shard.world),
            LastBatch::Keep => batch_size,
        }
    }

    /// Samples of the epoch that this process takes its own from.
    pub fn reach(&self, samples: usize) -> usize {
        match self.last_batch {
            LastBatch::Drop => samples,
            LastBatch::Keep => self.shard.stretch(samples).len(),
        }
    }

    /// Batches this process makes of an epoch of which `visited` samples are behind it.
    pub fn batches(&self, samples: usize, visited: usize, batch_size: usize) -> usize {
        let (left, stride) = (self.reach(samples).saturating_sub(visited), self.stride(batch_size));
        match self.last_batch {
            LastBatch::Drop => left / stride,
            LastBatch::Keep => left.div_ceil(stride),
        }
    }

    /// All samples in the order of an epoch. `samples` is below 2³².
    pub fn epoch(&self, samples: usize, epoch: u64) -> Vec<u32> {
        let mut all: Vec<u32> = (0..samples as u32).collect();
        if let Shuffle::Each = self.shuffle {
            let mut rng = keyed(self.seed, epoch, 0, Use::Order);
            for i in (1..all.len()).rev() {
                all.swap(i, rng.random_range(0..=i));
            }
        }
        all
    }

    /// The samples that this process has in the batch that begins after `visited` samples of `epoch`.
    pub fn batch(&self, epoch: &[u32], visited: usize, batch_size: usize) -> Vec<u32> {
        match self.last_batch {
            LastBatch::Drop => {
                let places = self.shard.places(batch_size);
                places.filter_map(|place| epoch.get(visited + place).copied()).collect()
            }
            LastBatch::Keep => {
                let own = &epoch[self.shard.stretch(epoch.len())];
                own.iter().skip(visited).take(batch_size).copied().collect()
            }
        }
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

    /// What all processes of an order visit in the epoch, batch by batch.
    fn visits(order: &Order, world: usize, samples: usize, batch_size: usize, from: usize) -> Vec<Vec<u32>> {
        let epoch = order.epoch(samples, 3);
        let of = |rank| order.clone().of(Shard { rank, world });
        let batches = (0..world).map(|rank| of(rank).batches(samples, from, batch_size)).max().unwrap_or(0);
        let batch = |k: usize| {
            let rows = |rank| {
                let order = of(rank);
                order.batch(&epoch, from + k * order.stride(batch_size), batch_size)
            };
            (0..world).flat_map(rows).collect()
        };
        (0..batches).map(batch).collect()
    }

    proptest! {
        #[test]
        fn processes_share_an_epoch(samples in 1usize..200, world in 1usize..7, size in 1usize..9, seed: u64) {
            let once = |batches: &[Vec<u32>]| {
                let mut seen = vec![0usize; samples];
                batches.iter().flatten().for_each(|i| seen[*i as usize] += 1);
                seen
            };
            let training = visits(&Order::training(seed), world, samples, size, 0);
            prop_assert!(training.iter().all(|batch| batch.len() == world * size));
            let seen = once(&training);
            prop_assert!(seen.iter().all(|n| *n <= 1));
            prop_assert_eq!(seen.iter().sum::<usize>(), samples / (world * size) * world * size);
            let evaluation = visits(&Order::evaluation(), world, samples, size, 0);
            prop_assert!(once(&evaluation).iter().all(|n| *n == 1));
        }

        /// An epoch that is begun on some processes and ended on others, with batches of another size: each sample once.
        #[test]
        fn an_epoch_goes_on_among_other_processes(
            samples in 1usize..200, worlds in (1usize..5, 1usize..5), sizes in (1usize..9, 1usize..9), done in 0usize..9,
        ) {
            let order = Order::training(7);
            let first = visits(&order, worlds.0, samples, sizes.0, 0);
            let done = done.min(first.len());
            let rest = visits(&order, worlds.1, samples, sizes.1, done * worlds.0 * sizes.0);
            let mut seen: Vec<u32> = first[..done].iter().chain(&rest).flatten().copied().collect();
            let visited = seen.len();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), visited);
            prop_assert!(samples - visited < worlds.1 * sizes.1, "only less than a batch is left out");
        }

        /// The batch over all processes holds the same samples as that of one process.
        #[test]
        fn batches_do_not_depend_on_the_processes(samples in 1usize..200, world in 1usize..5, size in 1usize..5) {
            let sorted = |mut batches: Vec<Vec<u32>>| {
                batches.iter_mut().for_each(|batch| batch.sort_unstable());
                batches
            };
            let order = Order::training(1);
            let (one, all) = (visits(&order, 1, samples, world * size, 0), visits(&order, world, samples, size, 0));
            prop_assert_eq!(sorted(one), sorted(all));
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
        assert_eq!(Order::training(0).batches(10, 0, 4), 2);
        assert_eq!(Order::evaluation().batches(10, 0, 4), 3);
        // Seven samples on eight processes: one has none.
        assert_eq!(Order::evaluation().of(Shard { rank: 0, world: 8 }).batches(7, 0, 4), 0);
        let bad = Order::training(0).of(Shard { rank: 2, world: 2 });
        assert!(bad.validate().unwrap_err().to_string().contains("2 of 2"));
    }
}
