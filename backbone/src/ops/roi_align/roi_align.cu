// RoIAlign by lists of weights: for each box, spans of pixels under each row of bins and each column of bins (first
// pixel, number, place of their weights). The value of a bin is Σ_y Σ_x w_y w_x x[y, x].
#include "maps.h"

using kat::kBlock;
using kat::kBlockWarps;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

namespace {

struct Span {
    uint32_t start, len, weights;
};

// Channels of a thread in the backward pass, which share what it finds out about a box.
constexpr uint32_t kChannels = 8;

}  // namespace

// y (boxes, channels, rows, columns). `spans` lists rows and then columns of bins, box by box.
KAT_KERNEL roi_align_forward(const float* __restrict__ x, const uint32_t* __restrict__ images,
                             const uint32_t* __restrict__ spans, const float* __restrict__ weights,
                             float* __restrict__ y, uint32_t planes, uint32_t channels, uint32_t height,
                             uint32_t width, uint32_t rows, uint32_t columns) {
    const uint32_t bins = rows * columns;
    KAT_EACH_PLANE(p, planes, bins) {
        const uint32_t box = static_cast<uint32_t>(p) / channels, c = static_cast<uint32_t>(p) % channels;
        const Span* down = reinterpret_cast<const Span*>(spans) + static_cast<uint64_t>(box) * (rows + columns);
        const float* in = x + (static_cast<uint64_t>(images[box]) * channels + c) * height * width;
        KAT_EACH_PIXEL(bin, bins) {
            const Span lines = down[bin / columns], pixels = down[rows + bin % columns];
            const float* at = in + static_cast<uint64_t>(lines.start) * width + pixels.start;
            float sum = 0.0f;
            for (uint32_t v = 0; v < lines.len; ++v, at += width) {
                float line = 0.0f;
                for (uint32_t u = 0; u < pixels.len; ++u) line = fmaf(at[u], weights[pixels.weights + u], line);
                sum = fmaf(line, weights[lines.weights + v], sum);
            }
            y[p * bins + bin] = sum;
        }
    }
}

// Every pixel gathers from the boxes over it, in their order. A block has 32 pixels of a row, its lanes, and its warps
// kChannels channels each; grid (images · rows of the map · runs of pixels, channels). Image b has the boxes
// order[starts[b]..starts[b + 1]]; covered: each box's first row, end row, first column, end column.
KAT_KERNEL roi_align_backward(const float* __restrict__ dy, const uint32_t* __restrict__ starts,
                              const uint32_t* __restrict__ order, const uint32_t* __restrict__ covered,
                              const uint32_t* __restrict__ spans, const float* __restrict__ weights,
                              float* __restrict__ dx, uint32_t channels, uint32_t height, uint32_t width, uint32_t rows,
                              uint32_t columns) {
    const uint32_t runs = (width + 31) / 32, line = blockIdx.x / runs;
    const uint32_t column = blockIdx.x % runs * 32 + threadIdx.x % 32;
    const uint32_t row = line % height, image = line / height;
    const uint32_t first = (blockIdx.y * kBlockWarps + threadIdx.x / 32) * kChannels;
    const uint32_t bins = rows * columns;
    if (first >= channels || column >= width) return;
    const uint32_t count = min(channels - first, kChannels);
    float sums[kChannels] = {};
    for (uint32_t k = starts[image]; k < starts[image + 1]; ++k) {
        const uint32_t box = order[k];
        const uint4 area = reinterpret_cast<const uint4*>(covered)[box];
        if (row < area.x || row >= area.y || column < area.z || column >= area.w) continue;
        const Span* down = reinterpret_cast<const Span*>(spans) + static_cast<uint64_t>(box) * (rows + columns);
        const float* slopes = dy + (static_cast<uint64_t>(box) * channels + first) * bins;
        for (uint32_t i = 0; i < rows; ++i) {
            const Span lines = down[i];
            // wraps far above the number where the row lies before
            if (row - lines.start >= lines.len) continue;
            const float weight = weights[lines.weights + row - lines.start];
            for (uint32_t j = 0; j < columns; ++j) {
                const Span pixels = down[rows + j];
                if (column - pixels.start >= pixels.len) continue;
                const float w = weight * weights[pixels.weights + column - pixels.start];
                const float* slope = slopes + i * columns + j;
#pragma unroll
                for (uint32_t c = 0; c < kChannels; ++c) {
                    if (c < count) sums[c] = fmaf(w, slope[c * bins], sums[c]);
                }
            }
        }
    }
    const uint64_t plane = static_cast<uint64_t>(height) * width;
    float* out = dx + (static_cast<uint64_t>(image) * channels + first) * plane + row * width + column;
#pragma unroll
    for (uint32_t c = 0; c < kChannels; ++c) {
        if (c < count) out[c * plane] = sums[c];
    }
}

// What the launches see to before they launch: the least values of each buffer.
// lengths roi_align_forward: x 0; images planes / channels.max(1); spans 3 * (planes / channels.max(1)) * (rows + columns); weights 0; y planes * rows * columns
// lengths roi_align_backward: dy 0; starts grid.0[0] / (height * width.div_ceil(32)).max(1) + 1; order 0; covered 0; spans 0; weights 0; dx grid.0[0] / (height * width.div_ceil(32)).max(1) * channels * height * width
