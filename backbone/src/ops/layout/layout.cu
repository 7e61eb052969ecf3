// Kernels that only move values. A tile of the transpose goes through shared memory, so that reads and writes both meet
// neighbors.
#include "rows.h"

using kat::each_of_rows;
using kat::kBlock;
using kat::pack_at;

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

// What the launches see to before they launch: the least values of each buffer.
// lengths transpose_tiles: x grid.0[0] / (rows.div_ceil(32) * columns.div_ceil(32)).max(1) * rows * columns; y grid.0[0] / (rows.div_ceil(32) * columns.div_ceil(32)).max(1) * rows * columns
// lengths write_columns: x n; y match n { 0 => 0, _ => (n / part - 1) * width + first + part }
// lengths gather_rows: x 0; indices n / width.max(1); y n
// lengths sum_listed_rows: dy 0; starts n / width.max(1) + 1; sources 0; dx n
// lengths take_columns: x (n / part.max(1)).saturating_sub(1) * width + (first + part).min(n); y n
// lengths put_columns: dy n / width.max(1) * part; dx n
