//! The processes of an MPI launcher: `mpirun`, `srun`, an MPIJob. Any MPI that was there when the program was built:
//! Open MPI and MPICH are tried.
//!
//! All calls come from the thread that joined but those of sums that were begun, which a second thread makes where MPI lets
//! two call at once (`MPI_THREAD_MULTIPLE`). An error within MPI ends all processes, which is MPI's default.

mod background;
mod sums;

use std::cell::OnceCell;

use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, CommunicatorCollectives as _, Root as _};

use self::background::Background;
use super::{Collective, CollectiveError, PendingSum, Share, Sum, Summands, check_parts};

/// Values in one call: MPI counts in 32 bits, and a send buffer of this size is allocated once.
const PIECE: usize = 1 << 24;

/// A launcher's processes. Dropping it waits for all of them and ends MPI.
pub struct Mpi {
    /// Makes sums that were begun; started by the first of them, ended before the rest.
    background: OnceCell<Background>,
    /// Whether MPI may be called from two threads at once.
    multiple: bool,
    world: SimpleCommunicator,
    /// Ends MPI when it is dropped, after the communicator.
    _universe: Universe,
}

impl Mpi {
    /// Joins the launcher's processes; to be called once, from the thread that will make all calls.
    ///
    /// # Errors
    /// MPI that was joined already or does not let other threads compute beside it.
    pub fn join() -> Result<Self, CollectiveError> {
        let launch = |reason: &str| CollectiveError::Launch(reason.to_owned());
        let joined = mpi::initialize_with_threading(Threading::Multiple);
        let (universe, granted) = joined.ok_or_else(|| launch("it was joined already"))?;
        if granted < Threading::Funneled {
            return Err(launch(
                "it grants MPI_THREAD_SINGLE only, MPI_THREAD_FUNNELED is needed: take a build of it with threads",
            ));
        }
        let multiple = granted >= Threading::Multiple;
        Ok(Self { background: OnceCell::new(), multiple, world: universe.world(), _universe: universe })
    }

    /// The library's name and version.
    pub fn library(&self) -> String {
        let text = mpi::environment::library_version().unwrap_or_default();
        text.lines().next().unwrap_or_default().trim_end_matches('\0').to_owned()
    }
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn world(&self) -> usize {
        self.world.size() as usize
    }

    fn all_reduce(&self, numbers: Summands<'_>) -> Result<(), CollectiveError> {
        match numbers {
            Summands::F32(numbers) => sums::all(&self.world, numbers),
            Summands::F64(numbers) => sums::all(&self.world, numbers),
            Summands::Bf16(numbers) => sums::all_bf16(&self.world, numbers),
        }
        Ok(())
    }

    fn reduce_scatter(&self, numbers: &[f32], own: &mut [f32]) -> Result<(), CollectiveError> {
        check_parts("reduce-scatter", numbers.len(), own.len(), self.world())?;
        self.world.reduce_scatter_block_into(numbers, own, SystemOperation::sum());
        Ok(())
    }

    fn all_gather(&self, own: &[f32], all: &mut [f32]) -> Result<(), CollectiveError> {
        check_parts("all-gather", all.len(), own.len(), self.world())?;
        self.world.all_gather_into(own, all);
        Ok(())
    }

    fn all_gather_bytes(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        let mut lengths = vec![0u64; self.world()];
        self.world.all_gather_into(&(own.len() as u64), &mut lengths[..]);
        let mut parts: Vec<Vec<u8>> = lengths.iter().map(|n| Vec::with_capacity(*n as usize)).collect();
        let longest = lengths.iter().max().map_or(0, |n| *n as usize);
        // Pieces small enough for the counts and places of all processes' to stay within 32 bits.
        let piece = (i32::MAX as usize / self.world()).min(PIECE);
        for start in (0..longest).step_by(piece) {
            let part_of = |length: usize| start.min(length)..(start + piece).min(length);
            let counts: Vec<i32> = lengths.iter().map(|n| part_of(*n as usize).len() as i32).collect();
            let places: Vec<i32> = counts
                .iter()
                .scan(0, |next, count| {
                    let place = *next;
                    *next += count;
                    Some(place)
                })
                .collect();
            let mut all = vec![0u8; counts.iter().map(|n| *n as usize).sum()];
            {
                let mut partition = PartitionMut::new(&mut all[..], &counts[..], &places[..]);
                self.world.all_gather_varcount_into(&own[part_of(own.len())], &mut partition);
            }
            let mut rest = &all[..];
            for (part, count) in parts.iter_mut().zip(&counts) {
                let (now, later) = rest.split_at(*count as usize);
                part.extend_from_slice(now);
                rest = later;
            }
        }
        Ok(parts)
    }

    fn broadcast(&self, bytes: &mut Vec<u8>, root: usize) -> Result<(), CollectiveError> {
        let root = self.world.process_at_rank(root as i32);
        let mut length = bytes.len() as u64;
        root.broadcast_into(&mut length);
        bytes.resize(length as usize, 0);
        bytes.chunks_mut(PIECE).for_each(|piece| root.broadcast_into(piece));
        Ok(())
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        self.world.barrier();
        Ok(())
    }

    fn begin_sum(&self, sum: Sum) -> Result<PendingSum, CollectiveError> {
        if sum.share == Share::Own {
            let (values, world) = (sum.numbers.len(), self.world());
            check_parts("sum of own parts", values, values / world, world)?;
        }
        if !self.multiple {
            let begun = std::time::Instant::now();
            let numbers = sums::made(&self.world, sum);
            return Ok(PendingSum::made(numbers, begun.elapsed()));
        }
        self.background.get_or_init(Background::start).begin(sum)
    }

    fn abort(&self, status: u8) -> ! {
        self.world.abort(status.into())
    }
}
