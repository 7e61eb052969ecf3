// Losses that compare element by element.
#include "common.h"

using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

namespace {

// Binary cross entropy of logits, or (smooth_l1 not 0) smooth L1 with `beta`.
__device__ __forceinline__ float loss(float x, float t, uint32_t smooth_l1, float beta) {
    if (smooth_l1 == 0) return fmaxf(x, 0.0f) - x * t + log1pf(expf(-fabsf(x)));
    const float d = fabsf(x - t);
    return d < beta ? 0.5f * d * d / beta : d - 0.5f * beta;
}

__device__ __forceinline__ float slope(float x, float t, uint32_t smooth_l1, float beta) {
    if (smooth_l1 == 0) return 1.0f / (1.0f + expf(-x)) - t;
    const float d = x - t;
    if (fabsf(d) < beta) return d / beta;
    return d == 0.0f || d != d ? d : copysignf(1.0f, d);
}

}  // namespace

// The weighted sum of each block's losses; then sum_of_sums.
KAT_KERNEL elementwise_loss(const float* __restrict__ x, const float* __restrict__ targets,
                            const float* __restrict__ optional_weights, double* __restrict__ sums, uint64_t n,
                            uint32_t smooth_l1, float beta) {
    double sum = 0.0;
    KAT_EACH(i, n) {
        const double value = loss(x[i], targets[i], smooth_l1, beta);
        sum += optional_weights != nullptr ? value * optional_weights[i] : value;
    }
    sum = kat::block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

KAT_KERNEL elementwise_loss_gradient(const float* __restrict__ x, const float* __restrict__ targets,
                                     const float* __restrict__ optional_weights, const float* __restrict__ dloss,
                                     float* __restrict__ dx, uint64_t n, uint32_t smooth_l1, float beta,
                                     float normalizer) {
    const float factor = dloss[0] / normalizer;
    KAT_EACH(i, n) {
        const float d = factor * slope(x[i], targets[i], smooth_l1, beta);
        dx[i] = optional_weights != nullptr ? d * optional_weights[i] : d;
    }
}

// What the launches see to before they launch: the least values of each buffer.
// lengths elementwise_loss*: x n; targets n; optional_weights n; sums grid.0[0]; dloss 1; dx n
