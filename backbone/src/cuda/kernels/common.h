// What kernels share: blocks of kThreads, loops over elements, sums in a fixed order.
#pragma once

#include <stdint.h>

namespace kat {

constexpr uint32_t kBlock = 256;
// A number that the launches need too: the build makes a constant of it (cuda/kernels.rs, `mirrored`).
static_assert(kBlock == 256, "rust: THREADS");
constexpr uint32_t kBlockWarps = kBlock / 32;

// The elements of this thread, of n for the whole grid.
#define KAT_EACH(i, n)                                                                      \
    for (uint64_t i = static_cast<uint64_t>(blockIdx.x) * kat::kBlock + threadIdx.x; i < (n); \
         i += static_cast<uint64_t>(gridDim.x) * kat::kBlock)

// The number of neighbors that a call of each_pack's function has.
template <int V>
struct Width {
    static constexpr int value = V;
};

// f(i, Width<V>) for this thread's packs of V values, of n for the whole grid (Grid::packs of launch.rs); f(i, Width<1>)
// for what is left over.
template <int V, typename F>
__device__ __forceinline__ void each_pack(uint64_t n, F f) {
    const uint32_t packs = static_cast<uint32_t>(n / V), step = gridDim.x * kBlock;
    for (uint32_t p = blockIdx.x * kBlock + threadIdx.x; p < packs; p += step) {
        f(static_cast<uint64_t>(p) * V, Width<V>());
    }
    if (V > 1 && blockIdx.x == 0) {
        for (uint64_t i = static_cast<uint64_t>(packs) * V + threadIdx.x; i < n; i += kBlock) f(i, Width<1>());
    }
}

// The rows of this warp, of n for the whole grid.
#define KAT_EACH_WARP(row, n)                                                                              \
    for (uint64_t row = (static_cast<uint64_t>(blockIdx.x) * kat::kBlock + threadIdx.x) / 32; row < (n); \
         row += static_cast<uint64_t>(gridDim.x) * kat::kBlockWarps)

// The sum over the warp, in every lane.
template <typename T>
__device__ __forceinline__ T warp_sum(T v) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(0xffffffffu, v, step);
    return v;
}

// The greatest of the warp, in every lane.
__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, step));
    return v;
}

// The sum over the block, of so many warps, in thread 0.
template <uint32_t kWarps = kBlockWarps, typename T>
__device__ __forceinline__ T block_sum(T v) {
    __shared__ T warps[kWarps];
    v = warp_sum(v);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = v;
    __syncthreads();
    T sum = 0;
    if (threadIdx.x == 0) {
        for (uint32_t w = 0; w < kWarps; ++w) sum += warps[w];
    }
    return sum;
}

// The block's sums of each of several kinds, to out[kind · stride].
template <typename T, int kKinds>
__device__ __forceinline__ void write_block_sums(const T (&v)[kKinds], T* __restrict__ out, uint64_t stride) {
    __shared__ T warps[kKinds][kBlockWarps];
#pragma unroll
    for (int kind = 0; kind < kKinds; ++kind) {
        const T sum = warp_sum(v[kind]);
        if (threadIdx.x % 32 == 0) warps[kind][threadIdx.x / 32] = sum;
    }
    __syncthreads();
    if (threadIdx.x < kKinds) {
        T total = 0;
#pragma unroll
        for (uint32_t w = 0; w < kBlockWarps; ++w) total += warps[threadIdx.x][w];
        out[threadIdx.x * stride] = total;
    }
}

}  // namespace kat
