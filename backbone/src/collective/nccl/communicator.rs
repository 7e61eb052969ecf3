//! NCCL's communicator: calls on it, and its end, which another thread may bring about while this one waits.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cudarc::driver::CudaDevice;
use cudarc::driver::sys::CUdeviceptr;

use super::library::{Comm, Library, SUM, Status, Type, UniqueId};
use super::stream::{Mark, Stream, driver};
use crate::collective::CollectiveError;

/// No rank.
const NONE: usize = usize::MAX;

/// A handle that may be used from any thread, as NCCL has it, but not from two at once.
struct Held(Comm);

// SAFETY: NCCL ties a communicator to a device, not to a thread; the lock around it lets one call at a time.
unsafe impl Send for Held {}

/// A communicator that is ended at most once.
pub(super) struct Communicator {
    library: &'static Library,
    comm: Mutex<Option<Held>>,
    /// A rank that is known to have ended.
    lost: AtomicUsize,
    /// How long a sum may take.
    limit: Duration,
}

impl Communicator {
    /// One that is not joined yet.
    pub(super) fn new(library: &'static Library, limit: Duration) -> Self {
        Self { library, comm: Mutex::default(), lost: AtomicUsize::new(NONE), limit }
    }

    /// Joins the other processes on `device`; NCCL returns when all came, which is waited for within the limit.
    pub(super) fn join(
        &self,
        device: &Arc<CudaDevice>,
        id: UniqueId,
        rank: usize,
        world: usize,
    ) -> Result<(), CollectiveError> {
        const OPERATION: &str = "ncclCommInitRank";
        let (library, device, limit) = (self.library, device.clone(), self.limit);
        let (done, joined) = channel();
        std::thread::spawn(move || {
            let status = device.bind_to_thread().map_err(driver(OPERATION)).and_then(|()| {
                let mut comm: Comm = std::ptr::null_mut();
                // SAFETY: `comm` is written before it is read, and the GPU's context is bound.
                let status = unsafe { (library.init_rank)(&raw mut comm, world as c_int, id, rank as c_int) };
                library.check(OPERATION, status).map(|()| Held(comm))
            });
            // Nobody listens after the limit.
            let _ = done.send(status);
        });
        let begun = Instant::now();
        let held = loop {
            self.check_peers(OPERATION)?;
            match joined.recv_timeout(Duration::from_millis(20)) {
                Ok(held) => break held?,
                Err(RecvTimeoutError::Timeout) if begun.elapsed() > limit => {
                    return Err(CollectiveError::Late { operation: OPERATION, limit });
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(CollectiveError::Gone { operation: OPERATION });
                }
            }
        };
        *self.lock() = Some(held);
        // A process that ended meanwhile has not found it.
        self.check_peers(OPERATION)
    }

    /// Nothing that may panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.comm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a rank ended, and frees whoever waits for it.
    pub(super) fn lose(&self, rank: usize) {
        self.lost.store(rank, Ordering::Release);
        self.abort();
    }

    /// Ends the communicator and what is under way on it.
    pub(super) fn abort(&self) {
        if let Some(Held(comm)) = self.lock().take() {
            // SAFETY: the communicator is open and was taken out, so that nobody else uses it. Whether this is told as a
            // success changes nothing.
            let _ = unsafe { (self.library.abort)(comm) };
        }
    }

    /// Ends it in good order: all that was asked of it is done.
    pub(super) fn close(&self) {
        if let Some(Held(comm)) = self.lock().take() {
            // SAFETY: as in `abort`.
            let _ = unsafe { (self.library.destroy)(comm) };
        }
    }

    /// Whether a process is known to have ended.
    pub(super) fn check_peers(&self, operation: &'static str) -> Result<(), CollectiveError> {
        match self.lost.load(Ordering::Acquire) {
            NONE => Ok(()),
            rank => Err(CollectiveError::Lost { operation, rank }),
        }
    }

    /// Gives NCCL one piece of work.
    fn call(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Library, Comm) -> Status,
    ) -> Result<(), CollectiveError> {
        self.check_peers(operation)?;
        match &*self.lock() {
            Some(Held(comm)) => self.library.check(operation, work(self.library, *comm)),
            None => Err(CollectiveError::Gone { operation }),
        }
    }

    /// Waits until `mark` is reached; ends the communicator where it is not in time, or where a process is gone.
    pub(super) fn wait(&self, operation: &'static str, mark: &Mark) -> Result<(), CollectiveError> {
        let begun = Instant::now();
        while !mark.is_reached()? {
            let waited = begun.elapsed();
            self.check_peers(operation)?;
            self.check_work(operation).inspect_err(|_| self.abort())?;
            if waited > self.limit {
                self.abort();
                return Err(CollectiveError::Late { operation, limit: self.limit });
            }
            // A sum of a few numbers takes some ten microseconds.
            match waited.as_micros() {
                0..200 => std::hint::spin_loop(),
                micros => std::thread::sleep(Duration::from_micros((micros / 8).min(1000) as u64)),
            }
        }
        // An aborted sum ends too.
        self.check_peers(operation)?;
        self.check_work(operation)
    }

    /// Whether the work under way is well, as far as NCCL knows.
    fn check_work(&self, operation: &'static str) -> Result<(), CollectiveError> {
        let mut status = 0;
        self.call(operation, |library, comm| {
            // SAFETY: the communicator is open, and `status` is written before it is read.
            unsafe { (library.async_error)(comm, &raw mut status) }
        })?;
        self.library.check(operation, status)
    }

    /// Replaces the values of each buffer by their sums: one piece of work for all of them.
    ///
    /// # Safety
    /// At each address lie so many values of type `kind`, that nothing else uses until `stream` gets behind this.
    pub(super) unsafe fn all_reduce(
        &self,
        buffers: &[(CUdeviceptr, usize)],
        kind: Type,
        stream: &Stream,
    ) -> Result<(), CollectiveError> {
        self.call("all-reduce", |library, comm| {
            // SAFETY: the communicator is open; the caller answers for the buffers.
            unsafe {
                let mut status = (library.group_start)();
                for &(address, count) in buffers {
                    let at = address as *mut c_void;
                    if status == 0 && count > 0 {
                        status = (library.all_reduce)(at, at, count, kind as c_int, SUM, comm, stream.raw());
                    }
                }
                // A group that was begun is ended in any case.
                let ended = (library.group_end)();
                if status == 0 { ended } else { status }
            }
        })
    }

    /// Puts this process's part of the sums, `count` values of `world` times as many at `from`, to `to`.
    ///
    /// # Safety
    /// As for [`Communicator::all_reduce`].
    pub(super) unsafe fn reduce_scatter(
        &self,
        [from, to]: [CUdeviceptr; 2],
        count: usize,
        kind: Type,
        stream: &Stream,
    ) -> Result<(), CollectiveError> {
        self.call("reduce-scatter", |library, comm| {
            let (from, to) = (from as *const c_void, to as *mut c_void);
            // SAFETY: as above.
            unsafe { (library.reduce_scatter)(from, to, count, kind as c_int, SUM, comm, stream.raw()) }
        })
    }

    /// Puts the `count` values at `from` of all processes, one after the other, to `to`.
    ///
    /// # Safety
    /// As for [`Communicator::all_reduce`].
    pub(super) unsafe fn all_gather(
        &self,
        [from, to]: [CUdeviceptr; 2],
        count: usize,
        kind: Type,
        stream: &Stream,
    ) -> Result<(), CollectiveError> {
        self.call("all-gather", |library, comm| {
            let (from, to) = (from as *const c_void, to as *mut c_void);
            // SAFETY: as above.
            unsafe { (library.all_gather)(from, to, count, kind as c_int, comm, stream.raw()) }
        })
    }

    /// Replaces `count` values by those of `root`.
    ///
    /// # Safety
    /// As for [`Communicator::all_reduce`].
    pub(super) unsafe fn broadcast(
        &self,
        at: CUdeviceptr,
        count: usize,
        kind: Type,
        root: usize,
        stream: &Stream,
    ) -> Result<(), CollectiveError> {
        self.call("broadcast", |library, comm| {
            let at = at as *mut c_void;
            // SAFETY: as above.
            unsafe { (library.broadcast)(at, at, count, kind as c_int, root as c_int, comm, stream.raw()) }
        })
    }
}
