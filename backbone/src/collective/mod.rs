//! What processes that train or evaluate together say to one another: sums over all of them, and the parts of each in the
//! order of ranks.
//!
//! All processes of a world make the same calls in the same order, with as many values each; a call returns when its result is
//! there. [`SingleProcess`] is a world of one, `Mpi` a launcher's processes, `Nccl` those with a GPU each, [`threads`] a world
//! within one process.

pub mod gradients;
pub mod in_place;
#[cfg(feature = "mpi")]
pub mod mpi;
#[cfg(feature = "cuda")]
pub mod nccl;
mod pending;
pub mod threads;

use half::bf16;
use kat_images::Shard;

pub use gradients::{GradientExchange, GradientFormat};
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
#[cfg(feature = "cuda")]
pub use nccl::Nccl;
pub use pending::{PendingSum, Share, Sum};

/// Why processes could not speak to one another. Where MPI itself fails it ends all of them, as its standard has it.
#[derive(Debug, thiserror::Error)]
pub enum CollectiveError {
    /// A process ended, or its calls are not those of the others.
    #[error("{operation}: another process ended meanwhile")]
    Gone {
        /// What was being done.
        operation: &'static str,
    },
    /// Processes came with different numbers of values: they do not run the same program on the same configuration.
    #[error("{operation}: {found} bytes from rank {rank}, expected {expected} as from this one")]
    Length {
        /// What was being done.
        operation: &'static str,
        /// Who.
        rank: usize,
        /// Bytes from there.
        found: usize,
        /// Bytes here.
        expected: usize,
    },
    /// Buffers of one process that do not go together.
    #[error("{operation}: a buffer of {found} values, expected {expected} for {world} processes")]
    Buffer {
        /// What was being done.
        operation: &'static str,
        /// Values of the buffer.
        found: usize,
        /// Values that it must have.
        expected: usize,
        /// Number of processes.
        world: usize,
    },
    /// A process that ended before the work was done.
    #[error("{operation}: rank {rank} ended: it was killed, or its host is lost")]
    Lost {
        /// What was being done.
        operation: &'static str,
        /// Who.
        rank: usize,
    },
    /// Processes that were waited for long enough.
    #[error(
        "{operation}: not done within {} s: a process hangs, or is busy with something else (KAT_NCCL_TIMEOUT=SECONDS \
         waits longer)",
        limit.as_secs()
    )]
    Late {
        /// What was being done.
        operation: &'static str,
        /// How long.
        limit: std::time::Duration,
    },
    /// The launcher's MPI cannot be joined.
    #[error("MPI: {0}")]
    Launch(String),
    /// Processes of a launcher without MPI that do not find one another.
    #[error("rank {rank} of {world}: meeting at {at}: {reason}")]
    Meeting {
        /// This process.
        rank: usize,
        /// Number of processes.
        world: usize,
        /// Where the first one is.
        at: String,
        /// What failed.
        reason: String,
    },
    /// NCCL, or the GPU that it works on.
    #[error("NCCL: {operation}: {reason}")]
    Nccl {
        /// What was being done.
        operation: &'static str,
        /// What it says.
        reason: String,
    },
}

/// Numbers to be summed.
#[derive(Debug)]
pub enum Summands<'a> {
    /// Single precision.
    F32(&'a mut [f32]),
    /// Double precision.
    F64(&'a mut [f64]),
    /// Half the bytes of single precision: added up in f32, and rounded once.
    Bf16(&'a mut [bf16]),
}

/// The processes that work together, seen from one of them.
pub trait Collective {
    /// This process, in `0..world`.
    fn rank(&self) -> usize;
    /// Number of processes.
    fn world(&self) -> usize;

    /// Replaces each number by its sum over all processes: the same bits on each.
    ///
    /// # Errors
    /// A process that is gone.
    fn all_reduce(&self, numbers: Summands<'_>) -> Result<(), CollectiveError>;

    /// Sums as [`Collective::all_reduce`]; this process gets the part of its rank, `own` being as long as one of
    /// `world` equal parts of `numbers`.
    ///
    /// # Errors
    /// Buffers that do not go together; a process that is gone.
    fn reduce_scatter(&self, numbers: &[f32], own: &mut [f32]) -> Result<(), CollectiveError>;

    /// The parts of all processes, equally long, one after the other.
    ///
    /// # Errors
    /// Buffers that do not go together; a process that is gone.
    fn all_gather(&self, own: &[f32], all: &mut [f32]) -> Result<(), CollectiveError>;

    /// The bytes of each process, as many as it has.
    ///
    /// # Errors
    /// A process that is gone.
    fn all_gather_bytes(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError>;

    /// Replaces the bytes of each process by those of `root`.
    ///
    /// # Errors
    /// A process that is gone.
    fn broadcast(&self, bytes: &mut Vec<u8>, root: usize) -> Result<(), CollectiveError>;

    /// Returns when all processes are here.
    ///
    /// # Errors
    /// A process that is gone.
    fn barrier(&self) -> Result<(), CollectiveError>;

    /// Begins a sum over all processes, which goes on while this one computes and makes other calls. All processes begin the
    /// same sums in the same order. Unless an implementation does better, it is made at once.
    ///
    /// # Errors
    /// Numbers that are not `world` equal parts, where each gets its own; a process that is gone.
    fn begin_sum(&self, sum: Sum) -> Result<PendingSum, CollectiveError> {
        let begun = std::time::Instant::now();
        let numbers = pending::at_once(self, sum)?;
        Ok(PendingSum::made(numbers, begun.elapsed()))
    }

    /// Ends all processes, this one with `status`, whatever the others wait for.
    fn abort(&self, status: u8) -> !;

    /// The GPUs of these processes, if they are joined by NCCL.
    #[cfg(feature = "cuda")]
    fn nccl(&self) -> Option<&Nccl> {
        None
    }

    /// Which part of a batch or of a list this process has.
    fn shard(&self) -> Shard {
        Shard { rank: self.rank(), world: self.world() }
    }

    /// Whether there is no other process.
    fn is_alone(&self) -> bool {
        self.world() == 1
    }
}

/// A world of one process.
#[derive(Debug, Clone, Copy, Default)]
pub struct SingleProcess;

impl Collective for SingleProcess {
    fn rank(&self) -> usize {
        0
    }

    fn world(&self) -> usize {
        1
    }

    fn all_reduce(&self, _: Summands<'_>) -> Result<(), CollectiveError> {
        Ok(())
    }

    fn reduce_scatter(&self, numbers: &[f32], own: &mut [f32]) -> Result<(), CollectiveError> {
        check_parts("reduce-scatter", numbers.len(), own.len(), 1)?;
        own.copy_from_slice(numbers);
        Ok(())
    }

    fn all_gather(&self, own: &[f32], all: &mut [f32]) -> Result<(), CollectiveError> {
        check_parts("all-gather", all.len(), own.len(), 1)?;
        all.copy_from_slice(own);
        Ok(())
    }

    fn all_gather_bytes(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        Ok(vec![own.to_vec()])
    }

    fn broadcast(&self, _: &mut Vec<u8>, _: usize) -> Result<(), CollectiveError> {
        Ok(())
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        Ok(())
    }

    fn abort(&self, status: u8) -> ! {
        std::process::exit(status.into())
    }
}

/// Checks that `whole` values are `world` parts of `part`.
fn check_parts(
    operation: &'static str,
    whole: usize,
    part: usize,
    world: usize,
) -> Result<(), CollectiveError> {
    match part.checked_mul(world) {
        Some(expected) if expected == whole => Ok(()),
        expected => {
            let expected = expected.unwrap_or(usize::MAX);
            Err(CollectiveError::Buffer { operation, found: whole, expected, world })
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
