//! Random numbers of a forward pass, by position: drawing for op number k does not depend on how the draws
//! before it were split over threads, and a recomputed block draws what it drew the first time. What is drawn for each row
//! of a batch depends on the row's place in the batch over all processes.

use kat_images::{Run, Shard};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// A stream of independent generators, one for each op that asks.
#[derive(Clone, Debug)]
pub struct RandomStream {
    seed: u64,
    position: u64,
    shard: Shard,
}

impl RandomStream {
    /// A stream that depends on `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self { seed, position: 0, shard: Shard::WHOLE }
    }

    /// The same where this process has these rows of each batch.
    pub fn of(self, shard: Shard) -> Self {
        Self { shard, ..self }
    }

    /// Where the rows of a tensor of `rows` lie in that over all processes.
    pub fn runs(&self, rows: usize) -> Vec<Run> {
        self.shard.runs(rows).collect()
    }

    /// The generator for the next op.
    pub fn next_generator(&mut self) -> ChaCha8Rng {
        let mut generator = ChaCha8Rng::seed_from_u64(self.seed);
        generator.set_stream(self.position);
        self.position += 1;
        generator
    }

    /// `each` draws for every one of `rows`, each true with probability `keep`.
    pub fn keeps(&mut self, rows: usize, each: usize, keep: f32) -> Vec<bool> {
        let mut generator = self.next_generator();
        let mut keeps = Vec::with_capacity(rows * each);
        for run in self.shard.runs(rows) {
            // a draw takes one word
            generator.set_word_pos((run.global * each) as u128);
            keeps.extend((0..run.own.len() * each).map(|_| generator.random::<f32>() < keep));
        }
        keeps
    }

    /// A generator for each of `rows`, whatever draws its neighbors make.
    pub fn row_generators(&mut self, rows: usize) -> Vec<ChaCha8Rng> {
        let seed = self.next_generator().random();
        let of_row = |place: usize| {
            let mut generator = ChaCha8Rng::seed_from_u64(seed);
            generator.set_stream(place as u64);
            generator
        };
        self.shard.places(rows).map(of_row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_draw_the_same_whatever_the_processes() {
        const ROWS: usize = 6;
        let draws = |shard: Shard| {
            let mut stream = RandomStream::new(5).of(shard);
            let rows = ROWS / shard.world;
            let keeps = stream.keeps(rows, 3, 0.5);
            let numbers = stream.row_generators(rows).into_iter().map(|mut rng| rng.random::<u64>());
            let numbers: Vec<u64> = numbers.collect();
            let of_row = |i: usize| (keeps[3 * i..3 * i + 3].to_vec(), numbers[i]);
            shard.places(rows).zip((0..rows).map(of_row)).collect::<Vec<_>>()
        };
        let mut generator = RandomStream::new(5).next_generator();
        let plain: Vec<bool> = (0..3 * ROWS).map(|_| generator.random::<f32>() < 0.5).collect();
        let whole = draws(Shard::WHOLE);
        assert_eq!(whole.iter().flat_map(|(_, (keeps, _))| keeps.clone()).collect::<Vec<_>>(), plain);
        for world in [2, 3] {
            let mut all: Vec<_> = (0..world).flat_map(|rank| draws(Shard { rank, world })).collect();
            all.sort();
            assert_eq!(all, whole);
        }
    }
}
