// Sums of columns, by runs of rows and then over the runs.
#include "column_totals.h"
#include "storage.h"

using kat::bf16;
using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

// Sums over a run of rows of dy and, where statistics are given, of dy xhat: `out` is (runs, 2, channels), or (runs,
// channels) without. The grid is (32 columns a block, runs); a warp walks over every eighth row.
template <typename T>
__device__ __forceinline__ void run_sums(const T* __restrict__ dy, const float* __restrict__ x,
                                         const float* __restrict__ statistics, float* __restrict__ out, uint64_t rows,
                                         uint32_t channels, uint32_t rows_per_run) {
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const uint32_t column = blockIdx.x * 32 + lane;
    const uint64_t first = static_cast<uint64_t>(blockIdx.y) * rows_per_run;
    const uint64_t end = min(first + rows_per_run, rows);
    const bool normed = statistics != nullptr;
    float sum = 0.0f, along = 0.0f;
    if (column < channels) {
        for (uint64_t row = first + warp; row < end; row += kat::kBlockWarps) {
            const float slope = kat::to_float(dy[row * channels + column]);
            sum += slope;
            if (normed) {
                const float centred = x[row * channels + column] - statistics[2 * row];
                along += slope * centred * statistics[2 * row + 1];
            }
        }
    }
    __shared__ float sums[2][kat::kBlockWarps][32];
    sums[0][warp][lane] = sum;
    sums[1][warp][lane] = along;
    __syncthreads();
    if (warp < (normed ? 2 : 1) && column < channels) {
        float total = 0.0f;
        for (uint32_t w = 0; w < kat::kBlockWarps; ++w) total += sums[warp][w][lane];
        const uint64_t kinds = normed ? 2 : 1;
        out[(blockIdx.y * kinds + warp) * channels + column] = total;
    }
}

KAT_KERNEL column_sums(const float* dy, const float* optional_x, const float* optional_statistics, float* out,
                       uint64_t rows, uint32_t channels, uint32_t rows_per_run) {
    run_sums(dy, optional_x, optional_statistics, out, rows, channels, rows_per_run);
}

KAT_KERNEL column_sums_bf16(const bf16* dy, const float* optional_x, const float* optional_statistics, float* out,
                            uint64_t rows, uint32_t channels, uint32_t rows_per_run) {
    run_sums(dy, optional_x, optional_statistics, out, rows, channels, rows_per_run);
}

namespace {

constexpr uint32_t kColumnPacks = 16, kColumnLines = kBlock / kColumnPacks;
static_assert(kColumnPacks * 8 == 128, "rust: SUMMED_COLUMNS");

// Sums over a run of rows, as run_sums without statistics, for columns in packs of eight: the grid is (128 columns a
// block, runs), a thread has one pack of every sixteenth row.
template <typename T>
__device__ __forceinline__ void packed_run_sums(const T* __restrict__ dy, float* __restrict__ out, uint32_t rows,
                                                uint32_t channels, uint32_t rows_per_run) {
    const uint32_t line = threadIdx.x / kColumnPacks, slot = threadIdx.x % kColumnPacks;
    const uint32_t column = blockIdx.x * kColumnPacks * 8 + slot * 8;
    const uint32_t first = blockIdx.y * rows_per_run, end = min(first + rows_per_run, rows);
    float sums[8] = {};
    if (column < channels) {
#pragma unroll 4
        for (uint32_t row = first + line; row < end; row += kColumnLines) {
            float v[8];
            kat::widen(kat::pack_at<8>(dy, static_cast<uint64_t>(row) * channels + column), v);
#pragma unroll
            for (int k = 0; k < 8; ++k) sums[k] += v[k];
        }
    }
    // 8 more than a line has, so that the lines of a warp lie in different banks
    __shared__ float lines[kColumnLines][kColumnPacks * 8 + 8];
#pragma unroll
    for (int k = 0; k < 8; ++k) lines[line][slot * 8 + k] = sums[k];
    __syncthreads();
    const uint32_t own = blockIdx.x * kColumnPacks * 8 + threadIdx.x;
    if (threadIdx.x >= kColumnPacks * 8 || own >= channels) return;
    float total = 0.0f;
#pragma unroll
    for (uint32_t l = 0; l < kColumnLines; ++l) total += lines[l][threadIdx.x];
    out[static_cast<uint64_t>(blockIdx.y) * channels + own] = total;
}

}  // namespace

KAT_KERNEL packed_column_sums(const float* dy, float* out, uint32_t rows, uint32_t channels, uint32_t rows_per_run) {
    packed_run_sums(dy, out, rows, channels, rows_per_run);
}

KAT_KERNEL packed_column_sums_bf16(const bf16* dy, float* out, uint32_t rows, uint32_t channels,
                                   uint32_t rows_per_run) {
    packed_run_sums(dy, out, rows, channels, rows_per_run);
}

// Adds `runs` rows of sums.
extern "C" __global__ void __launch_bounds__(1024)
    column_totals(const float* __restrict__ sums, float* __restrict__ first, float* __restrict__ second,
                  float* __restrict__ third, uint32_t runs, uint32_t width, uint32_t split, uint32_t second_split) {
    kat::column_totals(sums, first, second, third, runs, width, split, second_split);
}

// What the launches see to before they launch: the least values of each buffer.
// lengths packed_column_sums*: dy rows * channels; out grid.0[1] * channels
// lengths column_totals: sums runs * width; first split; second second_split - split; third width - second_split
// lengths column_sums*: dy rows * channels; optional_x rows * channels; optional_statistics 2 * rows; out grid.0[1] * channels * (1 + usize::from(optional_statistics.is_some()))
