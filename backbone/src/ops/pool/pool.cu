// Pools of planes. Backward every pixel gathers from the windows over it, rows and columns in order: no two threads add
// to one value.
#include <math_constants.h>

#include "maps.h"
#include "windows.h"

using kat::kBlock;
using kat::WindowAxis;
using kat::WindowSizes;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

namespace {

// As torch compares: a NaN is greater than all, so that it shows.
__device__ __forceinline__ bool greater(float x, float than) { return x > than || x != x; }

constexpr uint32_t kNowhere = 0xffffffffu;

// The greatest of each window or (kPlaces) where in its plane the first such value is.
template <bool kPlaces>
__device__ __forceinline__ void greatest(const float* x, float* y, uint32_t* places, uint64_t planes,
                                         const WindowSizes& sizes) {
    const WindowAxis down(sizes, 0), across(sizes, 1);
    const uint32_t pixels = sizes.output_plane();
    KAT_EACH_PLANE(p, planes, pixels) {
        const float* in = x + p * sizes.input_plane();
        KAT_EACH_PIXEL(pixel, pixels) {
            const uint32_t i = pixel / across.count, j = pixel % across.count;
            const uint32_t left = across.first(j), right = across.end(j), bottom = down.end(i);
            float best = -CUDART_INF_F;
            uint32_t place = kNowhere;
            for (uint32_t row = down.first(i); row < bottom; ++row) {
                for (uint32_t column = left; column < right; ++column) {
                    const uint32_t at = row * across.size + column;
                    if (greater(in[at], best) || place == kNowhere) {
                        best = in[at];
                        place = at;
                    }
                }
            }
            if (kPlaces) {
                places[p * pixels + pixel] = place;
            } else {
                y[p * pixels + pixel] = best;
            }
        }
    }
}

}  // namespace

KAT_KERNEL max_pool_forward(const float* __restrict__ x, float* __restrict__ y, uint64_t planes, WindowSizes sizes) {
    greatest<false>(x, y, nullptr, planes, sizes);
}

KAT_KERNEL max_pool_places(const float* __restrict__ x, uint32_t* __restrict__ places, uint64_t planes,
                           WindowSizes sizes) {
    greatest<true>(x, nullptr, places, planes, sizes);
}

KAT_KERNEL max_pool_backward(const float* __restrict__ dy, const uint32_t* __restrict__ places, float* __restrict__ dx,
                             uint64_t planes, WindowSizes sizes) {
    const WindowAxis down(sizes, 0), across(sizes, 1);
    const uint32_t pixels = sizes.input_plane(), windows = sizes.output_plane();
    KAT_EACH_PLANE(p, planes, pixels) {
        KAT_EACH_PIXEL(pixel, pixels) {
            const uint32_t row = pixel / across.size, column = pixel % across.size;
            const uint32_t left = across.first_over(column), right = across.end_over(column);
            const uint32_t bottom = down.end_over(row);
            float sum = 0.0f;
            for (uint32_t i = down.first_over(row); i < bottom; ++i) {
                for (uint32_t j = left; j < right; ++j) {
                    const uint64_t at = p * windows + i * across.count + j;
                    if (places[at] == pixel) sum += dy[at];
                }
            }
            dx[p * pixels + pixel] = sum;
        }
    }
}

// The average of each window of spans (first, end) of rows and of columns; divided by `area`, or the window's own if 0.
// kLanes 32: a warp a window, for windows of many pixels; 1: a thread a window.
template <int kLanes>
__device__ __forceinline__ void averages(const float* x, const uint2* rows, const uint2* columns, float* y,
                                         uint32_t windows, uint32_t down, uint32_t across, uint64_t plane,
                                         uint32_t width, float area) {
    const uint32_t lane = threadIdx.x % kLanes;
    const uint64_t step = static_cast<uint64_t>(gridDim.x) * (kBlock / kLanes);
    for (uint64_t w = (static_cast<uint64_t>(blockIdx.x) * kBlock + threadIdx.x) / kLanes; w < windows; w += step) {
        const uint32_t line = static_cast<uint32_t>(w) / across;
        const uint2 lines = rows[line % down], span = columns[static_cast<uint32_t>(w) % across];
        const float* in = x + line / down * plane;
        float sum = 0.0f;
        for (uint32_t row = lines.x; row < lines.y; ++row) {
            for (uint32_t column = span.x + lane; column < span.y; column += kLanes) sum += in[row * width + column];
        }
        if (kLanes == 32) sum = kat::warp_sum(sum);
        const float own = static_cast<float>((lines.y - lines.x) * (span.y - span.x));
        if (lane == 0) y[w] = sum * (1.0f / (area != 0.0f ? area : own));
    }
}

KAT_KERNEL average_pool_forward(const float* __restrict__ x, const uint32_t* __restrict__ spans, float* __restrict__ y,
                                uint32_t windows, uint32_t down, uint32_t across, uint64_t plane, uint32_t width,
                                float area, uint32_t lanes) {
    const uint2* rows = reinterpret_cast<const uint2*>(spans);
    if (lanes == 32) {
        averages<32>(x, rows, rows + down, y, windows, down, across, plane, width, area);
    } else {
        averages<1>(x, rows, rows + down, y, windows, down, across, plane, width, area);
    }
}

// Behind the spans of windows lie those of pixels: the windows over each row, and over each column, first to end.
KAT_KERNEL average_pool_backward(const float* __restrict__ dy, const uint32_t* __restrict__ spans,
                                 float* __restrict__ dx, uint64_t planes, uint32_t down, uint32_t across,
                                 uint32_t height, uint32_t width, float area) {
    const uint2* rows = reinterpret_cast<const uint2*>(spans);
    const uint2 *columns = rows + down, *over_rows = columns + across, *over_columns = over_rows + height;
    const uint32_t pixels = height * width, windows = down * across;
    KAT_EACH_PLANE(p, planes, pixels) {
        const float* slope = dy + p * windows;
        KAT_EACH_PIXEL(pixel, pixels) {
            const uint2 lines = over_rows[pixel / width], span = over_columns[pixel % width];
            float sum = 0.0f;
            for (uint32_t i = lines.x; i < lines.y; ++i) {
                for (uint32_t j = span.x; j < span.y; ++j) {
                    const float own = static_cast<float>((rows[i].y - rows[i].x) * (columns[j].y - columns[j].x));
                    sum += slope[i * across + j] * (1.0f / (area != 0.0f ? area : own));
                }
            }
            dx[p * pixels + pixel] = sum;
        }
    }
}

// What the launches see to before they launch: the least values of each buffer.
// lengths max_pool_*: x planes * sizes.input_plane(); dx planes * sizes.input_plane(); y planes * sizes.output_plane(); dy planes * sizes.output_plane(); places planes * sizes.output_plane()
// lengths average_pool_forward: x windows / (down * across).max(1) * plane; spans 2 * (down + across); y windows
// lengths average_pool_backward: dy planes * down * across; spans 2 * (down + across + height + width); dx planes * height * width
