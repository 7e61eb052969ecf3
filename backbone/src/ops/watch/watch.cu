// What a training step notes of itself: its loss, and the norm of its gradient.
#include "places.h"
#include "pointer_table.h"
#include "storage.h"

using kat::each_of_chunk;
using kat::kBlock;
using kat::own_row;
using kat::pack_at;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

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

// What the launches see to before they launch: the least values of each buffer.
// lengths watch_loss: watch 8; loss 1
// lengths sum_squares_listed: list 3 * rows; sums grid.0[0]
// lengths watch_norm: watch 8; sums count
