// Windows of a token grid.
#include "common.h"

using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

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

// What the launches see to before they launch: the least values of each buffer.
// lengths move_windows: x match back { 0 => n / (down * across * window * window * channels).max(1) * rows * columns * channels, _ => n / (rows * columns * channels).max(1) * down * across * window * window * channels }; y n
