//! Kernels and cuBLAS on one GPU. All `unsafe` of the device but the allocation of buffers is in this file and in the
//! functions that the build script makes from the kernels' C signatures.
//!
//! Everything runs on the context's default stream, one after the other, so that no kernel meets a buffer that
//! another still writes.

use super::Buffer;
use crate::error::{Error, Result};
use cudarc::cublas::{CudaBlas, result as blas, sys as blas_sys};
use cudarc::driver::{
    CudaDevice, CudaSlice, CudaView, CudaViewMut, DevicePtr, DeviceRepr, DeviceSlice as _, result, sys,
};
use std::collections::HashMap;
use std::ffi::{CString, c_int, c_void};
use std::ops::Range;
use std::sync::Arc;

/// Threads of a block (kat::kThreads), but for kernels whose launch bounds are another number.
pub(in crate::ops) const THREADS: usize = 256;

/// The most blocks of a kernel whose threads walk over their elements in strides.
const MAX_BLOCKS: usize = 1 << 16;

/// Blocks of a launch, x, y and z.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) struct Grid(pub(in crate::ops) [usize; 3]);

impl Grid {
    /// A thread for each of `count` elements, or for several where there are very many.
    pub(in crate::ops) fn each(count: usize) -> Self {
        Self([count.div_ceil(THREADS).clamp(1, MAX_BLOCKS), 1, 1])
    }

    /// A warp for each of `rows`.
    pub(in crate::ops) fn warps(rows: usize) -> Self {
        Self::each(rows.saturating_mul(32))
    }

    /// So many blocks.
    pub(in crate::ops) fn blocks(count: usize) -> Self {
        Self([count, 1, 1])
    }
}

/// In what numbers the GPU computes; sums are f32 or f64 in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// f32: the one of every check against the CPU.
    #[default]
    F32,
    /// f32, but the factors of matrix products rounded to TF32 for the tensor cores.
    Tf32,
    /// Mixed: weights, the residual stream, statistics and losses in f32; the factors of the layers' products and what
    /// lies between them (activations and their gradients) in bfloat16; other products as with [`Precision::Tf32`].
    Bf16,
}

/// How a factor of a product lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) enum Order {
    /// Row by row, as the product sees it.
    Rows,
    /// The transpose lies row by row.
    Transposed,
}

/// out = alpha · lhs · rhs + beta · out for row-major matrices, `batch` times.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct Product {
    /// Rows of out, columns of out, length of the dot products.
    pub size: [usize; 3],
    /// How lhs and rhs lie.
    pub orders: [Order; 2],
    /// alpha and beta.
    pub factors: [f32; 2],
    /// The number of products.
    pub batch: usize,
    /// From row to row of lhs, rhs and out, as they lie.
    pub rows: [usize; 3],
    /// From matrix to matrix of lhs, rhs and out; 0: the same for all products.
    pub steps: [usize; 3],
}

impl Product {
    /// One product of whole matrices that overwrites its output.
    pub(in crate::ops) fn new(size: [usize; 3], orders: [Order; 2]) -> Self {
        let [m, n, k] = size;
        let width = |order: Order, columns: usize, rows: usize| match order {
            Order::Rows => columns,
            Order::Transposed => rows,
        };
        let rows = [width(orders[0], k, m), width(orders[1], n, k), n];
        Self { size, orders, factors: [1.0, 0.0], batch: 1, rows, steps: [m * k, k * n, m * n] }
    }

    /// Values from the first to the last that each of lhs, rhs and out needs.
    fn lens(&self) -> [usize; 3] {
        let [m, n, k] = self.size;
        let lying = |order: Order, rows: usize, columns: usize| match order {
            Order::Rows => [rows, columns],
            Order::Transposed => [columns, rows],
        };
        let sizes = [lying(self.orders[0], m, k), lying(self.orders[1], k, n), [m, n]];
        [0, 1, 2].map(|i| match sizes[i] {
            [0, _] | [_, 0] => 0,
            [rows, columns] => {
                self.batch.saturating_sub(1) * self.steps[i] + (rows - 1) * self.rows[i] + columns
            }
        })
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
pub(in crate::ops) struct Context {
    precision: Precision,
    kernels: Kernels,
    blas: CudaBlas,
    driver: Arc<CudaDevice>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Context({})", self.driver.ordinal())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.driver.bind_to_thread().is_ok() {
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

/// A failure of the driver or of cuBLAS during `op`.
pub(in crate::ops) fn failed<E: std::fmt::Debug>(op: &'static str) -> impl Fn(E) -> Error {
    move |error| Error::Device { op, reason: format!("{error:?}") }
}

impl Context {
    /// Loads `modules` (name, image, kernels) into the context of `driver`.
    pub(super) fn open(
        driver: Arc<CudaDevice>,
        modules: &[(&'static str, &[u8], &[&'static str])],
        precision: Precision,
    ) -> Result<Self> {
        let blas = CudaBlas::new(driver.clone()).map_err(failed("open cuBLAS"))?;
        let mut context = Self {
            precision,
            kernels: Kernels { modules: Vec::new(), functions: HashMap::new() },
            blas,
            driver,
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

    /// The numbers that it computes in.
    pub(in crate::ops) fn precision(&self) -> Precision {
        self.precision
    }

    /// The driver's side.
    pub(in crate::ops) fn driver(&self) -> &Arc<CudaDevice> {
        &self.driver
    }

    /// Launches a kernel with blocks of `threads`.
    ///
    /// # Safety
    /// `arguments` must point to values of the types of the kernel's parameters, in their order.
    pub(super) unsafe fn launch(
        &self,
        name: &str,
        grid: Grid,
        threads: usize,
        arguments: &mut [*mut c_void],
    ) -> Result<()> {
        if grid.0.contains(&0) {
            return Ok(());
        }
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
    pub(in crate::ops) fn empty<T: DeviceRepr>(&self, len: usize) -> Result<CudaSlice<T>> {
        // SAFETY: any bit pattern is a valid number, and the contract is to write before reading.
        unsafe { self.driver.alloc(len) }.map_err(|error| Error::Device {
            op: "allocate",
            reason: format!("{error:?} for {len} values of {} bytes", size_of::<T>()),
        })
    }

    /// Runs `product` by cuBLAS. Both factors are of one type; f32 factors give f32.
    ///
    /// # Errors
    /// Buffers that are shorter than the product needs; what cuBLAS says.
    pub(in crate::ops) fn multiply(
        &self,
        product: &Product,
        lhs: &impl Matrix,
        rhs: &impl Matrix,
        out: &mut impl Matrix,
    ) -> Result<()> {
        const OP: &str = "matrix product";
        let [m, n, k] = product.size;
        let (lhs, rhs, out) = (lhs.values(), rhs.values(), out.values());
        let lens = [lhs.len, rhs.len, out.len].into_iter().zip(product.lens());
        if let Some((found, needed)) = lens.into_iter().find(|(found, needed)| found < needed) {
            let reason = format!("{found} values where {needed} are needed in {product:?}");
            return Err(Error::Device { op: OP, reason });
        }
        if m * n * product.batch == 0 {
            return Ok(());
        }
        let int = |size: usize| {
            c_int::try_from(size)
                .map_err(|_| Error::Device { op: OP, reason: format!("a size of {size} in {product:?}") })
        };
        self.driver.bind_to_thread().map_err(failed(OP))?;
        // cuBLAS counts by columns: outᵀ = rhsᵀ · lhsᵀ, and a row-major matrix is its own transpose there.
        let [lhs_op, rhs_op] = product.orders.map(|order| match order {
            Order::Rows => blas_sys::cublasOperation_t::CUBLAS_OP_N,
            Order::Transposed => blas_sys::cublasOperation_t::CUBLAS_OP_T,
        });
        let [lhs_row, rhs_row, out_row] = product.rows;
        let [lhs_step, rhs_step, out_step] = product.steps.map(|step| step as i64);
        let [alpha, beta] = product.factors;
        let compute = match self.precision {
            Precision::F32 => blas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            _ if lhs.kind == blas_sys::cudaDataType::CUDA_R_16BF => {
                blas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F
            }
            _ => blas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        };
        // SAFETY: the buffers hold what the product reads and writes (checked above) and are borrowed until the call
        // returns, the scalars are f32 as the compute type asks and live through the call, and the handle's context is
        // bound.
        unsafe {
            blas::gemm_strided_batched_ex(
                *self.blas.handle(),
                rhs_op,
                lhs_op,
                int(n)?,
                int(m)?,
                int(k)?,
                (&raw const alpha).cast(),
                rhs.address as *const c_void,
                rhs.kind,
                int(rhs_row.max(1))?,
                rhs_step,
                lhs.address as *const c_void,
                lhs.kind,
                int(lhs_row.max(1))?,
                lhs_step,
                (&raw const beta).cast(),
                out.address as *mut c_void,
                out.kind,
                int(out_row)?,
                out_step,
                int(product.batch)?,
                compute,
                blas_sys::cublasGemmAlgo_t::CUBLAS_GEMM_DFALT,
            )
        }
        .map_err(failed(OP))
    }
}

/// Where a matrix's values are, how many and of what type.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct MatrixValues {
    address: sys::CUdeviceptr,
    len: usize,
    kind: blas_sys::cudaDataType,
}

impl MatrixValues {
    /// `len` values of type `kind`, at `words`.
    pub(super) fn new<T>(words: &impl DevicePtr<T>, len: usize, kind: blas_sys::cudaDataType) -> Self {
        Self { address: *words.device_ptr(), len, kind }
    }

    /// Those of `range`, as far as there are such.
    fn part(self, range: &Range<usize>) -> Self {
        let bytes = if self.kind == blas_sys::cudaDataType::CUDA_R_16BF { 2 } else { size_of::<f32>() };
        let (start, end) = (range.start.min(self.len), range.end.min(self.len));
        Self { address: self.address + (start * bytes) as u64, len: end.saturating_sub(start), ..self }
    }
}

/// What cuBLAS may read or, borrowed mutably, write.
pub(in crate::ops) trait Matrix {
    /// The values.
    fn values(&self) -> MatrixValues;
}

/// Some of a buffer's values, as a factor of a product.
#[derive(Debug)]
pub(in crate::ops) struct Part<'a>(pub(in crate::ops) &'a Buffer, pub(in crate::ops) Range<usize>);

impl Matrix for Part<'_> {
    fn values(&self) -> MatrixValues {
        self.0.values().part(&self.1)
    }
}

impl Matrix for CudaSlice<f32> {
    fn values(&self) -> MatrixValues {
        MatrixValues::new(self, self.len(), blas_sys::cudaDataType::CUDA_R_32F)
    }
}

impl Matrix for CudaView<'_, f32> {
    fn values(&self) -> MatrixValues {
        MatrixValues::new(self, self.len(), blas_sys::cudaDataType::CUDA_R_32F)
    }
}

impl Matrix for CudaViewMut<'_, f32> {
    fn values(&self) -> MatrixValues {
        MatrixValues::new(self, self.len(), blas_sys::cudaDataType::CUDA_R_32F)
    }
}
