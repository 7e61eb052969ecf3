// A matrix product as cuBLAS does it: column-major, f32 sums, inputs rounded as the mode or the type says.
#pragma once

#include <stdint.h>
#include <stdlib.h>

#include <algorithm>
#include <vector>

#include "include/cuda_host.h"
#include "include/cuda_bf16.h"

namespace kat_host {

enum Type { kF32 = 0, kBf16 = 14 };
constexpr int kFastTf32 = 77;  // of cublasComputeType_t

// To nearest with 10 bits of mantissa.
inline float to_tf32(float v) {
    const uint32_t bits = __float_as_uint(v);
    return v != v ? v : __uint_as_float((bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu);
}

inline bool known(int type) { return type == kF32 || type == kBf16; }

inline size_t bytes(int type) { return type == kF32 ? 4 : 2; }

inline float read(const void* at, int type, size_t i, bool tf32) {
    if (type == kBf16) return __bfloat162float(static_cast<const __nv_bfloat16*>(at)[i]);
    const float v = static_cast<const float*>(at)[i];
    return tf32 ? to_tf32(v) : v;
}

inline void write(void* at, int type, size_t i, float v) {
    if (type == kBf16) {
        static_cast<__nv_bfloat16*>(at)[i] = __float2bfloat16_rn(v);
    } else {
        static_cast<float*>(at)[i] = v;
    }
}

struct Matrix {
    const void* at;
    int type;
    int op;  // 0: as it lies, 1: transposed
    int64_t stride;
};

// The matrix as the product sees it, column by column, rows x columns.
inline std::vector<float> unpack(const Matrix& m, int rows, int columns, bool tf32) {
    std::vector<float> out(static_cast<size_t>(rows) * columns);
    for (int c = 0; c < columns; ++c) {
        for (int r = 0; r < rows; ++r) {
            const size_t at = m.op == 0 ? static_cast<size_t>(c) * m.stride + r : static_cast<size_t>(r) * m.stride + c;
            out[static_cast<size_t>(c) * rows + r] = read(m.at, m.type, at, tf32);
        }
    }
    return out;
}

// `bias`, as cublasLt adds it: a value for each row of the product, of the type of out.
inline void product(const Matrix& lhs, const Matrix& rhs, void* out, int out_type, int64_t out_stride, int m, int n,
                    int k, float alpha, float beta, bool tf32, const void* bias = nullptr) {
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
            const float own = bias == nullptr ? 0.0f : read(bias, out_type, i, false);
            write(out, out_type, at, alpha * sums[i] + old + own);
        }
    }
}

}  // namespace kat_host
