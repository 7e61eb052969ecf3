// Channels-first layer norm of (B, C, plane): a block has 32 neighboring pixels, its lanes, and its warps share out
// the channels. The pixels' values of all channels are read again where they are still in a cache.
#include "maps.h"

using kat::kBlock;
using kat::kBlockWarps;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

namespace {

// The sum of the warps' values at each lane, in every warp.
__device__ __forceinline__ float across_warps(float v) {
    __shared__ float warps[kBlockWarps][32];
    const uint32_t lane = threadIdx.x % 32;
    __syncthreads();  // the sum before may still be read
    warps[threadIdx.x / 32][lane] = v;
    __syncthreads();
    float sum = 0.0f;
#pragma unroll
    for (uint32_t w = 0; w < kBlockWarps; ++w) sum += warps[w][lane];
    return sum;
}

}  // namespace

// statistics (2, positions): means, then inverse deviations.
KAT_KERNEL channel_norm_forward(const float* __restrict__ x, const float* __restrict__ weight,
                                const float* __restrict__ bias, float* __restrict__ y, float* __restrict__ statistics,
                                uint64_t positions, uint32_t channels, uint32_t plane, float eps) {
    const uint32_t warp = threadIdx.x / 32;
    const uint64_t position = static_cast<uint64_t>(blockIdx.x) * 32 + threadIdx.x % 32;
    const uint32_t count = position < positions ? channels : 0;
    const uint64_t first = position / plane * channels * plane + position % plane;
    float sum = 0.0f, squares = 0.0f;
    for (uint32_t c = warp; c < count; c += kBlockWarps) sum += x[first + static_cast<uint64_t>(c) * plane];
    const float mean = across_warps(sum) / channels;
    for (uint32_t c = warp; c < count; c += kBlockWarps) {
        const float d = x[first + static_cast<uint64_t>(c) * plane] - mean;
        squares = fmaf(d, d, squares);
    }
    const float inverse = 1.0f / sqrtf(across_warps(squares) / channels + eps);
    for (uint32_t c = warp; c < count; c += kBlockWarps) {
        const uint64_t at = first + static_cast<uint64_t>(c) * plane;
        y[at] = fmaf((x[at] - mean) * inverse, weight[c], bias[c]);
    }
    if (warp == 0 && count != 0) {
        statistics[position] = mean;
        statistics[positions + position] = inverse;
    }
}

// In place of dy: inverse (g - mean(g) - x̂ mean(g x̂)), g = dy · weight, means over the channels.
KAT_KERNEL channel_norm_backward(const float* __restrict__ x, const float* __restrict__ weight,
                                 const float* __restrict__ statistics, float* __restrict__ dy, uint64_t positions,
                                 uint32_t channels, uint32_t plane) {
    const uint32_t warp = threadIdx.x / 32;
    const uint64_t position = static_cast<uint64_t>(blockIdx.x) * 32 + threadIdx.x % 32;
    const uint32_t count = position < positions ? channels : 0;
    const uint64_t first = position / plane * channels * plane + position % plane;
    const float mean = count != 0 ? statistics[position] : 0.0f;
    const float inverse = count != 0 ? statistics[positions + position] : 0.0f;
    float sum = 0.0f, along = 0.0f;
    for (uint32_t c = warp; c < count; c += kBlockWarps) {
        const uint64_t at = first + static_cast<uint64_t>(c) * plane;
        const float g = dy[at] * weight[c];
        sum += g;
        along = fmaf(g, (x[at] - mean) * inverse, along);
    }
    sum = across_warps(sum) / channels;
    along = across_warps(along) / channels;
    for (uint32_t c = warp; c < count; c += kBlockWarps) {
        const uint64_t at = first + static_cast<uint64_t>(c) * plane;
        dy[at] = inverse * (dy[at] * weight[c] - sum - (x[at] - mean) * inverse * along);
    }
}

// (runs, 2, C): Σ dy x̂ and Σ dy; then channel_totals.
KAT_KERNEL channel_norm_gradient_runs(const float* __restrict__ x, const float* __restrict__ statistics,
                                      const float* __restrict__ dy, double* __restrict__ sums, uint64_t positions,
                                      uint32_t channels, uint32_t plane, uint64_t run) {
    const uint32_t channel = blockIdx.x;
    const uint64_t first = blockIdx.y * run, end = min(first + run, positions);
    double v[2] = {0.0, 0.0};
    kat::for_channel(channel, channels, plane, first, end, [&](uint64_t at, uint64_t position) {
        const float slope = dy[at];
        v[0] += slope * ((x[at] - statistics[position]) * statistics[positions + position]);
        v[1] += slope;
    });
    kat::write_block_sums(v, sums + static_cast<uint64_t>(blockIdx.y) * 2 * channels + channel, channels);
}

// What the launches see to before they launch: the least values of each buffer.
// lengths channel_norm_*: x positions * channels; dy positions * channels; y positions * channels; weight channels; bias channels; statistics 2 * positions; sums 2 * channels * grid.0[1]
