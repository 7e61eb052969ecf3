// PReLU with one slope.
#include "elementwise.h"

using kat::bf16;
using kat::kBlock;
using kat::map;
using kat::zip;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

template <typename T>
__device__ __forceinline__ void forward(const T* x, const float* slope, T* y, uint64_t n) {
    const float a = __ldg(slope);
    map(x, y, n, [a](float v) { return v > 0.0f ? v : a * v; });
}

template <typename T>
__device__ __forceinline__ void backward(const T* x, const float* slope, T* dy, uint64_t n) {
    const float a = __ldg(slope);
    zip(x, dy, dy, n, [a](float v, float d) { return v > 0.0f ? d : a * d; });
}

// What each element adds to the slope's gradient.
__device__ __forceinline__ float share(float v, float d) { return v > 0.0f ? 0.0f : v * d; }

KAT_KERNEL prelu_forward(const float* x, const float* slope, float* y, uint64_t n) { forward(x, slope, y, n); }
KAT_KERNEL prelu_forward_bf16(const bf16* x, const float* slope, bf16* y, uint64_t n) { forward(x, slope, y, n); }
KAT_KERNEL prelu_backward(const float* x, const float* slope, float* dy, uint64_t n) { backward(x, slope, dy, n); }
KAT_KERNEL prelu_backward_bf16(const bf16* x, const float* slope, bf16* dy, uint64_t n) { backward(x, slope, dy, n); }
KAT_KERNEL prelu_shares(const float* x, const float* dy, float* shares, uint64_t n) { zip(x, dy, shares, n, share); }
KAT_KERNEL prelu_shares_bf16(const bf16* x, const bf16* dy, float* shares, uint64_t n) { zip(x, dy, shares, n, share); }

// What the launches see to before they launch: the least values of each buffer.
// lengths prelu_forward*: x n; slope 1; y n
// lengths prelu_backward*: x n; slope 1; dy n
// lengths prelu_shares*: x n; dy n; shares n
