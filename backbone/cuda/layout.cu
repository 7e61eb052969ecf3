// Kernels that only move values. A tile of the transpose goes through shared memory, so that reads and writes both meet
// neighbours.
#include "common.h"

using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

// (batch, rows, columns) to (batch, columns, rows): a block a tile of 32 × 32; tiles of all matrices in a row.
KAT_KERNEL transpose_tiles(const float* __restrict__ x, float* __restrict__ y, uint32_t rows, uint32_t columns) {
    __shared__ float tile[32][33];
    const uint32_t across = (columns + 31) / 32, down = (rows + 31) / 32;
    const uint32_t left = blockIdx.x % across * 32, top = blockIdx.x / across % down * 32;
    const uint64_t matrix = static_cast<uint64_t>(blockIdx.x / across / down) * rows * columns;
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (uint32_t line = warp; line < 32; line += kat::kBlockWarps) {
        if (top + line < rows && left + lane < columns) {
            tile[line][lane] = x[matrix + static_cast<uint64_t>(top + line) * columns + left + lane];
        }
    }
    __syncthreads();
    for (uint32_t line = warp; line < 32; line += kat::kBlockWarps) {
        if (left + line < columns && top + lane < rows) {
            y[matrix + static_cast<uint64_t>(left + line) * rows + top + lane] = tile[lane][line];
        }
    }
}

// Rows of `part` values into the columns from `first` of rows of `width`.
KAT_KERNEL write_columns(const float* __restrict__ x, float* __restrict__ y, uint64_t n, uint64_t width,
                         uint64_t first, uint64_t part) {
    KAT_EACH(i, n) y[i / part * width + first + i % part] = x[i];
}

// Row indices[k] of x for each k.
KAT_KERNEL gather_rows(const float* __restrict__ x, const uint32_t* __restrict__ indices, float* __restrict__ y,
                       uint64_t n, uint64_t width) {
    KAT_EACH(i, n) y[i] = x[indices[i / width] * width + i % width];
}

// Each row is the sum of the rows of dy that its list names, in the list's order: sources[starts[row]..starts[row + 1]].
KAT_KERNEL sum_listed_rows(const float* __restrict__ dy, const uint32_t* __restrict__ starts,
                           const uint32_t* __restrict__ sources, float* __restrict__ dx, uint64_t n, uint64_t width) {
    KAT_EACH(i, n) {
        const uint64_t row = i / width, column = i % width;
        float sum = 0.0f;
        for (uint32_t k = starts[row]; k < starts[row + 1]; ++k) sum += dy[sources[k] * width + column];
        dx[i] = sum;
    }
}

// A token grid's windows: (B · down · across, window², C) of (B, rows · columns, C), zeros outside the grid; with `back`
// not 0 the reverse. n counts the output.
KAT_KERNEL move_windows(const float* __restrict__ x, float* __restrict__ y, uint64_t n, uint32_t rows,
                        uint32_t columns, uint32_t channels, uint32_t window, uint32_t down, uint32_t across,
                        uint32_t back) {
    KAT_EACH(i, n) {
        const uint32_t c = i % channels;
        const uint64_t token = i / channels;
        if (back != 0) {
            const uint32_t column = token % columns, row = token / columns % rows;
            const uint64_t image = token / columns / rows;
            const uint64_t index = (image * down + row / window) * across + column / window;
            y[i] = x[((index * window + row % window) * window + column % window) * channels + c];
        } else {
            const uint64_t index = token / window / window;
            const uint32_t column = index % across * window + token % window;
            const uint32_t row = index / across % down * window + token / window % window;
            const uint64_t image = index / across / down;
            y[i] = row < rows && column < columns ? x[((image * rows + row) * columns + column) * channels + c] : 0.0f;
        }
    }
}
