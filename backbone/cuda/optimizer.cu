// Passes over all parameters in one launch each: the gradient's norm, AdamW, the moving average of weights; and what a
// step notes of itself (ops/watch).
//
// A list has a row of 64-bit numbers for each buffer: its addresses, its length, the first block of the grid that works
// on it, and what else the pass wants. A block takes kChunk values.
#include "common.h"
#include "storage.h"

using kat::bf16;
using kat::kBlock;
using kat::pack_at;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

constexpr uint64_t kChunk = 8192;
static_assert(kChunk == 8192, "rust: LIST_CHUNK");

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

// f(i, width) for this thread's packs of the block's chunk, of `len` values in all.
template <typename F>
__device__ __forceinline__ void each_of_chunk(uint64_t first_block, uint64_t len, F f) {
    constexpr uint32_t kPack = 4;
    const uint64_t start = (blockIdx.x - first_block) * kChunk;
    const uint32_t count = static_cast<uint32_t>(min(kChunk, len - start)), packs = count / kPack;
    for (uint32_t p = threadIdx.x; p < packs; p += kBlock) f(start + p * kPack, kat::Width<kPack>());
    for (uint32_t i = packs * kPack + threadIdx.x; i < count; i += kBlock) f(start + i, kat::Width<1>());
}

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
    each_of_chunk(row[2], row[1], [&](uint64_t i, auto width) {
        const auto values = pack_at<decltype(width)::value>(x, i);
#pragma unroll
        for (const float value : values.v) sum += static_cast<double>(value) * value;
    });
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

// Rows: addresses of p, of p in bfloat16 or 0, of g, m, v, the length, the first block, keep and step size as two f32.
// Coefficients as in ops/adamw. After a failure nothing changes.
KAT_KERNEL adamw_listed(const uint64_t* list, uint32_t rows, const float* watch, float beta1, float rest1, float beta2,
                        float rest2, float eps, float root_scale) {
    if (watch[kFailed] != 0.0f) return;
    const float scale = watch[kScale];
    const uint64_t* row = own_row(list, rows, 8, 6);
    float* p = reinterpret_cast<float*>(row[0]);
    bf16* narrow = reinterpret_cast<bf16*>(row[1]);
    const float* g = reinterpret_cast<const float*>(row[2]);
    float* m = reinterpret_cast<float*>(row[3]);
    float* v = reinterpret_cast<float*>(row[4]);
    const float keep = __uint_as_float(static_cast<uint32_t>(row[7] >> 32));
    const float step_size = __uint_as_float(static_cast<uint32_t>(row[7]));
    each_of_chunk(row[6], row[5], [&](uint64_t i, auto width) {
        constexpr int V = decltype(width)::value;
        const auto slopes = pack_at<V>(g, i);
        auto weights = pack_at<V>(p, i), first = pack_at<V>(m, i), second = pack_at<V>(v, i);
#pragma unroll
        for (int k = 0; k < V; ++k) {
            const float slope = slopes.v[k] * scale;
            first.v[k] = beta1 * first.v[k] + rest1 * slope;
            second.v[k] = beta2 * second.v[k] + rest2 * (slope * slope);
            weights.v[k] = keep * weights.v[k] - step_size * first.v[k] / (sqrtf(second.v[k]) * root_scale + eps);
        }
        kat::put_pack<V>(m, i, first);
        kat::put_pack<V>(v, i, second);
        kat::put_pack<V>(p, i, weights);
        if (narrow != nullptr) kat::put_pack<V>(narrow, i, kat::rounded<bf16>(weights.v));
    });
}

// Rows: addresses of the average and of x, the length, the first block.
KAT_KERNEL average_listed(const uint64_t* list, uint32_t rows, float weight) {
    const uint64_t* row = own_row(list, rows, 4, 3);
    float* average = reinterpret_cast<float*>(row[0]);
    const float* x = reinterpret_cast<const float*>(row[1]);
    each_of_chunk(row[3], row[2], [&](uint64_t i, auto width) {
        constexpr int V = decltype(width)::value;
        const auto values = pack_at<V>(x, i);
        auto averages = pack_at<V>(average, i);
#pragma unroll
        for (int k = 0; k < V; ++k) averages.v[k] += weight * (values.v[k] - averages.v[k]);
        kat::put_pack<V>(average, i, averages);
    });
}
