//! Batches to the GPU while it computes: copied into pinned memory, and from there by a stream of its own, which the
//! computing stream waits for and the host does not.

use super::launch::failed;
use crate::error::Result;
use cudarc::driver::{CudaDevice, CudaSlice, DeviceRepr, result, sys};
use rayon::prelude::*;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

const OP: &str = "copy to the GPU";

/// Values that a thread copies at a time.
const PIECE: usize = 1 << 16;

/// Of pinned memory, at least.
const ALIGNMENT: usize = 256;

/// Pinned pieces of memory and the stream that empties them.
#[derive(Debug)]
pub(super) struct Staging {
    driver: Arc<CudaDevice>,
    stream: sys::CUstream,
    free: Mutex<Vec<Pinned>>,
}

// SAFETY: the stream and the events of the pieces are handles that the driver takes from any thread that the context is
// bound to, which `send` sees to; the pieces are only reached through the lock.
unsafe impl Send for Staging {}
// SAFETY: as above.
unsafe impl Sync for Staging {}

/// One piece of pinned memory.
#[derive(Debug)]
struct Pinned {
    bytes: *mut u8,
    capacity: usize,
    /// Done when the last copy out of it is.
    done: sys::CUevent,
}

impl Staging {
    pub(super) fn new(driver: Arc<CudaDevice>) -> Result<Self> {
        driver.bind_to_thread().map_err(failed(OP))?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking).map_err(failed(OP))?;
        Ok(Self { driver, stream, free: Mutex::default() })
    }

    /// A copy of `values` on the GPU. Returns when they have been read; whatever the default stream is given from then
    /// on finds the copy complete.
    pub(super) fn send<T: DeviceRepr + Copy + Send + Sync>(&self, values: &[T]) -> Result<CudaSlice<T>> {
        const { assert!(align_of::<T>() <= ALIGNMENT) };
        self.driver.bind_to_thread().map_err(failed(OP))?;
        let pinned = self.piece(size_of_val(values))?;
        // SAFETY: the piece has room for at least as many bytes, is aligned to a page and initialized, of which any make
        // a plain number (DeviceRepr), and its last copy is done, so that nobody else reads or writes it; it was taken
        // out of the list, so that this is the only reference to it.
        let staged = unsafe { std::slice::from_raw_parts_mut(pinned.bytes.cast::<T>(), values.len()) };
        staged
            .par_chunks_mut(PIECE)
            .zip(values.par_chunks(PIECE))
            .for_each(|(to, from)| to.copy_from_slice(from));
        // SAFETY: the stream is open. The memory comes from the stream's order and the default stream uses it only
        // after the event below; the piece is not written before its event says that the copy is done; the slice that
        // is made has the length that was allocated.
        let copied = unsafe {
            result::malloc_async(self.stream, size_of_val(staged)).and_then(|address| {
                let slice = self.driver.upgrade_device_ptr(address, staged.len());
                let sent = result::memcpy_htod_async(address, staged, self.stream)
                    .and_then(|()| result::event::record(pinned.done, self.stream))
                    .and_then(|()| sys::cuStreamWaitEvent(*self.driver.cu_stream(), pinned.done, 0).result());
                if sent.is_err() {
                    // The default stream, which frees the memory, was not told to wait for this one.
                    let _ = result::stream::synchronize(self.stream);
                }
                sent.map(|()| slice)
            })
        };
        match copied {
            Ok(slice) => {
                self.free.lock().unwrap_or_else(PoisonError::into_inner).push(pinned);
                Ok(slice)
            }
            // Its event does not tell when it is idle: it stays to the end of the process.
            Err(error) => Err(failed(OP)(error)),
        }
    }

    /// A piece that nothing uses, with room for `len` bytes.
    fn piece(&self, len: usize) -> Result<Pinned> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |piece: &Pinned| {
            // SAFETY: the event lives as long as the piece.
            piece.capacity >= len && unsafe { sys::cuEventQuery(piece.done) }.result().is_ok()
        };
        if let Some(found) = free.iter().position(idle) {
            return Ok(free.swap_remove(found));
        }
        drop(free);
        let capacity = len.next_power_of_two();
        let mut memory: *mut c_void = std::ptr::null_mut();
        // SAFETY: `memory` is written before it is read.
        unsafe { sys::cuMemHostAlloc(&raw mut memory, capacity, 0) }
            .result()
            .map_err(failed("allocate pinned memory"))?;
        // SAFETY: the memory was just given for that many bytes; zeros make it initialized.
        unsafe { memory.cast::<u8>().write_bytes(0, capacity) };
        let done = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING);
        Ok(Pinned { bytes: memory.cast(), capacity, done: done.map_err(failed(OP))? })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.driver.bind_to_thread().is_err() {
            return;
        }
        let pieces = self.free.get_mut().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the stream and the events were made by `new` and `piece` and are not used any more; the pieces are
        // freed once the stream has read them. A failure leaves them to the end of the process.
        unsafe {
            if result::stream::synchronize(self.stream).is_err() {
                return;
            }
            for piece in pieces.drain(..) {
                let _ = result::event::destroy(piece.done);
                let _ = sys::cuMemFreeHost(piece.bytes.cast()).result();
            }
            let _ = result::stream::destroy(self.stream);
        }
    }
}
