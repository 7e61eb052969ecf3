//! Kernels on one GPU. The device's `unsafe` is in this file, in products.rs and plans.rs (cuBLAS), staging.rs and clock.rs, and in the
//! functions that the build script makes from the kernels' C signatures.
//!
//! Everything runs on the context's default stream, one after the other, so that no kernel meets a buffer that
//! another still writes.

use super::kernels::mirrored;
use super::plans::Products;
use crate::error::{Error, Result};
use crate::tensor::Precision;
use cudarc::driver::{CudaDevice, CudaSlice, DeviceRepr, result, sys};
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Threads of a block, but for kernels whose launch bounds are another number.
pub(crate) use super::kernels::mirrored::THREADS;

/// The most blocks of a kernel whose threads walk over their elements in strides.
const MAX_BLOCKS: usize = 1 << 16;

/// Blocks of a launch, x, y and z.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid(pub(crate) [usize; 3]);

impl Grid {
    /// A thread for each of `count` elements, or for several where there are very many.
    pub(crate) fn each(count: usize) -> Self {
        Self([count.div_ceil(THREADS).clamp(1, MAX_BLOCKS), 1, 1])
    }

    /// A thread for each pack of `count` elements.
    pub(crate) fn packs(count: usize) -> Self {
        Self::each(count.div_ceil(mirrored::PACK))
    }

    /// A warp for each of `rows`.
    pub(crate) fn warps(rows: usize) -> Self {
        Self::each(rows.saturating_mul(32))
    }

    /// So many blocks.
    pub(crate) fn blocks(count: usize) -> Self {
        Self([count, 1, 1])
    }
}

/// Functions of the loaded modules.
struct Kernels {
    modules: Vec<sys::CUmodule>,
    functions: HashMap<&'static str, sys::CUfunction>,
}

// SAFETY: the handles are not dereferenced here; the driver's functions that take them may be called from any thread
// that the context is bound to, which `launch` sees to.
unsafe impl Send for Kernels {}
// SAFETY: as above; nothing in it changes after loading.
unsafe impl Sync for Kernels {}

/// An open GPU: its context, cuBLAS and the suite's kernels.
pub(crate) struct Context {
    precision: Precision,
    kernels: Kernels,
    products: Products,
    driver: Arc<CudaDevice>,
    work: Counters,
}

/// What a GPU was asked to do since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Launches of our kernels.
    pub launches: u64,
    /// Bytes of the buffers that they were given, each read or written once; not those behind lists of addresses.
    pub bytes: u64,
    /// Matrix products.
    pub products: u64,
    /// Bytes of their factors and results.
    pub product_bytes: u64,
}

#[derive(Debug, Default)]
struct Counters {
    launches: AtomicU64,
    bytes: AtomicU64,
    products: AtomicU64,
    product_bytes: AtomicU64,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Context({})", self.driver.ordinal())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // What was launched may still run. After a fault nothing can be waited for, nor unloaded.
        if self.driver.synchronize().is_ok() {
            for module in self.kernels.modules.drain(..) {
                // SAFETY: the module was loaded by `open` and its functions are dropped with this value. A failure
                // leaves the module to the end of the process.
                let _ = unsafe { result::module::unload(module) };
            }
        }
    }
}

/// The number of GPUs that the driver shows.
pub(super) fn device_count() -> Result<usize> {
    result::init().and_then(|()| result::device::get_count()).map(|n| n as usize).map_err(failed("open"))
}

/// No memory at all.
pub(super) fn nothing(driver: &Arc<CudaDevice>) -> CudaSlice<f32> {
    // SAFETY: no value lies at the address, and the driver frees 0 by doing nothing.
    unsafe { driver.upgrade_device_ptr(0, 0) }
}

/// Whether buffers (name, values, least values) hold what a kernel reads and writes.
///
/// # Errors
/// Names the kernel and the first buffer that is too short.
pub(super) fn check_lengths(kernel: &str, grid: Grid, buffers: &[(&str, usize, usize)]) -> Result<()> {
    let short = buffers.iter().find(|(_, found, needed)| found < needed);
    match short {
        Some((name, found, needed)) if !grid.0.contains(&0) => {
            let reason = format!("{kernel}: {name} has {found} values where {needed} are needed");
            Err(Error::Device { op: "launch", reason })
        }
        _ => Ok(()),
    }
}

/// A failure of the driver or of cuBLAS during `op`.
pub(crate) fn failed<E: std::fmt::Debug>(op: &'static str) -> impl Fn(E) -> Error {
    move |error| Error::Device { op, reason: format!("{error:?}") }
}

impl Context {
    /// Loads `modules` (name, image, kernels) into the context of `driver`.
    pub(super) fn open(
        driver: Arc<CudaDevice>,
        modules: &[(&'static str, &[u8], &[&'static str])],
        precision: Precision,
    ) -> Result<Self> {
        let products = Products::open(&driver)?;
        let mut context = Self {
            precision,
            kernels: Kernels { modules: Vec::new(), functions: HashMap::new() },
            products,
            driver,
            work: Counters::default(),
        };
        for (name, image, functions) in modules {
            context.load(name, image, functions)?;
        }
        context.keep_freed_memory()?;
        Ok(context)
    }

    fn load(&mut self, name: &str, image: &[u8], functions: &[&'static str]) -> Result<()> {
        let refused = |what: &str, error| Error::Device {
            op: "load kernels",
            reason: format!("{what} of {name}.cu: {error:?}; the kernels are for GPUs of sm_80 and later"),
        };
        // SAFETY: the image is a complete fat binary, made by nvcc and embedded by the build; the driver copies it.
        let module = unsafe { result::module::load_data(image.as_ptr().cast()) };
        let module = module.map_err(|error| refused("the image", error))?;
        self.kernels.modules.push(module);
        for &function in functions {
            let symbol = CString::new(function).map_err(failed("load kernels"))?;
            // SAFETY: the module was just loaded and stays so until this context is dropped.
            let handle = unsafe { result::module::get_function(module, symbol) };
            self.kernels.functions.insert(function, handle.map_err(|error| refused(function, error))?);
        }
        Ok(())
    }

    /// Tells the driver's pool to keep freed memory: by default it goes back to the system whenever the host waits.
    fn keep_freed_memory(&self) -> Result<()> {
        let attribute = sys::CUdevice_attribute_enum::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED;
        if self.driver.attribute(attribute).map_err(failed("open"))? == 0 {
            return Ok(());
        }
        let mut pool = std::ptr::null_mut();
        let mut threshold = u64::MAX;
        // SAFETY: `pool` is written by the first call before the second reads it, and the attribute is a u64 that the
        // second call only reads.
        unsafe {
            sys::cuDeviceGetDefaultMemPool(&raw mut pool, *self.driver.cu_device())
                .result()
                .and_then(|()| {
                    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
                    sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut threshold).cast()).result()
                })
                .map_err(failed("set up the memory pool"))
        }
    }

    /// What it was asked to do so far.
    pub(super) fn work(&self) -> Work {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { launches, bytes, products, product_bytes } = &self.work;
        Work {
            launches: read(launches),
            bytes: read(bytes),
            products: read(products),
            product_bytes: read(product_bytes),
        }
    }

    /// Counts a product of so many bytes.
    pub(super) fn count_product(&self, bytes: usize) {
        self.work.products.fetch_add(1, Ordering::Relaxed);
        self.work.product_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The numbers that it computes in.
    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// cuBLAS's side.
    pub(super) fn products(&self) -> &Products {
        &self.products
    }

    /// The driver's side.
    pub(crate) fn driver(&self) -> &Arc<CudaDevice> {
        &self.driver
    }

    /// Launches a kernel with blocks of `threads`; `bytes` are those of its buffers.
    ///
    /// # Safety
    /// `arguments` must point to values of the types of the kernel's parameters, in their order.
    pub(super) unsafe fn launch(
        &self,
        name: &str,
        grid: Grid,
        threads: usize,
        bytes: usize,
        arguments: &mut [*mut c_void],
    ) -> Result<()> {
        if grid.0.contains(&0) {
            return Ok(());
        }
        self.work.launches.fetch_add(1, Ordering::Relaxed);
        self.work.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let reason = |reason: String| Error::Device { op: "launch", reason: format!("{name}: {reason}") };
        let function = self.kernels.functions.get(name).ok_or_else(|| reason("not loaded".into()))?;
        let blocks = |axis: usize, most: usize| match grid.0[axis] {
            n if n <= most => Ok(n as u32),
            n => Err(reason(format!("{n} blocks along axis {axis}, at most {most} can be"))),
        };
        let grid = (blocks(0, i32::MAX as usize)?, blocks(1, 65_535)?, blocks(2, 65_535)?);
        self.driver.bind_to_thread().map_err(failed("launch"))?;
        let stream = *self.driver.cu_stream();
        // SAFETY: the function is loaded in the bound context; the caller answers for the arguments.
        unsafe { result::launch_kernel(*function, grid, (threads as u32, 1, 1), 0, stream, arguments) }
            .map_err(|error| reason(format!("{error:?}")))
    }

    /// Memory for `len` values that the next kernel writes completely; nothing reads it before.
    pub(crate) fn empty<T: DeviceRepr>(&self, len: usize) -> Result<CudaSlice<T>> {
        // SAFETY: any bit pattern is a valid number, and the contract is to write before reading.
        unsafe { self.driver.alloc(len) }.map_err(|error| Error::Device {
            op: "allocate",
            reason: format!("{error:?} for {len} values of {} bytes", size_of::<T>()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_is_too_short_is_named_before_the_launch() {
        let buffers = [("x", 6, 6), ("y", 5, 6)];
        let error = check_lengths("gelu_forward", Grid::each(6), &buffers).unwrap_err().to_string();
        assert!(error.contains("gelu_forward: y has 5 values where 6 are needed"), "{error}");
        check_lengths("gelu_forward", Grid::each(6), &buffers[..1]).unwrap();
        check_lengths("gelu_forward", Grid([0, 1, 1]), &buffers).unwrap();
    }
}
