// The matrix products of cuBLAS that the suite calls, on the host: column-major, f32 sums, inputs rounded as the mode
// or the type says.
#include <stdlib.h>

#include <algorithm>
#include <vector>

#include "include/cuda_host.h"
#include "include/cuda_bf16.h"
#include "include/cuda_fp16.h"

namespace {

enum Type { kF32 = 0, kF16 = 2, kBf16 = 14 };
constexpr int kFastTf32 = 77;  // of cublasComputeType_t
constexpr int kNotSupported = 15, kInvalidValue = 7;

// To nearest with 10 bits of mantissa.
float to_tf32(float v) {
    const uint32_t bits = __float_as_uint(v);
    return v != v ? v : __uint_as_float((bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu);
}

size_t bytes(int type) { return type == kF32 ? 4 : 2; }

float read(const void* at, int type, size_t i, bool tf32) {
    switch (type) {
        case kF16: return __half2float(static_cast<const __half*>(at)[i]);
        case kBf16: return __bfloat162float(static_cast<const __nv_bfloat16*>(at)[i]);
        default: {
            const float v = static_cast<const float*>(at)[i];
            return tf32 ? to_tf32(v) : v;
        }
    }
}

void write(void* at, int type, size_t i, float v) {
    switch (type) {
        case kF16: static_cast<__half*>(at)[i] = __float2half_rn(v); break;
        case kBf16: static_cast<__nv_bfloat16*>(at)[i] = __float2bfloat16_rn(v); break;
        default: static_cast<float*>(at)[i] = v;
    }
}

struct Matrix {
    const void* at;
    int type;
    int op;  // 0: as it lies, 1: transposed
    int stride;
};

// The matrix as the product sees it, column by column, rows x columns.
std::vector<float> unpack(const Matrix& m, int rows, int columns, bool tf32) {
    std::vector<float> out(static_cast<size_t>(rows) * columns);
    for (int c = 0; c < columns; ++c) {
        for (int r = 0; r < rows; ++r) {
            const size_t at = m.op == 0 ? static_cast<size_t>(c) * m.stride + r : static_cast<size_t>(r) * m.stride + c;
            out[static_cast<size_t>(c) * rows + r] = read(m.at, m.type, at, tf32);
        }
    }
    return out;
}

void product(const Matrix& lhs, const Matrix& rhs, void* out, int out_type, int out_stride, int m, int n, int k,
             float alpha, float beta, bool tf32) {
    const std::vector<float> a = unpack(lhs, m, k, tf32), b = unpack(rhs, k, n, tf32);
#pragma omp parallel for schedule(static)
    for (int j = 0; j < n; ++j) {
        std::vector<float> sums(m);
        for (int p = 0; p < k; ++p) {
            const float factor = b[static_cast<size_t>(j) * k + p];
            const float* column = a.data() + static_cast<size_t>(p) * m;
            for (int i = 0; i < m; ++i) sums[i] += factor * column[i];
        }
        for (int i = 0; i < m; ++i) {
            const size_t at = static_cast<size_t>(j) * out_stride + i;
            // beta of 0 does not read the output, which may be anything
            const float old = beta == 0.0f ? 0.0f : beta * read(out, out_type, at, false);
            write(out, out_type, at, alpha * sums[i] + old);
        }
    }
}

}  // namespace

extern "C" {

int cublasCreate_v2(void** handle) { return *handle = handle, 0; }
int cublasDestroy_v2(void*) { return 0; }
int cublasSetStream_v2(void*, void*) { return 0; }

int cublasGemmStridedBatchedEx(void*, int lhs_op, int rhs_op, int m, int n, int k, const void* alpha,
                               const void* lhs, int lhs_type, int lhs_stride, long long lhs_step, const void* rhs,
                               int rhs_type, int rhs_stride, long long rhs_step, const void* beta, void* out,
                               int out_type, int out_stride, long long out_step, int batch, int compute, int) {
    for (const int type : {lhs_type, rhs_type, out_type}) {
        if (type != kF32 && type != kF16 && type != kBf16) return kNotSupported;
    }
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
