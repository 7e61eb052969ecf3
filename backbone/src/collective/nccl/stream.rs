//! The stream that NCCL's sums are made on, beside the default one, and how each waits for the other.

use std::sync::Arc;
use std::time::Duration;

use cudarc::driver::sys::{CUdeviceptr, CUevent, CUevent_flags, CUresult, CUstream};
use cudarc::driver::{CudaDevice, result, sys};

use crate::collective::CollectiveError;

/// An error of the driver during `operation`.
pub(super) fn driver<E: std::fmt::Debug>(operation: &'static str) -> impl Fn(E) -> CollectiveError {
    move |error| CollectiveError::Nccl { operation, reason: format!("the GPU's driver: {error:?}") }
}

/// A stream that does not wait for the default one unless told to.
pub(super) struct Stream {
    device: Arc<CudaDevice>,
    raw: CUstream,
}

impl Stream {
    pub(super) fn new(device: Arc<CudaDevice>) -> Result<Self, CollectiveError> {
        const OPERATION: &str = "stream of sums";
        device.bind_to_thread().map_err(driver(OPERATION))?;
        let kind = result::stream::StreamKind::NonBlocking;
        Ok(Self { raw: result::stream::create(kind).map_err(driver(OPERATION))?, device })
    }

    /// The driver's handle.
    pub(super) fn raw(&self) -> CUstream {
        self.raw
    }

    /// A mark behind all that this stream was given.
    pub(super) fn mark(&self) -> Result<Mark, CollectiveError> {
        Mark::on(&self.device, self.raw)
    }

    /// A mark behind all that the default stream was given.
    pub(super) fn mark_default(&self) -> Result<Mark, CollectiveError> {
        Mark::on(&self.device, *self.device.cu_stream())
    }

    /// What this stream is given from now on begins when `mark` is reached.
    pub(super) fn waits_for(&self, mark: &Mark) -> Result<(), CollectiveError> {
        mark.holds_up(self.raw)
    }

    /// The same of the default stream.
    pub(super) fn default_waits_for(&self, mark: &Mark) -> Result<(), CollectiveError> {
        mark.holds_up(*self.device.cu_stream())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.device.bind_to_thread().is_ok() {
            // SAFETY: `new` made the stream, and nothing uses it any more; the driver ends what it still has. A failure
            // leaves it to the end of the process.
            let _ = unsafe { result::stream::destroy(self.raw) };
        }
    }
}

/// A place in a stream.
pub(super) struct Mark {
    device: Arc<CudaDevice>,
    event: CUevent,
}

impl Mark {
    fn on(device: &Arc<CudaDevice>, stream: CUstream) -> Result<Self, CollectiveError> {
        const OPERATION: &str = "mark of a stream";
        device.bind_to_thread().map_err(driver(OPERATION))?;
        let event = result::event::create(CUevent_flags::CU_EVENT_DEFAULT).map_err(driver(OPERATION))?;
        let mark = Self { device: device.clone(), event };
        // SAFETY: event and stream are open, in the bound context.
        unsafe { result::event::record(event, stream) }.map_err(driver(OPERATION))?;
        Ok(mark)
    }

    fn holds_up(&self, stream: CUstream) -> Result<(), CollectiveError> {
        const OPERATION: &str = "order of streams";
        self.device.bind_to_thread().map_err(driver(OPERATION))?;
        // SAFETY: event and stream are open, in the bound context.
        unsafe { sys::cuStreamWaitEvent(stream, self.event, 0) }.result().map_err(driver(OPERATION))
    }

    /// Whether its stream got there.
    pub(super) fn is_reached(&self) -> Result<bool, CollectiveError> {
        // SAFETY: the event is open.
        match unsafe { sys::cuEventQuery(self.event) } {
            CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            other => other.result().map(|()| true).map_err(driver("wait for the GPU")),
        }
    }

    /// The time from `earlier` to here, both reached.
    pub(super) fn since(&self, earlier: &Self) -> Duration {
        // SAFETY: both events are open, and record times. Where the driver refuses, nothing but a figure is lost.
        let milliseconds = unsafe { result::event::elapsed(earlier.event, self.event) }.unwrap_or(0.0);
        Duration::from_secs_f64(f64::from(milliseconds.max(0.0)) / 1e3)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if self.device.bind_to_thread().is_ok() {
            // SAFETY: `on` made the event, and nothing uses it any more. A failure leaves it to the end of the process.
            let _ = unsafe { result::event::destroy(self.event) };
        }
    }
}

/// Memory of the GPU through which the host's values travel.
pub(super) struct Staging {
    device: Arc<CudaDevice>,
    address: CUdeviceptr,
    capacity: usize,
}

impl Staging {
    pub(super) fn new(device: Arc<CudaDevice>) -> Self {
        Self { device, address: 0, capacity: 0 }
    }

    /// The address of room for `bytes`, in whole pages; what was there before is lost.
    pub(super) fn room(&mut self, bytes: usize) -> Result<CUdeviceptr, CollectiveError> {
        const OPERATION: &str = "memory for the host's values";
        self.device.bind_to_thread().map_err(driver(OPERATION))?;
        if bytes > self.capacity {
            self.free();
            let capacity = bytes.next_power_of_two().max(1 << 16);
            // SAFETY: the memory is written before it is read, by copies and by NCCL.
            self.address = unsafe { result::malloc_sync(capacity) }.map_err(driver(OPERATION))?;
            self.capacity = capacity;
        }
        Ok(self.address)
    }

    fn free(&mut self) {
        if self.capacity > 0 {
            // SAFETY: the address is `room`'s, and every user waits until the GPU is done with it. A failure leaves it to
            // the end of the process.
            let _ = unsafe { result::free_sync(self.address) };
            (self.address, self.capacity) = (0, 0);
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.device.bind_to_thread().is_ok() {
            self.free();
        }
    }
}

/// Copies plain values to `address`, which has room for them, as `stream` gets there. They must stay until it has.
///
/// # Safety
/// As said.
pub(super) unsafe fn to_gpu<T: Copy>(
    address: CUdeviceptr,
    values: &[T],
    stream: &Stream,
) -> Result<(), CollectiveError> {
    if values.is_empty() {
        return Ok(());
    }
    // SAFETY: the caller answers for address and lifetime; the context was bound for the address.
    unsafe { result::memcpy_htod_async(address, values, stream.raw()) }.map_err(driver("copy to the GPU"))
}

/// Copies values back on `stream`, which has nothing else to do, and returns when they are there. Not on the default stream,
/// whose work would be waited for.
///
/// # Safety
/// So many plain values lie at `address`.
pub(super) unsafe fn to_host<T: Copy>(
    values: &mut [T],
    address: CUdeviceptr,
    stream: &Stream,
) -> Result<(), CollectiveError> {
    if values.is_empty() {
        return Ok(());
    }
    // SAFETY: the caller answers for the address, whose context was bound for it; the values are borrowed until the copy is
    // done.
    unsafe {
        result::memcpy_dtoh_async(values, address, stream.raw())
            .and_then(|()| result::stream::synchronize(stream.raw()))
    }
    .map_err(driver("copy from the GPU"))
}
