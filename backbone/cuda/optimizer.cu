// Passes over all parameters in one launch each: the gradient's norm, AdamW, the moving average of weights; and what a
// step notes of itself (ops/watch).
//
// A list has a row of 64-bit numbers for each buffer: its addresses, its length, the first block of the grid that works
// on it, and what else the pass wants. A block takes kChunk values.
#include "common.h"

using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

constexpr uint64_t kChunk = 8192;  // CHUNK of ops/cuda/listed.rs

// Places in a watch: ops/watch::place.
constexpr int kLosses = 0, kCount = 1, kNorm = 2, kScale = 3, kFailed = 4, kFailedStep = 5, kFailedValue = 6;

// The row of a list that this block works on: the last whose first block is not behind it.
__device__ __forceinline__ const uint64_t* own_row(const uint64_t* list, uint32_t rows, uint32_t width,
                                                   uint32_t first_at) {
    uint32_t low = 0, high = rows;
    while (high - low > 1) {
        const uint32_t middle = (low + high) / 2;
        if (list[static_cast<uint64_t>(middle) * width + first_at] <= blockIdx.x) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return list + static_cast<uint64_t>(low) * width;
}

// This thread's values of the block's chunk, of `len`.
#define KAT_CHUNK(i, first_block, len)                                                                             \
    for (uint64_t i = (blockIdx.x - (first_block)) * kChunk + threadIdx.x,                                        \
                  end_ = min((blockIdx.x - (first_block) + 1) * kChunk, static_cast<uint64_t>(len));              \
         i < end_; i += kBlock)

__device__ __forceinline__ void note_failure(float* watch, float kind, float value, float step) {
    if (!isfinite(value) && watch[kFailed] == 0.0f) {
        watch[kFailed] = kind;
        watch[kFailedStep] = step;
        watch[kFailedValue] = value;
    }
}

KAT_KERNEL watch_loss(float* watch, const float* loss, float step) {
    if (threadIdx.x != 0) return;
    note_failure(watch, 1.0f, loss[0], step);
    watch[kLosses] += loss[0];
    watch[kCount] += 1.0f;
}

// Rows: address, length, first block. One sum a block.
KAT_KERNEL sum_squares_listed(const uint64_t* list, uint32_t rows, double* sums) {
    const uint64_t* row = own_row(list, rows, 3, 2);
    const float* x = reinterpret_cast<const float*>(row[0]);
    double sum = 0.0;
    KAT_CHUNK(i, row[2], row[1]) sum += static_cast<double>(x[i]) * x[i];
    sum = kat::block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// One block: adds the blocks' sums in order; the norm times `mean`, and mean · min(1, max_norm / norm).
KAT_KERNEL watch_norm(float* watch, const double* sums, uint32_t count, double mean, double max_norm, float step) {
    double sum = 0.0;
    for (uint32_t i = threadIdx.x; i < count; i += kBlock) sum += sums[i];
    sum = kat::block_sum(sum);
    if (threadIdx.x != 0) return;
    const double norm = sqrt(sum) * mean;
    note_failure(watch, 2.0f, static_cast<float>(norm), step);
    const double factor = max_norm > 0.0 && norm > max_norm ? max_norm / norm : 1.0;
    watch[kNorm] = static_cast<float>(norm);
    watch[kScale] = static_cast<float>(mean * factor);
}

// Rows: addresses of p, g, m, v, the length, the first block, keep and step size as two f32. Coefficients as in
// ops/adamw. After a failure nothing changes.
KAT_KERNEL adamw_listed(const uint64_t* list, uint32_t rows, const float* watch, float beta1, float rest1, float beta2,
                        float rest2, float eps, float root_scale) {
    if (watch[kFailed] != 0.0f) return;
    const float scale = watch[kScale];
    const uint64_t* row = own_row(list, rows, 7, 5);
    float* p = reinterpret_cast<float*>(row[0]);
    const float* g = reinterpret_cast<const float*>(row[1]);
    float* m = reinterpret_cast<float*>(row[2]);
    float* v = reinterpret_cast<float*>(row[3]);
    const float keep = __uint_as_float(static_cast<uint32_t>(row[6] >> 32));
    const float step_size = __uint_as_float(static_cast<uint32_t>(row[6]));
    KAT_CHUNK(i, row[5], row[4]) {
        const float slope = g[i] * scale;
        const float first = beta1 * m[i] + rest1 * slope;
        const float second = beta2 * v[i] + rest2 * (slope * slope);
        m[i] = first;
        v[i] = second;
        p[i] = keep * p[i] - step_size * first / (sqrtf(second) * root_scale + eps);
    }
}

// Rows: addresses of the average and of x, the length, the first block.
KAT_KERNEL average_listed(const uint64_t* list, uint32_t rows, float weight) {
    const uint64_t* row = own_row(list, rows, 4, 3);
    float* average = reinterpret_cast<float*>(row[0]);
    const float* x = reinterpret_cast<const float*>(row[1]);
    KAT_CHUNK(i, row[3], row[2]) average[i] += weight * (x[i] - average[i]);
}
