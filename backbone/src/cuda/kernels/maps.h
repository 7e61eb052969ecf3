// Walks over feature maps (B, C, plane): the pixels of planes, and the values of one channel.
#pragma once

#include "common.h"

namespace kat {

// log2 of the threads that a block gives to a plane at a time: as many as it has pixels, at most all.
__device__ __forceinline__ uint32_t plane_bits(uint32_t pixels) { return pixels > 128 ? 8 : 32 - __clz(pixels - 1); }

// The planes of this thread, of the grid that Grid::pixels makes: several small planes a block, or several blocks a
// plane. No division: a plane's threads are a power of two.
#define KAT_EACH_PLANE(plane, planes, pixels)                                                       \
    for (uint64_t plane = (static_cast<uint64_t>(blockIdx.y) * kat::kBlock + threadIdx.x) >> kat::plane_bits(pixels); \
         plane < (planes); plane += static_cast<uint64_t>(gridDim.y) * kat::kBlock >> kat::plane_bits(pixels))

// The pixels of this thread in its plane.
#define KAT_EACH_PIXEL(pixel, pixels)                                                          \
    for (uint32_t pixel = (blockIdx.x << kat::plane_bits(pixels)) +                            \
                          (threadIdx.x & ((1u << kat::plane_bits(pixels)) - 1));               \
         pixel < (pixels); pixel += gridDim.x << kat::plane_bits(pixels))

// Calls f(place, position) for this thread's values of a channel: of positions first to end, a position being
// image · plane + pixel.
template <typename F>
__device__ __forceinline__ void for_channel(uint32_t channel, uint32_t channels, uint32_t plane, uint64_t first,
                                            uint64_t end, F f) {
    const uint64_t start = first + threadIdx.x;
    if (start >= end) return;
    uint64_t image = start / plane;
    uint32_t pixel = start % plane;
    const uint32_t images = kBlock / plane, pixels = kBlock % plane;
    for (uint64_t position = start; position < end; position += kBlock) {
        f((image * channels + channel) * plane + pixel, position);
        image += images;
        pixel += pixels;
        if (pixel >= plane) {
            pixel -= plane;
            ++image;
        }
    }
}

}  // namespace kat
