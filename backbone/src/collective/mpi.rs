//! The processes of an MPI launcher: `mpirun`, `srun`, an MPIJob. Any MPI that was there when the program was built:
//! Open MPI and MPICH are tried.
//!
//! All calls come from the thread that joined. An error within MPI ends all processes, which is MPI's default.

use half::bf16;
use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, CommunicatorCollectives as _, Equivalence, Root as _};

use super::{Collective, CollectiveError, Summands, check_parts};

/// Values in one call: MPI counts in 32 bits, and a send buffer of this size is allocated once.
const PIECE: usize = 1 << 24;

/// A launcher's processes. Dropping it waits for all of them and ends MPI.
pub struct Mpi {
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
        let joined = mpi::initialize_with_threading(Threading::Funneled);
        let (universe, granted) = joined.ok_or_else(|| launch("it was joined already"))?;
        if granted < Threading::Funneled {
            return Err(launch(
                "it grants MPI_THREAD_SINGLE only, MPI_THREAD_FUNNELED is needed: take a build of it with threads",
            ));
        }
        Ok(Self { world: universe.world(), _universe: universe })
    }

    /// The library's name and version.
    pub fn library(&self) -> String {
        let text = mpi::environment::library_version().unwrap_or_default();
        text.lines().next().unwrap_or_default().trim_end_matches('\0').to_owned()
    }

    fn sum<T: Equivalence + Copy>(&self, numbers: &mut [T]) {
        let mut send = Vec::with_capacity(numbers.len().min(PIECE));
        for piece in numbers.chunks_mut(PIECE) {
            send.clear();
            send.extend_from_slice(piece);
            self.world.all_reduce_into(&send[..], piece, SystemOperation::sum());
        }
    }

    /// MPI has no bfloat16. Each process adds up, in f32 and in the order of ranks, the part of its rank, and sends its sums
    /// to all: as many bytes as the sum of a ring of 16-bit numbers.
    fn sum_bf16(&self, numbers: &mut [bf16]) {
        let world = self.world();
        for piece in numbers.chunks_mut(PIECE) {
            let part = piece.len().div_ceil(world);
            let mut send: Vec<u16> = piece.iter().map(|n| n.to_bits()).collect();
            send.resize(part * world, 0);
            let mut received = vec![0u16; part * world];
            self.world.all_to_all_into(&send[..], &mut received[..]);
            let mut sums = vec![0.0f32; part];
            for from in received.chunks_exact(part.max(1)) {
                sums.iter_mut().zip(from).for_each(|(sum, n)| *sum += bf16::from_bits(*n).to_f32());
            }
            let own: Vec<u16> = sums.iter().map(|sum| bf16::from_f32(*sum).to_bits()).collect();
            self.world.all_gather_into(&own[..], &mut received[..]);
            piece.iter_mut().zip(received).for_each(|(n, bits)| *n = bf16::from_bits(bits));
        }
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
            Summands::F32(numbers) => self.sum(numbers),
            Summands::F64(numbers) => self.sum(numbers),
            Summands::Bf16(numbers) => self.sum_bf16(numbers),
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

    fn abort(&self, status: u8) -> ! {
        self.world.abort(status.into())
    }
}
