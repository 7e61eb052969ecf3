//! Matrix products by cuBLAS. Single ones go by cublasLt, which adds a bias in the pass that makes the product; how it does
//! each kind is asked once and kept.
//!
//! Sums are f32 throughout: partial sums of a product that is split over K are added in f32 and in a fixed order.

use super::Buffer;
use super::launch::{Context, failed};
use super::plans::{Question, WORKSPACE};
use crate::error::{Error, Result};
use crate::tensor::Precision;
use cudarc::cublas::{result as blas, sys as blas_sys};
use cudarc::cublaslt::{result as lt, sys as lt_sys};
use cudarc::driver::sys::CUdeviceptr;
use cudarc::driver::{CudaSlice, CudaView, CudaViewMut, DevicePtr, DeviceSlice as _};
use std::collections::hash_map::Entry;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::PoisonError;

const OP: &str = "matrix product";

/// How a factor of a product lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Order {
    /// Row by row, as the product sees it.
    Rows,
    /// The transpose lies row by row.
    Transposed,
}

/// out = alpha · lhs · rhs + beta · out for row-major matrices, `batch` times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
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
    pub(crate) fn new(size: [usize; 3], orders: [Order; 2]) -> Self {
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

impl Product {
    /// Bytes of its factors and its result.
    fn bytes(&self, operands: &Operands) -> usize {
        operands.iter().zip(self.lens()).map(|(values, len)| len * values.kind.bytes()).sum()
    }
}

/// The types of matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    F32,
    Bf16,
}

impl Kind {
    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    fn blas(self) -> blas_sys::cudaDataType {
        match self {
            Self::F32 => blas_sys::cudaDataType::CUDA_R_32F,
            Self::Bf16 => blas_sys::cudaDataType::CUDA_R_16BF,
        }
    }

    pub(super) fn lt(self) -> lt_sys::cudaDataType {
        match self {
            Self::F32 => lt_sys::cudaDataType::CUDA_R_32F,
            Self::Bf16 => lt_sys::cudaDataType::CUDA_R_16BF,
        }
    }
}

/// Where a matrix's values are, how many and of what type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatrixValues {
    address: CUdeviceptr,
    len: usize,
    kind: Kind,
}

impl MatrixValues {
    /// `len` values of type `kind`, at `words`.
    pub(super) fn new<T>(words: &impl DevicePtr<T>, len: usize, kind: Kind) -> Self {
        Self { address: *words.device_ptr(), len, kind }
    }

    /// Those of `range`, as far as there are such.
    fn part(self, range: &Range<usize>) -> Self {
        let (start, end) = (range.start.min(self.len), range.end.min(self.len));
        Self {
            address: self.address + (start * self.kind.bytes()) as u64,
            len: end.saturating_sub(start),
            ..self
        }
    }

    /// The power of two that the address is a multiple of, as far as cuBLAS cares.
    fn alignment(self) -> u32 {
        1 << self.address.trailing_zeros().min(8)
    }
}

/// What cuBLAS may read or, borrowed mutably, write.
pub(crate) trait Matrix {
    /// The values.
    fn values(&self) -> MatrixValues;
}

/// Some of a buffer's values, as a factor of a product.
#[derive(Debug)]
pub(crate) struct Part<'a>(pub(crate) &'a Buffer, pub(crate) Range<usize>);

impl Matrix for Part<'_> {
    fn values(&self) -> MatrixValues {
        self.0.values().part(&self.1)
    }
}

macro_rules! single_precision {
    ($($slice:ty),*) => { $(
        impl Matrix for $slice {
            fn values(&self) -> MatrixValues {
                MatrixValues::new(self, self.len(), Kind::F32)
            }
        }
    )* };
}

single_precision!(CudaSlice<f32>, CudaView<'_, f32>, CudaViewMut<'_, f32>);

/// Lhs, rhs and out of a checked product.
type Operands = [MatrixValues; 3];

impl Context {
    /// Runs `product`. Both factors are of one type; f32 factors give f32.
    ///
    /// # Errors
    /// Buffers that are shorter than the product needs; what cuBLAS says.
    pub(crate) fn multiply(
        &self,
        product: &Product,
        lhs: &impl Matrix,
        rhs: &impl Matrix,
        out: &mut impl Matrix,
    ) -> Result<()> {
        let operands = self.checked(product, [lhs.values(), rhs.values(), out.values()])?;
        match self.multiply_single(product, &operands, None)? {
            true => Ok(()),
            false => {
                self.count_product(product.bytes(&operands));
                self.multiply_batch(product, &operands)
            }
        }
    }

    /// As [`Context::multiply`], and adds `row`, of out's type, to each row of out in the same pass; false, and nothing
    /// done, where cublasLt has no such product.
    pub(crate) fn multiply_adding(
        &self,
        product: &Product,
        lhs: &impl Matrix,
        rhs: &impl Matrix,
        out: &mut impl Matrix,
        row: &Buffer,
    ) -> Result<bool> {
        let operands = self.checked(product, [lhs.values(), rhs.values(), out.values()])?;
        let row = row.values();
        if row.len != product.size[1] || row.kind != operands[2].kind {
            let reason = format!("{row:?} to add to the rows of {product:?}");
            return Err(Error::Device { op: OP, reason });
        }
        self.multiply_single(product, &operands, Some(row.address))
    }

    /// The operands, if they hold what `product` reads and writes; the context is bound then.
    fn checked(&self, product: &Product, operands: Operands) -> Result<Operands> {
        let lens = operands.iter().map(|values| values.len).zip(product.lens());
        if let Some((found, needed)) = lens.into_iter().find(|(found, needed)| found < needed) {
            let reason = format!("{found} values where {needed} are needed in {product:?}");
            return Err(Error::Device { op: OP, reason });
        }
        self.driver().bind_to_thread().map_err(failed(OP))?;
        Ok(operands)
    }

    /// By cublasLt; `row` is to be added. False, and nothing done, where it has no such product.
    fn multiply_single(
        &self,
        product: &Product,
        [lhs, rhs, out]: &Operands,
        row: Option<CUdeviceptr>,
    ) -> Result<bool> {
        let [m, n, k] = product.size;
        if m * n * product.batch == 0 {
            return Ok(true);
        }
        if product.batch != 1 || k == 0 {
            return Ok(false);
        }
        let [alpha, beta] = product.factors;
        let epilogue = match row {
            Some(_) => lt_sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS,
            None => lt_sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_DEFAULT,
        };
        let question = Question {
            size: product.size,
            orders: product.orders,
            rows: product.rows,
            kinds: [lhs.kind, out.kind],
            accumulates: beta != 0.0,
            epilogue: epilogue as u32,
            alignments: [lhs.alignment(), rhs.alignment(), out.alignment()],
        };
        let products = self.products();
        let mut plans = products.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = match plans.entry(question) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(products.plan(&question, self.precision())?),
        };
        let Some(plan) = plan else { return Ok(false) };
        let [a, b, d] = plan.layouts;
        // SAFETY: the caller checked that the buffers hold what the product and its epilogue read and write, and they are
        // borrowed until the call returns; what the GPU does later is in the order of the one stream that also frees
        // them. The scalars are f32 as the description says and are copied. The workspace is used by this stream alone.
        unsafe {
            if let Some(row) = row {
                lt::set_matmul_desc_attribute(
                    plan.description,
                    lt_sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                    (&raw const row).cast(),
                    size_of::<CUdeviceptr>(),
                )
                .map_err(failed(OP))?;
            }
            lt::matmul(
                products.handle,
                plan.description,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                rhs.address as *const c_void,
                a,
                lhs.address as *const c_void,
                b,
                out.address as *const c_void,
                d,
                out.address as *mut c_void,
                d,
                &raw const plan.algorithm,
                *products.workspace.device_ptr() as *mut c_void,
                WORKSPACE,
                (*self.driver().cu_stream()).cast(),
            )
        }
        .map_err(|error| Error::Device { op: OP, reason: format!("{error:?} in {product:?}") })?;
        self.count_product(product.bytes(&[*lhs, *rhs, *out]));
        Ok(true)
    }

    /// By cuBLAS's batched product.
    fn multiply_batch(&self, product: &Product, [lhs, rhs, out]: &Operands) -> Result<()> {
        let int = |size: usize| {
            c_int::try_from(size)
                .map_err(|_| Error::Device { op: OP, reason: format!("a size of {size} in {product:?}") })
        };
        // cuBLAS counts by columns: outᵀ = rhsᵀ · lhsᵀ, and a row-major matrix is its own transpose there.
        let [lhs_op, rhs_op] = product.orders.map(|order| match order {
            Order::Rows => blas_sys::cublasOperation_t::CUBLAS_OP_N,
            Order::Transposed => blas_sys::cublasOperation_t::CUBLAS_OP_T,
        });
        let [m, n, k] = product.size;
        let [lhs_row, rhs_row, out_row] = product.rows;
        let [lhs_step, rhs_step, out_step] = product.steps.map(|step| step as i64);
        let [alpha, beta] = product.factors;
        let compute = match (self.precision(), lhs.kind) {
            (Precision::F32, _) | (_, Kind::Bf16) => blas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            _ => blas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        };
        // SAFETY: the buffers hold what the product reads and writes (the caller's check) and are borrowed until the call
        // returns, the scalars are f32 as the compute type asks and live through the call, and the handle's context is
        // bound.
        unsafe {
            blas::gemm_strided_batched_ex(
                *self.products().blas.handle(),
                rhs_op,
                lhs_op,
                int(n)?,
                int(m)?,
                int(k)?,
                (&raw const alpha).cast(),
                rhs.address as *const c_void,
                rhs.kind.blas(),
                int(rhs_row.max(1))?,
                rhs_step,
                lhs.address as *const c_void,
                lhs.kind.blas(),
                int(lhs_row.max(1))?,
                lhs_step,
                (&raw const beta).cast(),
                out.address as *mut c_void,
                out.kind.blas(),
                int(out_row.max(1))?,
                out_step,
                int(product.batch)?,
                compute,
                blas_sys::cublasGemmAlgo_t::CUBLAS_GEMM_DFALT,
            )
        }
        .map_err(failed(OP))
    }
}
