// Resizing by separable weights, given as lists: output pixel i takes `taps` input pixels from starts[i] on. Backward
// every input pixel gathers from the outputs that took it, whose numbers are neighbors.
#include "maps.h"

using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

// `starts` and `weights` list the rows' and then the columns'.
KAT_KERNEL resize_forward(const float* __restrict__ x, const uint32_t* __restrict__ starts,
                          const float* __restrict__ weights, float* __restrict__ y, uint64_t planes,
                          uint64_t input_plane, uint32_t width, uint32_t rows, uint32_t columns, uint32_t row_taps,
                          uint32_t column_taps) {
    const uint32_t *row_starts = starts, *column_starts = starts + rows;
    const float *by_row = weights, *by_column = weights + rows * row_taps;
    const uint32_t pixels = rows * columns;
    KAT_EACH_PLANE(p, planes, pixels) {
        const float* in = x + p * input_plane;
        KAT_EACH_PIXEL(pixel, pixels) {
            const uint32_t i = pixel / columns, j = pixel % columns;
            const float* at = in + static_cast<uint64_t>(row_starts[i]) * width + column_starts[j];
            float sum = 0.0f;
            for (uint32_t u = 0; u < row_taps; ++u, at += width) {
                float line = 0.0f;
                for (uint32_t v = 0; v < column_taps; ++v) line = fmaf(at[v], by_column[j * column_taps + v], line);
                sum = fmaf(line, by_row[i * row_taps + u], sum);
            }
            y[p * pixels + pixel] = sum;
        }
    }
}

// Behind the starts lie, for each input row and then for each input column, the outputs that took it: first, end.
KAT_KERNEL resize_backward(const float* __restrict__ dy, const uint32_t* __restrict__ starts,
                           const float* __restrict__ weights, float* __restrict__ dx, uint64_t planes, uint32_t height,
                           uint32_t width, uint32_t rows, uint32_t columns, uint32_t row_taps, uint32_t column_taps) {
    const uint32_t *row_starts = starts, *column_starts = starts + rows;
    const uint32_t *row_takers = column_starts + columns, *column_takers = row_takers + 2 * height;
    const float *by_row = weights, *by_column = weights + rows * row_taps;
    const uint32_t pixels = height * width;
    KAT_EACH_PLANE(p, planes, pixels) {
        const float* slope = dy + p * rows * columns;
        KAT_EACH_PIXEL(pixel, pixels) {
            const uint32_t row = pixel / width, column = pixel % width;
            const uint32_t left = column_takers[2 * column], right = column_takers[2 * column + 1];
            float sum = 0.0f;
            for (uint32_t i = row_takers[2 * row]; i < row_takers[2 * row + 1]; ++i) {
                float line = 0.0f;
                for (uint32_t j = left; j < right; ++j) {
                    line = fmaf(slope[i * columns + j], by_column[j * column_taps + column - column_starts[j]], line);
                }
                sum = fmaf(line, by_row[i * row_taps + row - row_starts[i]], sum);
            }
            dx[p * pixels + pixel] = sum;
        }
    }
}

// Channels-last grids: y[i, j, c] = Σ by_row(i, k) by_column(j, l) x[k, l, c], where by_row(i, k) lies at i · row_out +
// k · row_in (so that the matrix's transpose serves the gradient). Most weights are 0.
KAT_KERNEL resample_grid(const float* __restrict__ x, const float* __restrict__ by_row,
                         const float* __restrict__ by_column, float* __restrict__ y, uint32_t tokens, uint32_t channels,
                         uint32_t in_rows, uint32_t in_columns, uint32_t out_columns, uint32_t row_out, uint32_t row_in,
                         uint32_t column_out, uint32_t column_in) {
    KAT_EACH_PLANE(token, tokens, channels) {
        const uint32_t i = static_cast<uint32_t>(token) / out_columns, j = static_cast<uint32_t>(token) % out_columns;
        KAT_EACH_PIXEL(c, channels) {
            float sum = 0.0f;
            for (uint32_t k = 0; k < in_rows; ++k) {
                const float weight = by_row[i * row_out + k * row_in];
                if (weight == 0.0f) continue;
                float line = 0.0f;
                for (uint32_t l = 0; l < in_columns; ++l) {
                    const float w = by_column[j * column_out + l * column_in];
                    const uint64_t at = static_cast<uint64_t>(k) * in_columns + l;
                    if (w != 0.0f) line = fmaf(x[at * channels + c], w, line);
                }
                sum = fmaf(line, weight, sum);
            }
            y[token * channels + c] = sum;
        }
    }
}

// What the launches see to before they launch: the least values of each buffer.
// lengths resize_forward: x planes * input_plane; starts rows + columns; weights rows * row_taps + columns * column_taps; y planes * rows * columns
// lengths resize_backward: dy planes * rows * columns; starts rows + columns + 2 * (height + width); weights rows * row_taps + columns * column_taps; dx planes * height * width
// lengths resample_grid: x in_rows * in_columns * channels; by_row tokens / out_columns.max(1) * in_rows; by_column out_columns * in_columns; y tokens * channels
