// The matrix products of cuBLAS that the suite calls, on the host.
#include "product.h"

using namespace kat_host;

namespace {
constexpr int kNotSupported = 15, kInvalidValue = 7;
}

extern "C" {

int cublasCreate_v2(void** handle) { return *handle = handle, 0; }
int cublasDestroy_v2(void*) { return 0; }
int cublasSetStream_v2(void*, void*) { return 0; }
int cublasSetMathMode(void*, int) { return 0; }

int cublasGemmStridedBatchedEx(void*, int lhs_op, int rhs_op, int m, int n, int k, const void* alpha,
                               const void* lhs, int lhs_type, int lhs_stride, long long lhs_step, const void* rhs,
                               int rhs_type, int rhs_stride, long long rhs_step, const void* beta, void* out,
                               int out_type, int out_stride, long long out_step, int batch, int compute, int) {
    if (!known(lhs_type) || !known(rhs_type) || !known(out_type)) return kNotSupported;
    if (lhs_type != rhs_type || (lhs_type == kF32 && out_type != kF32)) return kNotSupported;
    // the leading dimensions as cuBLAS checks them
    if (lhs_stride < std::max(1, lhs_op == 0 ? m : k) || rhs_stride < std::max(1, rhs_op == 0 ? k : n) ||
        out_stride < std::max(1, m) || m < 0 || n < 0 || k < 0 || batch < 0) {
        return kInvalidValue;
    }
    const bool tf32 = lhs_type == kF32 && compute == kFastTf32;
    const auto step = [](const void* at, int type, long long step, int i) {
        return static_cast<const char*>(at) + static_cast<long long>(bytes(type)) * step * i;
    };
    for (int i = 0; i < batch; ++i) {
        product({step(lhs, lhs_type, lhs_step, i), lhs_type, lhs_op, lhs_stride},
                {step(rhs, rhs_type, rhs_step, i), rhs_type, rhs_op, rhs_stride},
                const_cast<char*>(step(out, out_type, out_step, i)), out_type, out_stride, m, n, k,
                *static_cast<const float*>(alpha), *static_cast<const float*>(beta), tf32);
    }
    return 0;
}

}  // extern "C"
