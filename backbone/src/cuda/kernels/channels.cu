// Sums over everything but the channels of (B, C, plane), in two passes: runs of positions by blocks (channel, run),
// then the runs of each channel in order. The sums are f64, and the same bits every time.
#include "maps.h"

using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

// (runs, 1, C): Σ x.
KAT_KERNEL channel_sum_runs(const float* __restrict__ x, double* __restrict__ sums, uint64_t positions,
                            uint32_t channels, uint32_t plane, uint64_t run) {
    const uint32_t channel = blockIdx.x;
    const uint64_t first = blockIdx.y * run, end = min(first + run, positions);
    double v[1] = {0.0};
    kat::for_channel(channel, channels, plane, first, end, [&](uint64_t at, uint64_t) { v[0] += x[at]; });
    kat::write_block_sums(v, sums + static_cast<uint64_t>(blockIdx.y) * channels + channel, channels);
}

// out (C): kind `kind` of sums (runs, kinds, C).
KAT_KERNEL channel_totals(const double* __restrict__ sums, float* __restrict__ out, uint32_t runs, uint32_t kinds,
                          uint32_t kind, uint32_t channels) {
    KAT_EACH(c, channels) {
        double total = 0.0;
        for (uint32_t run = 0; run < runs; ++run) {
            total += sums[(static_cast<uint64_t>(run) * kinds + kind) * channels + c];
        }
        out[c] = static_cast<float>(total);
    }
}

// bias[c] in every pixel of channel c.
KAT_KERNEL fill_channels(const float* __restrict__ bias, float* __restrict__ y, uint32_t planes, uint32_t channels,
                         uint32_t plane) {
    KAT_EACH_PLANE(p, planes, plane) {
        const float value = bias[static_cast<uint32_t>(p) % channels];
        float* out = y + p * plane;
        KAT_EACH_PIXEL(i, plane) out[i] = value;
    }
}

// What the launches see to before they launch: the least values of each buffer.
// lengths channel_sum_runs: x positions * channels; sums channels * grid.0[1]
// lengths channel_totals: sums runs * kinds * channels; out channels
// lengths fill_channels: bias channels.min(planes); y planes * plane
