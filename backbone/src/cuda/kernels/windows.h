// Windows that slide over a map: what convolutions and max pools share.
#pragma once

#include "common.h"

namespace kat {

// Pairs are (vertical, horizontal); WindowSizes of cuda/windows.rs.
struct WindowSizes {
    uint32_t input[2], output[2], kernel[2], stride[2], padding[2];

    __device__ __forceinline__ uint32_t input_plane() const { return input[0] * input[1]; }
    __device__ __forceinline__ uint32_t output_plane() const { return output[0] * output[1]; }
};

static_assert(sizeof(WindowSizes) == 40, "rust: WINDOW_SIZES_BYTES");

// The windows along one axis.
struct WindowAxis {
    uint32_t size, count, kernel, stride, padding;

    __device__ __forceinline__ WindowAxis(const WindowSizes& s, int axis)
        : size(s.input[axis]),
          count(s.output[axis]),
          kernel(s.kernel[axis]),
          stride(s.stride[axis]),
          padding(s.padding[axis]) {}

    // Pixels of window i: first to end.
    __device__ __forceinline__ uint32_t first(uint32_t i) const { return clipped(i * stride); }
    __device__ __forceinline__ uint32_t end(uint32_t i) const { return clipped(i * stride + kernel); }
    // Windows over a pixel: first to end.
    __device__ __forceinline__ uint32_t first_over(uint32_t pixel) const {
        const uint32_t at = pixel + padding;
        return at < kernel ? 0 : (at - kernel) / stride + 1;
    }
    __device__ __forceinline__ uint32_t end_over(uint32_t pixel) const {
        return min((pixel + padding) / stride + 1, count);
    }

   private:
    __device__ __forceinline__ uint32_t clipped(uint32_t at) const {
        return at > padding ? min(at - padding, size) : 0;
    }
};

}  // namespace kat
