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

__device__ __forceinline__ float logistic(float v) { return 1.0f / (1.0f + expf(-v)); }

// (1 + tanh u)/2 is the logistic function of 2u; 1.5957691 is 2 sqrt(2/pi).
__device__ __forceinline__ float gelu_tanh(float v) {
    return v * logistic(1.5957691f * (v + 0.044715f * v * v * v));
}

__device__ __forceinline__ float gelu_tanh_slope(float v) {
    const float s = logistic(1.5957691f * (v + 0.044715f * v * v * v));
    return s + v * s * (1.0f - s) * 1.5957691f * (1.0f + 3.0f * 0.044715f * v * v);
}

__device__ __forceinline__ float quick_gelu(float v) { return v * logistic(1.702f * v); }

__device__ __forceinline__ float quick_gelu_slope(float v) {
    const float s = logistic(1.702f * v);
    return s + 1.702f * v * s * (1.0f - s);
}

__device__ __forceinline__ float silu(float v) { return v / (1.0f + expf(-v)); }

__device__ __forceinline__ float silu_slope(float v) {
    const float s = logistic(v);
    return s * (1.0f + v * (1.0f - s));
}

__device__ __forceinline__ float gelu_chain(float x, float dy) { return dy * gelu_slope(x); }
__device__ __forceinline__ float gelu_tanh_chain(float x, float dy) { return dy * gelu_tanh_slope(x); }
__device__ __forceinline__ float quick_gelu_chain(float x, float dy) { return dy * quick_gelu_slope(x); }
__device__ __forceinline__ float silu_chain(float x, float dy) { return dy * silu_slope(x); }

KAT_KERNEL gelu_forward(const float* x, float* y, uint64_t n) { map(x, y, n, gelu); }
KAT_KERNEL gelu_forward_bf16(const bf16* x, bf16* y, uint64_t n) { map(x, y, n, gelu); }
KAT_KERNEL gelu_tanh_forward(const float* x, float* y, uint64_t n) { map(x, y, n, gelu_tanh); }
KAT_KERNEL gelu_tanh_forward_bf16(const bf16* x, bf16* y, uint64_t n) { map(x, y, n, gelu_tanh); }
KAT_KERNEL quick_gelu_forward(const float* x, float* y, uint64_t n) { map(x, y, n, quick_gelu); }
KAT_KERNEL quick_gelu_forward_bf16(const bf16* x, bf16* y, uint64_t n) { map(x, y, n, quick_gelu); }
KAT_KERNEL silu_forward(const float* x, float* y, uint64_t n) { map(x, y, n, silu); }
KAT_KERNEL silu_forward_bf16(const bf16* x, bf16* y, uint64_t n) { map(x, y, n, silu); }

KAT_KERNEL gelu_backward(const float* x, float* dy, uint64_t n) { zip(x, dy, dy, n, gelu_chain); }
KAT_KERNEL gelu_backward_bf16(const bf16* x, bf16* dy, uint64_t n) { zip(x, dy, dy, n, gelu_chain); }
KAT_KERNEL gelu_tanh_backward(const float* x, float* dy, uint64_t n) { zip(x, dy, dy, n, gelu_tanh_chain); }
KAT_KERNEL gelu_tanh_backward_bf16(const bf16* x, bf16* dy, uint64_t n) { zip(x, dy, dy, n, gelu_tanh_chain); }
KAT_KERNEL quick_gelu_backward(const float* x, float* dy, uint64_t n) { zip(x, dy, dy, n, quick_gelu_chain); }
KAT_KERNEL quick_gelu_backward_bf16(const bf16* x, bf16* dy, uint64_t n) { zip(x, dy, dy, n, quick_gelu_chain); }
KAT_KERNEL silu_backward(const float* x, float* dy, uint64_t n) { zip(x, dy, dy, n, silu_chain); }
KAT_KERNEL silu_backward_bf16(const bf16* x, bf16* dy, uint64_t n) { zip(x, dy, dy, n, silu_chain); }

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

// What the launches see to before they launch: the least values of each buffer.
// lengths gelu_forward* gelu_tanh_forward* quick_gelu_forward* silu_forward*: x n; y n
// lengths relu_forward sigmoid_forward: x n; y n
// lengths gelu_backward* gelu_tanh_backward* quick_gelu_backward* silu_backward*: x n; dy n
// lengths relu_backward sigmoid_backward: x n; dy n
