//! GPUs of NVIDIA over NCCL, one for each process.
//!
//! Gradients are summed where they lie, on a stream of their own beside the default one, on which everything else runs: the
//! backward pass goes on meanwhile ([`in_place`]). The host's values (counts, losses, detections) go by way of the GPU's
//! memory, or by MPI where that started the processes. NCCL adds up in the type that it is given; its order of additions
//! depends on the number of processes and how they are connected, so that the same world gives the same bits.

mod communicator;
mod in_place;
mod library;
mod lifeline;
mod rendezvous;
mod stream;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cudarc::driver::CudaDevice;
use cudarc::driver::sys::CUdeviceptr;
use half::bf16;

use self::communicator::Communicator;
use self::library::{Library, Type, UniqueId};
use self::lifeline::Lifeline;
use self::stream::{Staging, Stream, driver, to_gpu, to_host};
use super::{Collective, CollectiveError, PendingSum, Sum, Summands, check_parts, pending};

pub use self::rendezvous::Launch;

/// One process and its GPU among others.
pub struct Nccl {
    rank: usize,
    world: usize,
    /// The number of the GPU.
    ordinal: usize,
    /// Tells the others how this one ends; dropped first.
    lifeline: Option<Lifeline>,
    /// What the host's values travel by, if not by the GPU.
    host: Option<Rc<dyn Collective>>,
    communicator: Arc<Communicator>,
    stream: Rc<Stream>,
    staging: RefCell<Staging>,
    times: in_place::Times,
}

impl Nccl {
    /// The processes that a launcher without MPI started, this one with GPU number `ordinal`. `limit` is how long the others
    /// are waited for, here and in each call.
    ///
    /// # Errors
    /// No NCCL, no such GPU, a process that does not come.
    pub fn join(launch: &Launch, ordinal: usize, limit: Duration) -> Result<Self, CollectiveError> {
        let (library, device) = (Library::get()?, open(ordinal)?);
        let (id, connections) = launch.meet(limit, || Ok(library.unique_id()?.0))?;
        let communicator = Arc::new(Communicator::new(library, limit));
        let (rank, world) = (launch.rank, launch.world);
        let lifeline = Lifeline::watch(rank, connections, communicator.clone());
        let lifeline = lifeline.map_err(|error| CollectiveError::Nccl {
            operation: "watch the other processes",
            reason: error.to_string(),
        })?;
        communicator.join(&device, UniqueId(id), rank, world)?;
        Self::on(device, [rank, world], communicator, Some(lifeline), None)
    }

    /// The processes of `host`, this one with GPU number `ordinal`. All of them call it; NCCL serves them if it serves each.
    ///
    /// # Errors
    /// No NCCL or no such GPU for one of them, or two with the same GPU.
    pub fn over(host: Rc<dyn Collective>, ordinal: usize, limit: Duration) -> Result<Self, CollectiveError> {
        let ready = Library::get().and_then(|library| Ok((library, open(ordinal)?)));
        agree(&*host, "open a GPU and NCCL", &ready)?;
        let (library, device) = ready?;
        let (rank, world) = (host.rank(), host.world());
        let mut id = Ok(UniqueId([0; UniqueId::LEN]));
        if rank == 0 {
            id = library.unique_id();
        }
        agree(&*host, "ncclGetUniqueId", &id)?;
        let mut bytes = id?.0.to_vec();
        host.broadcast(&mut bytes, 0)?;
        let communicator = Arc::new(Communicator::new(library, limit));
        let mut id = UniqueId([0; UniqueId::LEN]);
        id.0.copy_from_slice(&bytes);
        let joined = communicator.join(&device, id, rank, world);
        agree(&*host, "join NCCL's communicator", &joined)?;
        joined?;
        Self::on(device, [rank, world], communicator, None, Some(host))
    }

    fn on(
        device: Arc<CudaDevice>,
        [rank, world]: [usize; 2],
        communicator: Arc<Communicator>,
        lifeline: Option<Lifeline>,
        host: Option<Rc<dyn Collective>>,
    ) -> Result<Self, CollectiveError> {
        let stream = Rc::new(Stream::new(device.clone())?);
        let (ordinal, staging) = (device.ordinal(), RefCell::new(Staging::new(device)));
        Ok(Self { rank, world, ordinal, lifeline, host, communicator, stream, staging, times: Rc::default() })
    }

    /// The library and its version, in words.
    ///
    /// # Errors
    /// There is none.
    pub fn library() -> Result<String, CollectiveError> {
        Ok(format!("NCCL {}", Library::get()?.version()))
    }

    /// The number of this process's GPU.
    pub fn ordinal(&self) -> usize {
        self.ordinal
    }

    /// Gives `sent` to the GPU, lets `work` give NCCL what it does with the address of `room` bytes there, and copies
    /// `received` back from `from` bytes behind it.
    fn staged<S: Copy, R: Copy>(
        &self,
        operation: &'static str,
        room: usize,
        sent: &[S],
        (received, from): (&mut [R], usize),
        work: impl FnOnce(&Communicator, CUdeviceptr) -> Result<(), CollectiveError>,
    ) -> Result<(), CollectiveError> {
        debug_assert!(size_of_val(sent) <= room && from + size_of_val(received) <= room);
        let mut staging = self.staging.borrow_mut();
        let address = staging.room(room)?;
        // SAFETY: there is room for as many bytes. Nothing uses it but this function, which returns when the stream is
        // done; where it is not done in time, the room is not used any more, and `sent` is what the driver read at once.
        unsafe { to_gpu(address, sent, &self.stream) }?;
        work(&self.communicator, address)?;
        self.communicator.wait(operation, &self.stream.mark()?)?;
        // SAFETY: all that writes there is done, plain numbers lie there, and there are as many as `room` says.
        unsafe { to_host(received, address + from as CUdeviceptr, &self.stream) }
    }

    fn sum<T: Copy>(&self, numbers: &mut [T], kind: Type) -> Result<(), CollectiveError> {
        let (bytes, count, sent) = (size_of_val(numbers), numbers.len(), numbers.to_vec());
        self.staged("all-reduce", bytes, &sent, (numbers, 0), |communicator, at| {
            // SAFETY: the room holds the numbers, and nothing else uses it (`staged`).
            unsafe { communicator.all_reduce(&[(at, count)], kind, &self.stream) }
        })
    }

    fn gather<T: Copy>(&self, own: &[T], all: &mut [T], kind: Type) -> Result<(), CollectiveError> {
        // The parts behind the own one, where any type may begin.
        let behind = size_of_val(own).next_multiple_of(256);
        let room = behind + size_of_val(all);
        self.staged("all-gather", room, own, (all, behind), |communicator, at| {
            let addresses = [at, at + behind as CUdeviceptr];
            // SAFETY: the room holds `world` times as many values behind the own ones; nothing else uses it.
            unsafe { communicator.all_gather(addresses, own.len(), kind, &self.stream) }
        })
    }

    fn sum_bf16(&self, numbers: &mut [bf16]) -> Result<(), CollectiveError> {
        // Rounded once, as the trait has it: NCCL would round after each addition.
        let mut single: Vec<f32> = numbers.iter().map(|number| number.to_f32()).collect();
        self.sum(&mut single, Type::F32)?;
        numbers.iter_mut().zip(single).for_each(|(number, sum)| *number = bf16::from_f32(sum));
        Ok(())
    }
}

/// The context of a GPU, the same as every user of it in this process has.
fn open(ordinal: usize) -> Result<Arc<CudaDevice>, CollectiveError> {
    const OPERATION: &str = "open the GPU";
    let count = crate::Cuda::count()
        .map_err(|error| CollectiveError::Nccl { operation: OPERATION, reason: error.to_string() })?;
    if ordinal >= count {
        let reason = format!("cuda:{ordinal} is wanted, and the driver shows {count} on this host");
        return Err(CollectiveError::Nccl { operation: OPERATION, reason });
    }
    CudaDevice::new(ordinal).map_err(driver(OPERATION))
}

/// An error on each process where one of them has one.
fn agree<T>(
    host: &dyn Collective,
    operation: &'static str,
    own: &Result<T, CollectiveError>,
) -> Result<(), CollectiveError> {
    let text = own.as_ref().err().map(ToString::to_string).unwrap_or_default();
    let all = host.all_gather_bytes(text.as_bytes())?;
    match all.iter().enumerate().find(|(_, text)| !text.is_empty()) {
        Some((rank, text)) => {
            let reason = format!("rank {rank}: {}", String::from_utf8_lossy(text));
            Err(CollectiveError::Nccl { operation, reason })
        }
        None => Ok(()),
    }
}

impl Collective for Nccl {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.world
    }

    fn all_reduce(&self, numbers: Summands<'_>) -> Result<(), CollectiveError> {
        if let Some(host) = &self.host {
            return host.all_reduce(numbers);
        }
        match numbers {
            Summands::F32(numbers) => self.sum(numbers, Type::F32),
            Summands::F64(numbers) => self.sum(numbers, Type::F64),
            Summands::Bf16(numbers) => self.sum_bf16(numbers),
        }
    }

    fn reduce_scatter(&self, numbers: &[f32], own: &mut [f32]) -> Result<(), CollectiveError> {
        const OPERATION: &str = "reduce-scatter";
        check_parts(OPERATION, numbers.len(), own.len(), self.world)?;
        if let Some(host) = &self.host {
            return host.reduce_scatter(numbers, own);
        }
        let behind = size_of_val(numbers).next_multiple_of(256);
        let (room, count) = (behind + size_of_val(own), own.len());
        self.staged(OPERATION, room, numbers, (own, behind), |communicator, at| {
            let addresses = [at, at + behind as CUdeviceptr];
            // SAFETY: the room holds all parts and the own one behind them; nothing else uses it.
            unsafe { communicator.reduce_scatter(addresses, count, Type::F32, &self.stream) }
        })
    }

    fn all_gather(&self, own: &[f32], all: &mut [f32]) -> Result<(), CollectiveError> {
        check_parts("all-gather", all.len(), own.len(), self.world)?;
        match &self.host {
            Some(host) => host.all_gather(own, all),
            None => self.gather(own, all, Type::F32),
        }
    }

    fn all_gather_bytes(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        if let Some(host) = &self.host {
            return host.all_gather_bytes(own);
        }
        let mut lengths = vec![0; 8 * self.world];
        self.gather(&(own.len() as u64).to_le_bytes(), &mut lengths, Type::U8)?;
        let (lengths, _) = lengths.as_chunks();
        let lengths: Vec<usize> = lengths.iter().map(|bytes| u64::from_le_bytes(*bytes) as usize).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        if longest == 0 {
            return Ok(vec![Vec::new(); self.world]);
        }
        // As long as the longest: NCCL's parts are alike.
        let mut sent = own.to_vec();
        sent.resize(longest, 0);
        let mut all = vec![0; longest * self.world];
        self.gather(&sent, &mut all, Type::U8)?;
        Ok(all.chunks_exact(longest).zip(lengths).map(|(part, length)| part[..length].to_vec()).collect())
    }

    fn broadcast(&self, bytes: &mut Vec<u8>, root: usize) -> Result<(), CollectiveError> {
        if let Some(host) = &self.host {
            return host.broadcast(bytes, root);
        }
        let send = |bytes: &mut [u8]| {
            let (count, sent) = (bytes.len(), bytes.to_vec());
            self.staged("broadcast", count, &sent, (bytes, 0), |communicator, at| {
                // SAFETY: the room holds the bytes, and nothing else uses it.
                unsafe { communicator.broadcast(at, count, Type::U8, root, &self.stream) }
            })
        };
        let mut length = (bytes.len() as u64).to_le_bytes();
        send(&mut length)?;
        bytes.resize(u64::from_le_bytes(length) as usize, 0);
        if bytes.is_empty() { Ok(()) } else { send(bytes) }
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        match &self.host {
            Some(host) => host.barrier(),
            None => self.sum(&mut [0.0f32], Type::F32),
        }
    }

    fn begin_sum(&self, sum: Sum) -> Result<PendingSum, CollectiveError> {
        if let Some(host) = &self.host {
            return host.begin_sum(sum);
        }
        let begun = Instant::now();
        let numbers = pending::at_once(self, sum)?;
        Ok(PendingSum::made(numbers, begun.elapsed()))
    }

    fn abort(&self, status: u8) -> ! {
        if let Some(host) = &self.host {
            host.abort(status);
        }
        if let Some(lifeline) = &self.lifeline {
            lifeline.abort(status);
        }
        lifeline::end(status)
    }

    fn nccl(&self) -> Option<&Nccl> {
        Some(self)
    }
}

impl Drop for Nccl {
    fn drop(&mut self) {
        self.lifeline = None;
        // Who leaves for an error may leave sums behind that the others never come to.
        let begun = Instant::now();
        let is_idle = || self.stream.mark().and_then(|mark| mark.is_reached()).unwrap_or(false);
        while begun.elapsed() < Duration::from_secs(2) {
            if is_idle() {
                return self.communicator.close();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.communicator.abort();
    }
}
