// From one type of storage to the other, and sums of gradients in place.
#include "elementwise.h"

using kat::bf16;
using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

namespace {

__device__ __forceinline__ float same(float v) { return v; }
__device__ __forceinline__ float sum_of(float a, float b) { return a + b; }

}  // namespace

KAT_KERNEL f32_to_bf16(const float* x, bf16* y, uint64_t n) { kat::map(x, y, n, same); }

KAT_KERNEL bf16_to_f32(const bf16* x, float* y, uint64_t n) { kat::map(x, y, n, same); }

KAT_KERNEL add_assign(float* dst, const float* src, uint64_t n) { kat::zip(dst, src, dst, n, sum_of); }

KAT_KERNEL add_assign_bf16(float* dst, const bf16* src, uint64_t n) { kat::zip(dst, src, dst, n, sum_of); }

// What the launches see to before they launch: the least values of each buffer.
// lengths f32_to_bf16 bf16_to_f32: x n; y n
// lengths add_assign*: dst n; src n
