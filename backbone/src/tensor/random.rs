//! Random numbers of a forward pass, by position: drawing for op number k does not depend on how the draws
//! before it were split over threads, and a recomputed block draws what it drew the first time.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// A stream of independent generators, one for each op that asks.
#[derive(Clone, Debug)]
pub struct RandomStream {
    seed: u64,
    position: u64,
}

impl RandomStream {
    /// A stream that depends on `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self { seed, position: 0 }
    }

    /// The generator for the next op.
    pub fn next_generator(&mut self) -> ChaCha8Rng {
        let mut generator = ChaCha8Rng::seed_from_u64(self.seed);
        generator.set_stream(self.position);
        self.position += 1;
        generator
    }

    /// `count` draws, each true with probability `keep`.
    pub fn keeps(&mut self, count: usize, keep: f32) -> Vec<bool> {
        let mut generator = self.next_generator();
        (0..count).map(|_| generator.random::<f32>() < keep).collect()
    }
}
