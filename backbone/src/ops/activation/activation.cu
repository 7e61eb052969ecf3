// Functions of one value.
#include "elementwise.h"

using kat::bf16;
using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

using kat::map;
using kat::zip;

__device__ __forceinline__ float gelu(float v) { return 0.5f * v * (1.0f + erff(v * 0.70710678f)); }

__device__ __forceinline__ float gelu_slope(float v) {
    const float cdf = 0.5f * (1.0f + erff(v * 0.70710678f));
    return cdf + v * 0.39894228f * expf(-0.5f * v * v);
}

KAT_KERNEL gelu_forward(const float* x, float* y, uint64_t n) { map(x, y, n, gelu); }

KAT_KERNEL gelu_forward_bf16(const bf16* x, bf16* y, uint64_t n) { map(x, y, n, gelu); }

__device__ __forceinline__ float gelu_chain(float x, float dy) { return dy * gelu_slope(x); }

KAT_KERNEL gelu_backward(const float* x, float* dy, uint64_t n) { zip(x, dy, dy, n, gelu_chain); }

KAT_KERNEL gelu_backward_bf16(const bf16* x, bf16* dy, uint64_t n) { zip(x, dy, dy, n, gelu_chain); }

// A NaN stays one.
KAT_KERNEL relu_forward(const float* x, float* y, uint64_t n) {
    KAT_EACH(i, n) y[i] = x[i] < 0.0f ? 0.0f : x[i];
}

KAT_KERNEL relu_backward(const float* x, float* dy, uint64_t n) {
    KAT_EACH(i, n) dy[i] = x[i] > 0.0f ? dy[i] : 0.0f;
}

KAT_KERNEL sigmoid_forward(const float* x, float* y, uint64_t n) {
    KAT_EACH(i, n) y[i] = 1.0f / (1.0f + expf(-x[i]));
}

KAT_KERNEL sigmoid_backward(const float* x, float* dy, uint64_t n) {
    KAT_EACH(i, n) {
        const float s = 1.0f / (1.0f + expf(-x[i]));
        dy[i] *= s * (1.0f - s);
    }
}

KAT_KERNEL silu_forward(const float* __restrict__ x, float* __restrict__ y, uint64_t n) {
    KAT_EACH(i, n) y[i] = x[i] / (1.0f + expf(-x[i]));
}

// In place of dy.
KAT_KERNEL silu_backward(const float* __restrict__ x, float* __restrict__ dy, uint64_t n) {
    KAT_EACH(i, n) {
        const float s = 1.0f / (1.0f + expf(-x[i]));
        dy[i] *= s * (1.0f + x[i] * (1.0f - s));
    }
}

// What the launches see to before they launch: the least values of each buffer.
// lengths gelu_forward* relu_forward sigmoid_forward silu_forward: x n; y n
// lengths gelu_backward* relu_backward sigmoid_backward silu_backward: x n; dy n
