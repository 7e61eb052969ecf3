// Kernels over rows of channels: layer norm, sums of columns, moves of tokens and patches.
#include "common.h"
#include "storage.h"

using kat::bf16;
using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

// A warp a row; the second and third pass over a row find it in the cache. statistics: mean and inverse deviation of
// each row.
template <typename T>
__device__ __forceinline__ void layer_norm(const float* __restrict__ x, const float* __restrict__ weight,
                                           const float* __restrict__ bias, T* __restrict__ y,
                                           float* __restrict__ statistics, uint64_t rows, uint32_t channels,
                                           float eps) {
    const uint32_t lane = threadIdx.x % 32;
    KAT_EACH_WARP(row, rows) {
        const float* in = x + row * channels;
        float sum = 0.0f;
        for (uint32_t c = lane; c < channels; c += 32) sum += in[c];
        const float mean = kat::warp_sum(sum) / channels;
        float squares = 0.0f;
        for (uint32_t c = lane; c < channels; c += 32) squares += (in[c] - mean) * (in[c] - mean);
        const float inverse = 1.0f / sqrtf(kat::warp_sum(squares) / channels + eps);
        for (uint32_t c = lane; c < channels; c += 32) {
            y[row * channels + c] = kat::from_float<T>((in[c] - mean) * inverse * weight[c] + bias[c]);
        }
        if (lane == 0) {
            statistics[2 * row] = mean;
            statistics[2 * row + 1] = inverse;
        }
    }
}

KAT_KERNEL layer_norm_forward(const float* x, const float* weight, const float* bias, float* y, float* statistics,
                              uint64_t rows, uint32_t channels, float eps) {
    layer_norm(x, weight, bias, y, statistics, rows, channels, eps);
}

KAT_KERNEL layer_norm_forward_bf16(const float* x, const float* weight, const float* bias, bf16* y, float* statistics,
                                   uint64_t rows, uint32_t channels, float eps) {
    layer_norm(x, weight, bias, y, statistics, rows, channels, eps);
}

// dx = inverse (g - mean(g) - xhat mean(g xhat)), g = dy weight. dx may be dy: a thread reads what it then writes.
template <typename T>
__device__ __forceinline__ void layer_norm_slope(const float* __restrict__ x, const float* __restrict__ weight,
                                                 const float* __restrict__ statistics, const T* dy, float* dx,
                                                 uint64_t rows, uint32_t channels) {
    const uint32_t lane = threadIdx.x % 32;
    KAT_EACH_WARP(row, rows) {
        const float* in = x + row * channels;
        const T* slope = dy + row * channels;
        const float mean = statistics[2 * row], inverse = statistics[2 * row + 1];
        float sum = 0.0f, along = 0.0f;
        for (uint32_t c = lane; c < channels; c += 32) {
            const float g = kat::to_float(slope[c]) * weight[c];
            sum += g;
            along += g * (in[c] - mean) * inverse;
        }
        sum = kat::warp_sum(sum) / channels;
        along = kat::warp_sum(along) / channels;
        for (uint32_t c = lane; c < channels; c += 32) {
            const float normal = (in[c] - mean) * inverse;
            dx[row * channels + c] = inverse * (kat::to_float(slope[c]) * weight[c] - sum - normal * along);
        }
    }
}

// In place of dy.
KAT_KERNEL layer_norm_backward(const float* x, const float* weight, const float* statistics, float* dy, uint64_t rows,
                               uint32_t channels) {
    layer_norm_slope(x, weight, statistics, dy, dy, rows, channels);
}

KAT_KERNEL layer_norm_backward_bf16(const float* x, const float* weight, const float* statistics, const bf16* dy,
                                    float* dx, uint64_t rows, uint32_t channels) {
    layer_norm_slope(x, weight, statistics, dy, dx, rows, channels);
}

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

// Adds what the runs of column_sums wrote, in order and in f64: out[c] of `width` columns that begin at `first` of
// rows of `stride`.
KAT_KERNEL column_totals(const float* __restrict__ sums, float* __restrict__ out, uint32_t runs, uint32_t stride,
                         uint32_t first, uint32_t width) {
    KAT_EACH(c, width) {
        double total = 0.0;
        for (uint32_t run = 0; run < runs; ++run) total += sums[static_cast<uint64_t>(run) * stride + first + c];
        out[c] = static_cast<float>(total);
    }
}

// Every row the same.
KAT_KERNEL repeat_row(const float* __restrict__ row, float* __restrict__ y, uint64_t n, uint32_t width) {
    KAT_EACH(i, n) y[i] = row[i % width];
}

KAT_KERNEL repeat_row_bf16(const float* __restrict__ row, bf16* __restrict__ y, uint64_t n, uint32_t width) {
    KAT_EACH(i, n) y[i] = kat::from_float<bf16>(row[i % width]);
}

// prefix (one for all) before each sequence; sizes in values.
KAT_KERNEL prepend_rows(const float* __restrict__ prefix, const float* __restrict__ x, float* __restrict__ y,
                        uint64_t n, uint64_t prefix_len, uint64_t sequence_len) {
    const uint64_t total = prefix_len + sequence_len;
    KAT_EACH(i, n) {
        const uint64_t sequence = i / total, at = i % total;
        y[i] = at < prefix_len ? prefix[at] : x[sequence * sequence_len + at - prefix_len];
    }
}

// Columns first..first + part of rows of `width`.
KAT_KERNEL take_columns(const float* __restrict__ x, float* __restrict__ y, uint64_t n, uint64_t width,
                        uint64_t first, uint64_t part) {
    KAT_EACH(i, n) y[i] = x[i / part * width + first + i % part];
}

// The reverse, zeros elsewhere; n counts the output.
KAT_KERNEL put_columns(const float* __restrict__ dy, float* __restrict__ dx, uint64_t n, uint64_t width,
                       uint64_t first, uint64_t part) {
    KAT_EACH(i, n) {
        const uint64_t at = i % width;
        dx[i] = at >= first && at < first + part ? dy[i / width * part + at - first] : 0.0f;
    }
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
__device__ __forceinline__ uint64_t image_place(uint64_t i, uint32_t channels, uint32_t grid_h, uint32_t grid_w,
                                                uint32_t patch_h, uint32_t patch_w) {
    const uint32_t px = i % patch_w;
    i /= patch_w;
    const uint32_t py = i % patch_h;
    i /= patch_h;
    const uint32_t c = i % channels;
    i /= channels;
    const uint32_t gx = i % grid_w;
    i /= grid_w;
    const uint32_t gy = i % grid_h;
    const uint64_t b = i / grid_h;
    const uint64_t height = static_cast<uint64_t>(grid_h) * patch_h, width = static_cast<uint64_t>(grid_w) * patch_w;
    return ((b * channels + c) * height + gy * patch_h + py) * width + gx * patch_w + px;
}

KAT_KERNEL patchify(const float* __restrict__ x, float* __restrict__ y, uint64_t n, uint32_t channels,
                    uint32_t grid_h, uint32_t grid_w, uint32_t patch_h, uint32_t patch_w) {
    KAT_EACH(i, n) y[i] = x[image_place(i, channels, grid_h, grid_w, patch_h, patch_w)];
}

KAT_KERNEL unpatchify(const float* __restrict__ x, float* __restrict__ y, uint64_t n, uint32_t channels,
                      uint32_t grid_h, uint32_t grid_w, uint32_t patch_h, uint32_t patch_w) {
    KAT_EACH(i, n) y[image_place(i, channels, grid_h, grid_w, patch_h, patch_w)] = x[i];
}
