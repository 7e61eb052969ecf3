//! Moments in the GPU's work, to time it by its own clock.

use super::Cuda;
use super::launch::failed;
use crate::error::Result;
use cudarc::driver::{CudaDevice, result, sys};
use std::sync::Arc;

const OP: &str = "GPU clock";

/// The end of everything that the GPU was given before.
#[derive(Debug)]
pub struct Moment {
    event: sys::CUevent,
    driver: Arc<CudaDevice>,
}

impl Cuda {
    /// Marks this place among what the GPU was given, without waiting.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) with what the driver says.
    pub fn moment(&self) -> Result<Moment> {
        let driver = self.context.driver().clone();
        driver.bind_to_thread().map_err(failed(OP))?;
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).map_err(failed(OP))?;
        let moment = Moment { event, driver };
        // SAFETY: event and stream are open, in the bound context.
        unsafe { result::event::record(event, *moment.driver.cu_stream()) }.map_err(failed(OP))?;
        Ok(moment)
    }
}

impl Moment {
    /// Waits until the GPU gets here, and says how many milliseconds after `earlier` that was.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) with what the driver says.
    pub fn milliseconds_since(&self, earlier: &Self) -> Result<f64> {
        self.driver.bind_to_thread().map_err(failed(OP))?;
        // SAFETY: both events are open and recorded.
        let elapsed = unsafe {
            sys::cuEventSynchronize(self.event)
                .result()
                .and_then(|()| result::event::elapsed(earlier.event, self.event))
        };
        elapsed.map(f64::from).map_err(failed(OP))
    }
}

impl Drop for Moment {
    fn drop(&mut self) {
        if self.driver.bind_to_thread().is_ok() {
            // SAFETY: the event was made by `moment` and nothing uses it any more. A failure leaves it to the end of the
            // process.
            let _ = unsafe { result::event::destroy(self.event) };
        }
    }
}
