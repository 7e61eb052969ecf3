// Images cut into patches, and the reverse.
#include "common.h"
#include "storage.h"

using kat::bf16;
using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

using kat::each_pack;
using kat::pack_at;

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

// What the launches see to before they launch: the least values of each buffer.
// lengths patchify* unpatchify: x n; y n
