// Totals over the runs that other kernels summed, in blocks of 1024 threads, in f64 and a fixed order.
#pragma once

#include "common.h"

namespace kat {

constexpr uint32_t kTotalWarps = 1024 / 32;

// Adds `runs` rows of sums of `width` columns: a block has 32 columns, a warp every 32nd run, then the warps' sums in order.
// Columns before `split` go to `first`, those before `second_split` to `second`, the others to `third`.
__device__ __forceinline__ void column_totals(const float* __restrict__ sums, float* __restrict__ first,
                                              float* __restrict__ second, float* __restrict__ third, uint32_t runs,
                                              uint32_t width, uint32_t split, uint32_t second_split) {
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const uint32_t column = blockIdx.x * 32 + lane;
    double sum = 0.0;
    if (column < width) {
#pragma unroll 4
        for (uint32_t run = warp; run < runs; run += kTotalWarps) {
            sum += sums[static_cast<size_t>(run) * width + column];
        }
    }
    __shared__ double warps[kTotalWarps][32];
    warps[warp][lane] = sum;
    __syncthreads();
    if (warp != 0 || column >= width) return;
    double total = 0.0;
#pragma unroll
    for (uint32_t w = 0; w < kTotalWarps; ++w) total += warps[w][lane];
    float* out = column < split          ? first + column
                 : column < second_split ? second + (column - split)
                                         : third + (column - second_split);
    *out = static_cast<float>(total);
}

}  // namespace kat
