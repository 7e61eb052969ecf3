// What a convolution needs beside cuBLAS's products: the matrix of columns, of which row (channel, tap) holds the pixel
// under that tap for each position of the output, and its reverse. A thread has a position (a pixel) of one channel, so
// that neighbors read and write neighbors whatever the tap.
#include "maps.h"
#include "storage.h"
#include "windows.h"

using kat::bf16;
using kat::kBlock;
using kat::WindowAxis;
using kat::WindowSizes;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

namespace {

// Columns of `count` channels from `first` on of images (B, channels, input); planes counts images · count. From row to
// row of the matrix it is `row` values, from image to image `image`.
template <typename T>
__device__ __forceinline__ void to_columns(const float* x, T* columns, uint32_t planes, uint32_t channels,
                                           uint32_t first, uint32_t count, const WindowSizes& sizes, uint64_t row,
                                           uint64_t image) {
    const uint32_t positions = sizes.output_plane(), width = sizes.input[1];
    KAT_EACH_PLANE(p, planes, positions) {
        const uint32_t b = static_cast<uint32_t>(p) / count, c = static_cast<uint32_t>(p) % count;
        const float* in = x + (static_cast<uint64_t>(b) * channels + first + c) * sizes.input_plane();
        T* out = columns + b * image + static_cast<uint64_t>(c) * sizes.kernel[0] * sizes.kernel[1] * row;
        KAT_EACH_PIXEL(position, positions) {
            // padding makes these wrap far above the input's size
            const uint32_t top = position / sizes.output[1] * sizes.stride[0] - sizes.padding[0];
            const uint32_t left = position % sizes.output[1] * sizes.stride[1] - sizes.padding[1];
            T* at = out + position;
            for (uint32_t u = 0; u < sizes.kernel[0]; ++u) {
                const bool inside = top + u < sizes.input[0];
                const float* line = in + static_cast<uint64_t>(top + u) * width;
                for (uint32_t v = 0; v < sizes.kernel[1]; ++v, at += row) {
                    *at = kat::from_float<T>(inside && left + v < width ? line[left + v] : 0.0f);
                }
            }
        }
    }
}

// y (second, first, plane) = x (first, second, plane) + bias[first]; from each of x's first to the next it is `x_row` values,
// and of y's second `y_row`.
template <typename T>
__device__ __forceinline__ void swap(const float* x, const float* bias, T* y, uint32_t planes, uint32_t second,
                                     uint32_t plane, uint64_t x_row, uint64_t y_row) {
    KAT_EACH_PLANE(p, planes, plane) {
        const uint32_t a = static_cast<uint32_t>(p) / second, b = static_cast<uint32_t>(p) % second;
        const float* in = x + a * x_row + static_cast<uint64_t>(b) * plane;
        T* out = y + b * y_row + static_cast<uint64_t>(a) * plane;
        const float shift = bias == nullptr ? 0.0f : bias[a];
        KAT_EACH_PIXEL(i, plane) out[i] = kat::from_float<T>(in[i] + shift);
    }
}

}  // namespace

KAT_KERNEL image_to_columns(const float* __restrict__ x, float* __restrict__ columns, uint32_t planes,
                            uint32_t channels, uint32_t first, uint32_t count, WindowSizes sizes, uint64_t row,
                            uint64_t image) {
    to_columns(x, columns, planes, channels, first, count, sizes, row, image);
}

KAT_KERNEL image_to_columns_bf16(const float* __restrict__ x, bf16* __restrict__ columns, uint32_t planes,
                                 uint32_t channels, uint32_t first, uint32_t count, WindowSizes sizes, uint64_t row,
                                 uint64_t image) {
    to_columns(x, columns, planes, channels, first, count, sizes, row, image);
}

KAT_KERNEL swap_planes(const float* __restrict__ x, const float* __restrict__ optional_bias, float* __restrict__ y,
                       uint32_t planes, uint32_t second, uint32_t plane, uint64_t x_row, uint64_t y_row) {
    swap(x, optional_bias, y, planes, second, plane, x_row, y_row);
}

KAT_KERNEL swap_planes_bf16(const float* __restrict__ x, const float* __restrict__ optional_bias,
                            bf16* __restrict__ y, uint32_t planes, uint32_t second, uint32_t plane, uint64_t x_row,
                            uint64_t y_row) {
    swap(x, optional_bias, y, planes, second, plane, x_row, y_row);
}

// The reverse: each pixel of those channels is bias[channel] plus the values of all columns at it, rows of windows and
// windows in order. From row to row of the matrix it is `row` values, from image to image `image`.
KAT_KERNEL columns_to_image(const float* __restrict__ columns, const float* __restrict__ optional_bias,
                            float* __restrict__ x, uint32_t planes, uint32_t channels, uint32_t first, uint32_t count,
                            WindowSizes sizes, uint64_t row_step, uint64_t image) {
    const WindowAxis down(sizes, 0), across(sizes, 1);
    const uint32_t pixels = sizes.input_plane();
    const uint32_t taps = down.kernel * across.kernel;
    KAT_EACH_PLANE(p, planes, pixels) {
        const uint32_t b = static_cast<uint32_t>(p) / count, c = static_cast<uint32_t>(p) % count;
        const float base = optional_bias != nullptr ? optional_bias[first + c] : 0.0f;
        const float* in = columns + b * image + static_cast<uint64_t>(c) * taps * row_step;
        float* out = x + (static_cast<uint64_t>(b) * channels + first + c) * pixels;
        KAT_EACH_PIXEL(pixel, pixels) {
            const uint32_t row = pixel / across.size + down.padding, column = pixel % across.size + across.padding;
            const uint32_t left = across.first_over(column - across.padding);
            const uint32_t right = across.end_over(column - across.padding);
            const uint32_t bottom = down.end_over(row - down.padding);
            float sum = base;
            for (uint32_t i = down.first_over(row - down.padding); i < bottom; ++i) {
                const uint32_t u = row - i * down.stride;
                for (uint32_t j = left; j < right; ++j) {
                    const uint32_t tap = u * across.kernel + column - j * across.stride;
                    sum += in[tap * row_step + i * across.count + j];
                }
            }
            out[pixel] = sum;
        }
    }
}

// What the launches see to before they launch: the least values of each buffer.
// lengths image_to_columns*: x ((planes / count.max(1)).saturating_sub(1) * channels + first + count) * sizes.input_plane(); columns (planes / count.max(1)).saturating_sub(1) * image + (count * sizes.taps()).saturating_sub(1) * row + sizes.output_plane()
// lengths swap_planes*: x (planes / second.max(1)).saturating_sub(1) * x_row + second * plane; optional_bias planes / second.max(1); y second.saturating_sub(1) * y_row + planes / second.max(1) * plane
// lengths columns_to_image: columns (planes / count.max(1)).saturating_sub(1) * image + (count * sizes.taps()).saturating_sub(1) * row_step + sizes.output_plane(); optional_bias first + count; x ((planes / count.max(1)).saturating_sub(1) * channels + first + count) * sizes.input_plane()
