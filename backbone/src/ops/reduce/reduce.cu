// Sums and means in a fixed order, and what spreads their gradients.
#include "common.h"

using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

// The sum of `repeats` parts of `period` values, in their order.
KAT_KERNEL sum_repeats(const float* dy, float* out, uint64_t period, uint64_t repeats) {
    KAT_EACH(i, period) {
        float sum = 0.0f;
        for (uint64_t k = 0; k < repeats; ++k) sum += dy[k * period + i];
        out[i] = sum;
    }
}

// The sum of each block's values: the grid decides the order, not the GPU. What has a weight of 0 does not count,
// whatever it is.
KAT_KERNEL sum_values(const float* x, const float* optional_weights, double* sums, uint64_t n) {
    double sum = 0.0;
    KAT_EACH(i, n) {
        if (optional_weights == nullptr) {
            sum += x[i];
        } else if (optional_weights[i] != 0.0f) {
            sum += static_cast<double>(x[i]) * optional_weights[i];
        }
    }
    sum = kat::block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// One block: factor times the blocks' sums, in order.
KAT_KERNEL sum_of_sums(const double* sums, float* total, uint32_t count, double factor) {
    double sum = 0.0;
    for (uint32_t i = threadIdx.x; i < count; i += kBlock) sum += sums[i];
    sum = kat::block_sum(sum);
    if (threadIdx.x == 0) total[0] = static_cast<float>(sum * factor);
}

// The gradient of a total: dy (one value) factor weights.
KAT_KERNEL spread_total(const float* dy, const float* optional_weights, float* dx, uint64_t n, float factor) {
    const float slope = dy[0] * factor;
    KAT_EACH(i, n) dx[i] = optional_weights == nullptr ? slope : slope * optional_weights[i];
}

// The mean over the tokens of each sequence.
KAT_KERNEL token_means(const float* __restrict__ x, float* __restrict__ y, uint64_t n, uint64_t tokens,
                       uint64_t channels) {
    KAT_EACH(i, n) {
        const float* in = x + i / channels * tokens * channels + i % channels;
        float sum = 0.0f;
        for (uint64_t t = 0; t < tokens; ++t) sum += in[t * channels];
        y[i] = sum / tokens;
    }
}

// The reverse: each mean's gradient to every token.
KAT_KERNEL spread_means(const float* __restrict__ dy, float* __restrict__ dx, uint64_t n, uint64_t tokens,
                        uint64_t channels) {
    KAT_EACH(i, n) dx[i] = dy[i / (tokens * channels) * channels + i % channels] / tokens;
}

// What the launches see to before they launch: the least values of each buffer.
// lengths sum_repeats: dy period * repeats; out period
// lengths sum_values: x n; optional_weights n; sums grid.0[0]
// lengths sum_of_sums: sums count; total 1
// lengths spread_total: dy 1; optional_weights n; dx n
// lengths token_means: x n * tokens; y n
// lengths spread_means: dy n / tokens.max(1); dx n
