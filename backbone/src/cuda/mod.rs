//! The NVIDIA GPU: buffers of cudarc, dfdx's tape for its Cuda device, our kernels and cuBLAS.
//!
//! A kernel's C++ source is in its op's folder, beside its launch (`cuda.rs`); `kernels` here has what they share.

pub(crate) mod arguments;
pub(crate) mod buffer;
pub mod clock;
pub(crate) mod columns;
pub mod dfdx;
pub(crate) mod kernels;
pub(crate) mod launch;
pub(crate) mod maps;
mod plans;
pub(crate) mod pointer_table;
pub(crate) mod products;
mod staging;
pub(crate) mod sums;
pub(crate) mod windows;

pub use buffer::Buffer;
pub use launch::Work;

use crate::error::{Error, Result};
use crate::tensor::Precision;
use buffer::Bf16;
use cudarc::driver::{CudaSlice, DeviceRepr, DeviceSlice as _};
use launch::{Context, failed};
use staging::Staging;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An open GPU; clones share it.
#[derive(Clone, Debug)]
pub struct Cuda {
    context: Arc<Context>,
    staging: Arc<Staging>,
    waits: Arc<AtomicU64>,
    dfdx: dfdx::Dfdx,
}

/// Values on the GPU, as kernels read them.
pub type View<'a> = &'a Buffer;

impl Cuda {
    /// Opens GPU number `ordinal`.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no such GPU; [`Error::Device`] if the driver, cuBLAS or a kernel does not load.
    pub fn open(ordinal: usize, precision: Precision) -> Result<Self> {
        let count = Self::count()?;
        if ordinal >= count {
            let found = match count {
                0 => "the driver shows no GPU".to_owned(),
                1 => "the only GPU is cuda:0".to_owned(),
                _ => format!("there are cuda:0 to cuda:{}", count - 1),
            };
            return Err(Error::config(format!("cuda:{ordinal}"), found));
        }
        let (dfdx, driver) = dfdx::open(ordinal)?;
        let staging = Arc::new(Staging::new(driver.clone())?);
        let context = Arc::new(Context::open(driver, kernels::MODULES, precision)?);
        Ok(Self { context, staging, waits: Arc::default(), dfdx })
    }

    /// The number of GPUs that the driver shows.
    ///
    /// # Errors
    /// [`Error::Device`] if there is no driver.
    pub fn count() -> Result<usize> {
        launch::device_count()
    }

    /// The number of this GPU.
    pub fn ordinal(&self) -> usize {
        self.context.driver().ordinal()
    }

    /// How often the host has waited for this GPU: a value was read, or a result was asked for.
    pub fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    /// What this GPU was asked to do since it was opened.
    pub fn work(&self) -> Work {
        self.context.work()
    }

    /// Counts a wait.
    fn waiting(&self) {
        self.waits.fetch_add(1, Ordering::Relaxed);
    }

    /// Kernels and cuBLAS.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// Whether layers keep activations in bfloat16.
    pub(crate) fn mixed(&self) -> bool {
        self.context.precision() == Precision::Bf16
    }

    /// Memory for `len` f32 values that the next kernel writes completely.
    pub(crate) fn empty(&self, len: usize) -> Result<Buffer> {
        Ok(self.context.empty::<f32>(len)?.into())
    }

    /// As [`Cuda::empty`], for bfloat16.
    pub(crate) fn empty_bf16(&self, len: usize) -> Result<Bf16> {
        Bf16::empty(&self.context, len)
    }

    /// `len` zeros.
    pub(crate) fn zeros(&self, len: usize) -> Result<Buffer> {
        let zeros: CudaSlice<f32> = self.context.driver().alloc_zeros(len).map_err(failed("allocate"))?;
        Ok(zeros.into())
    }

    /// Arguments of a kernel that are lists: copied without waiting.
    pub(crate) fn send<T: DeviceRepr + Unpin + Copy + Send + Sync>(
        &self,
        values: Vec<T>,
    ) -> Result<CudaSlice<T>> {
        // The driver takes this much at once; of more, what is not pinned may be waited for.
        const AT_ONCE: usize = 64 << 10;
        match size_of_val(&values[..]) {
            0..=AT_ONCE => self.context.driver().htod_copy(values).map_err(failed("copy to the GPU")),
            _ => self.staging.send(&values),
        }
    }

    /// A kernel's results on the host, once it is done.
    pub(crate) fn fetch<T: DeviceRepr + Clone + Default>(&self, values: &CudaSlice<T>) -> Result<Vec<T>> {
        self.waiting();
        let mut host = vec![T::default(); values.len()];
        self.context.driver().dtoh_sync_copy_into(values, &mut host).map_err(failed("copy from the GPU"))?;
        Ok(host)
    }

    /// A copy on the GPU.
    pub(crate) fn copy(&self, values: View<'_>) -> Result<Buffer> {
        // not by Clone, which has no error
        Ok(match values {
            Buffer::F32(values) => {
                let mut copy = self.context.empty::<f32>(values.len())?;
                self.context.driver().dtod_copy(&**values, &mut copy).map_err(failed("copy"))?;
                copy.into()
            }
            Buffer::Bf16(values) => values.copy(&self.context)?.into(),
        })
    }
}

/// A size as kernels take it.
pub(crate) fn size(op: &'static str, n: usize) -> Result<u32> {
    u32::try_from(n)
        .map_err(|_| Error::Device { op, reason: format!("{n} is more than a kernel counts ({})", u32::MAX) })
}
