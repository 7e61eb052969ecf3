//! The gradients of a step, summed over processes: each process has those of its part of the batch, whose losses are
//! divided by the count over all parts, so that the sums are the gradients of the whole batch.
//!
//! Gradients travel in buckets of about 25 MB (as PyTorch's DistributedDataParallel has it): large enough that the latency
//! of a call does not count, small enough that a first one is full early. They are filled from the last parameter to the
//! first, nearly the order in which a backward pass makes gradients, and each is sent while the pass goes on. On GPUs that NCCL
//! joins a bucket is not a copy, but what is given to NCCL at once: gradients are summed where they lie.

mod buckets;
mod exchanging;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::buckets::{Buckets, Piece};
pub use self::exchanging::{Exchanging, OwnSums, Summed};
use super::Share;

/// As what gradients travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradientFormat {
    /// As they are.
    #[default]
    F32,
    /// Rounded to bfloat16 before they are sent, and their sums again: half the bytes, 8 bits of each number.
    Bf16,
}

/// How the gradients of a module's parameters are summed over processes, and what that has cost.
pub struct GradientExchange {
    format: GradientFormat,
    share: Share,
    buckets: Buckets,
    /// Buckets' memory, for the next step.
    spare: Vec<Vec<f32>>,
    cost: Cost,
}

/// What exchanges have cost so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Exchanges made.
    pub steps: u64,
    /// The time for which sums were under way.
    pub summing: Duration,
    /// The part of it that the backward pass did not hide.
    pub waited: Duration,
}

impl GradientExchange {
    /// An exchange of gradients in `buckets`, of whose sums each process gets `share`.
    pub fn new(buckets: Buckets, format: GradientFormat, share: Share) -> Self {
        Self { format, share, buckets, spare: Vec::new(), cost: Cost::default() }
    }

    /// Bytes that a process gives to one exchange.
    pub fn bytes(&self) -> usize {
        let each = match self.format {
            GradientFormat::F32 => 4,
            GradientFormat::Bf16 => 2,
        };
        each * self.buckets.values()
    }

    /// Number of buckets.
    pub fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// What the exchanges so far have cost.
    pub fn cost(&self) -> Cost {
        self.cost
    }
}
