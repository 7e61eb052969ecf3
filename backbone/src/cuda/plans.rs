//! How cublasLt does each kind of product: asked once, and kept.

use super::launch::failed;
use super::products::{Kind, Order};
use crate::error::Result;
use crate::tensor::Precision;
use cudarc::cublas::{CudaBlas, sys as blas_sys};
use cudarc::cublaslt::{result as lt, sys as lt_sys};
use cudarc::driver::{CudaDevice, CudaSlice};
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

const OP: &str = "matrix product";

/// Memory that cublasLt may use while it multiplies: what NVIDIA advises for sm_90.
pub(super) const WORKSPACE: usize = 32 << 20;

/// All that cublasLt's choice for a product depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) size: [usize; 3],
    pub(super) orders: [Order; 2],
    pub(super) rows: [usize; 3],
    /// Of the factors and of out.
    pub(super) kinds: [Kind; 2],
    pub(super) accumulates: bool,
    pub(super) epilogue: u32,
    /// Of lhs, rhs and out.
    pub(super) alignments: [u32; 3],
}

/// How cublasLt does a product.
pub(super) struct Plan {
    pub(super) description: lt_sys::cublasLtMatmulDesc_t,
    /// Of cuBLAS's A (our rhs), B (our lhs) and D, which count by columns.
    pub(super) layouts: [lt_sys::cublasLtMatrixLayout_t; 3],
    pub(super) algorithm: lt_sys::cublasLtMatmulAlgo_t,
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: made by `Products::plan`, used by nothing else. A failure leaves a few words to the end of the process.
        unsafe {
            for layout in self.layouts {
                let _ = lt::destroy_matrix_layout(layout);
            }
            let _ = lt::destroy_matmul_desc(self.description);
        }
    }
}

/// cuBLAS on one GPU.
pub(super) struct Products {
    pub(super) blas: CudaBlas,
    pub(super) handle: lt_sys::cublasLtHandle_t,
    pub(super) workspace: CudaSlice<u8>,
    /// `None`: cublasLt has no way of doing it.
    pub(super) plans: Mutex<HashMap<Question, Option<Plan>>>,
}

// SAFETY: cuBLAS's handles may be used from any thread that the context is bound to, which each call sees to; the plans'
// descriptions are changed under the lock only.
unsafe impl Send for Products {}
// SAFETY: as above.
unsafe impl Sync for Products {}

impl Drop for Products {
    fn drop(&mut self) {
        self.plans.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        // SAFETY: the handle was made by `open` and nothing uses it any more.
        let _ = unsafe { lt::destroy_handle(self.handle) };
    }
}

impl Products {
    /// Opens cuBLAS; the context is bound.
    pub(super) fn open(driver: &Arc<CudaDevice>) -> Result<Self> {
        let blas = CudaBlas::new(driver.clone()).map_err(failed("open cuBLAS"))?;
        let mode = blas_sys::cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
        // SAFETY: the handle is open.
        unsafe { blas_sys::cublasSetMathMode(*blas.handle(), mode) }
            .result()
            .map_err(failed("open cuBLAS"))?;
        // SAFETY: any bits are valid bytes, and only cublasLt uses them, which writes before it reads.
        let workspace = unsafe { driver.alloc(WORKSPACE) }.map_err(failed("open cuBLAS"))?;
        let handle = lt::create_handle().map_err(failed("open cublasLt"))?;
        Ok(Self { blas, handle, workspace, plans: Mutex::default() })
    }

    /// Asks cublasLt how it would do a product; `None` if it can't.
    pub(super) fn plan(&self, question: &Question, precision: Precision) -> Result<Option<Plan>> {
        use lt_sys::cublasLtMatmulDescAttributes_t as Of;
        use lt_sys::cublasLtMatmulPreferenceAttributes_t as Wish;
        let Question { size: [m, n, k], orders, rows, kinds: [factors, out], .. } = *question;
        let compute = match (precision, factors) {
            (Precision::F32, _) | (_, Kind::Bf16) => lt_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            _ => lt_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        };
        let layout = |kind: Kind, order: Order, rows: usize, columns: usize, stride: usize| {
            let [rows, columns] = match order {
                Order::Rows => [rows, columns],
                Order::Transposed => [columns, rows],
            };
            // a row-major matrix is its own transpose in columns
            lt::create_matrix_layout(kind.lt(), columns as u64, rows as u64, stride.max(1) as i64)
                .map_err(failed(OP))
        };
        let layouts = [
            layout(factors, orders[1], k, n, rows[1])?,
            layout(factors, orders[0], m, k, rows[0])?,
            layout(out, Order::Rows, m, n, rows[2])?,
        ];
        let description =
            lt::create_matmul_desc(compute, lt_sys::cudaDataType::CUDA_R_32F).map_err(failed(OP))?;
        let mut plan =
            Plan { description, layouts, algorithm: lt_sys::cublasLtMatmulAlgo_t { data: [0; 8] } };
        let describe = |attribute, value: u32| {
            // SAFETY: these attributes are 32 bits wide, and the value is copied.
            unsafe {
                lt::set_matmul_desc_attribute(
                    description,
                    attribute,
                    (&raw const value).cast(),
                    size_of::<u32>(),
                )
            }
            .map_err(failed(OP))
        };
        let transposed = |order: Order| u32::from(order == Order::Transposed);
        describe(Of::CUBLASLT_MATMUL_DESC_TRANSA, transposed(orders[1]))?;
        describe(Of::CUBLASLT_MATMUL_DESC_TRANSB, transposed(orders[0]))?;
        describe(Of::CUBLASLT_MATMUL_DESC_EPILOGUE, question.epilogue)?;
        let wishes = lt::create_matmul_pref().map_err(failed(OP))?;
        // SAFETY: the attribute has as many bytes as the value, which is copied.
        let wish = |attribute, value: *const c_void, bytes| unsafe {
            lt::set_matmul_pref_attribute(wishes, attribute, value, bytes)
        };
        let workspace = WORKSPACE;
        let schemes = lt_sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
        let [lhs, rhs, own] = question.alignments;
        let mut wished = wish(
            Wish::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
            (&raw const workspace).cast(),
            size_of::<usize>(),
        );
        for (attribute, value) in [
            (Wish::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, schemes),
            (Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, rhs),
            (Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, lhs),
            (Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, own),
            (Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, own),
        ] {
            wished = wished.and_then(|()| wish(attribute, (&raw const value).cast(), size_of::<u32>()));
        }
        let [a, b, d] = layouts;
        let found =
            wished.and_then(|()| lt::get_matmul_algo_heuristic(self.handle, description, a, b, d, d, wishes));
        // SAFETY: made above; its values are used no more.
        let _ = unsafe { lt::destroy_matmul_pref(wishes) };
        match found {
            Ok(found) => {
                plan.algorithm = found.algo;
                Ok(Some(plan))
            }
            Err(lt::CublasError(lt_sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED)) => Ok(None),
            Err(error) => Err(failed(OP)(error)),
        }
    }
}
