// Kernels over rows of channels: sums of columns, moves of tokens and patches.
#include "common.h"
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

// Adds `runs` rows of sums of `width` columns in f64: a block has 32 columns, a warp every 32nd run, then the warps' sums
// in order. Columns before `split` go to `first`, the others to `second`.
extern "C" __global__ void __launch_bounds__(1024) column_totals(const float* __restrict__ sums, float* __restrict__ first, float* __restrict__ second,
                         uint32_t runs, uint32_t width, uint32_t split) {
    constexpr uint32_t kWarps = 1024 / 32;
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const uint32_t column = blockIdx.x * 32 + lane;
    double sum = 0.0;
    if (column < width) {
#pragma unroll 4
        for (uint32_t run = warp; run < runs; run += kWarps) sum += sums[static_cast<size_t>(run) * width + column];
    }
    __shared__ double warps[kWarps][32];
    warps[warp][lane] = sum;
    __syncthreads();
    if (warp != 0 || column >= width) return;
    double total = 0.0;
#pragma unroll
    for (uint32_t w = 0; w < kWarps; ++w) total += warps[w][lane];
    (column < split ? first[column] : second[column - split]) = static_cast<float>(total);
}

// Every row the same.
KAT_KERNEL repeat_row(const float* __restrict__ row, float* __restrict__ y, uint64_t n, uint32_t width) {
    KAT_EACH(i, n) y[i] = row[i % width];
}

KAT_KERNEL repeat_row_bf16(const float* __restrict__ row, bf16* __restrict__ y, uint64_t n, uint32_t width) {
    KAT_EACH(i, n) y[i] = kat::from_float<bf16>(row[i % width]);
}

namespace {

using kat::each_pack;
using kat::pack_at;

// f(i, width, row, at) for the values of this thread, i = row · width of a row + at: four at a time where `whole`, that
// is where every part of a row is whole packs.
template <typename F>
__device__ __forceinline__ void each_of_rows(uint64_t n, uint64_t row_len, bool whole, F f) {
    if (whole) {
        const uint32_t packs = static_cast<uint32_t>(row_len / 4);
        each_pack<4>(n, [&](uint64_t i, auto width) {
            const uint32_t p = static_cast<uint32_t>(i / 4);
            f(i, width, static_cast<uint64_t>(p / packs), static_cast<uint64_t>(p % packs) * 4);
        });
    } else {
        each_pack<1>(n, [&](uint64_t i, auto width) { f(i, width, i / row_len, i % row_len); });
    }
}

template <typename T>
__device__ __forceinline__ void prepend(const float* __restrict__ prefix, const T* __restrict__ x, float* __restrict__ y,
                                        uint64_t n, uint64_t prefix_len, uint64_t sequence_len) {
    const bool whole = prefix_len % 4 == 0 && sequence_len % 4 == 0;
    each_of_rows(n, prefix_len + sequence_len, whole, [&](uint64_t i, auto width, uint64_t row, uint64_t at) {
        constexpr int V = decltype(width)::value;
        float v[V];
        if (at < prefix_len) {
            kat::widen(pack_at<V>(prefix, at), v);
        } else {
            kat::widen(pack_at<V>(x, row * sequence_len + at - prefix_len), v);
        }
        kat::put_pack<V>(y, i, kat::rounded<float>(v));
    });
}

}  // namespace

// prefix (one for all) before each sequence; sizes in values.
KAT_KERNEL prepend_rows(const float* prefix, const float* x, float* y, uint64_t n, uint64_t prefix_len,
                        uint64_t sequence_len) {
    prepend(prefix, x, y, n, prefix_len, sequence_len);
}

KAT_KERNEL prepend_rows_bf16(const float* prefix, const bf16* x, float* y, uint64_t n, uint64_t prefix_len,
                             uint64_t sequence_len) {
    prepend(prefix, x, y, n, prefix_len, sequence_len);
}

// Columns first..first + part of rows of `width`.
KAT_KERNEL take_columns(const float* __restrict__ x, float* __restrict__ y, uint64_t n, uint64_t width,
                        uint64_t first, uint64_t part) {
    const bool whole = width % 4 == 0 && first % 4 == 0 && part % 4 == 0;
    each_of_rows(n, part, whole, [&](uint64_t i, auto own, uint64_t row, uint64_t at) {
        constexpr int V = decltype(own)::value;
        kat::put_pack<V>(y, i, pack_at<V>(x, row * width + first + at));
    });
}

// The reverse, zeros elsewhere; n counts the output.
KAT_KERNEL put_columns(const float* __restrict__ dy, float* __restrict__ dx, uint64_t n, uint64_t width,
                       uint64_t first, uint64_t part) {
    const bool whole = width % 4 == 0 && first % 4 == 0 && part % 4 == 0;
    each_of_rows(n, width, whole, [&](uint64_t i, auto own, uint64_t row, uint64_t at) {
        constexpr int V = decltype(own)::value;
        kat::Pack<float, V> out = {};
        if (at >= first && at < first + part) out = pack_at<V>(dy, row * part + at - first);
        kat::put_pack<V>(dx, i, out);
    });
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

// Images (B, channels, grid · patch) and patches (B, grid, channels · patch): the value at i of the patches is that at
// `at` of the images.
__device__ __forceinline__ uint64_t image_place(uint64_t at, uint32_t channels, uint32_t grid_h, uint32_t grid_w,
                                                uint32_t patch_h, uint32_t patch_w) {
    const uint32_t px = at % patch_w;
    // lines of patches are fewer than 2^32
    uint32_t i = static_cast<uint32_t>(at / patch_w);
    const uint32_t py = i % patch_h;
    i /= patch_h;
    const uint32_t c = i % channels;
    i /= channels;
    const uint32_t gx = i % grid_w;
    i /= grid_w;
    const uint32_t gy = i % grid_h;
    const uint32_t b = i / grid_h;
    const uint64_t height = static_cast<uint64_t>(grid_h) * patch_h, width = static_cast<uint64_t>(grid_w) * patch_w;
    return ((static_cast<uint64_t>(b) * channels + c) * height + gy * patch_h + py) * width + gx * patch_w + px;
}

template <typename T>
__device__ __forceinline__ void cut(const float* __restrict__ x, T* __restrict__ y, uint64_t n, uint32_t channels,
                                    uint32_t grid_h, uint32_t grid_w, uint32_t patch_h, uint32_t patch_w) {
    const auto copy = [&](uint64_t i, auto width) {
        constexpr int V = decltype(width)::value;
        float v[V];
        kat::widen(pack_at<V>(x, image_place(i, channels, grid_h, grid_w, patch_h, patch_w)), v);
        kat::put_pack<V>(y, i, kat::rounded<T>(v));
    };
    patch_w % 4 == 0 ? each_pack<4>(n, copy) : each_pack<1>(n, copy);
}

KAT_KERNEL patchify(const float* x, float* y, uint64_t n, uint32_t channels, uint32_t grid_h, uint32_t grid_w,
                    uint32_t patch_h, uint32_t patch_w) {
    cut(x, y, n, channels, grid_h, grid_w, patch_h, patch_w);
}

KAT_KERNEL patchify_bf16(const float* x, bf16* y, uint64_t n, uint32_t channels, uint32_t grid_h, uint32_t grid_w,
                         uint32_t patch_h, uint32_t patch_w) {
    cut(x, y, n, channels, grid_h, grid_w, patch_h, patch_w);
}

KAT_KERNEL unpatchify(const float* __restrict__ x, float* __restrict__ y, uint64_t n, uint32_t channels,
                      uint32_t grid_h, uint32_t grid_w, uint32_t patch_h, uint32_t patch_w) {
    KAT_EACH(i, n) y[image_place(i, channels, grid_h, grid_w, patch_h, patch_w)] = x[i];
}
