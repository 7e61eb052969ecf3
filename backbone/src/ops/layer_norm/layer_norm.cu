// Layer norm over rows of channels. A warp has a row in its registers, four neighbors a lane and pack, so that each
// value is read once; rows that no number of packs fits are walked over three times.
#include "row_slots.h"

using kat::bf16;
using kat::kBlock;
using kat::Four;
using kat::load_four;
using kat::Slots;

namespace {

// statistics: mean and inverse deviation of each row.
template <int kPacks, typename T>
__device__ __forceinline__ void forward(const float* __restrict__ x, const float* __restrict__ weight,
                                        const float* __restrict__ bias, T* __restrict__ y,
                                        float* __restrict__ statistics, uint32_t rows, uint32_t channels, float eps) {
    const Slots<kPacks> slots(channels);
    KAT_EACH_WARP(row, rows) {
        const float* in = x + row * channels;
        Four v[kPacks];
#pragma unroll
        for (int j = 0; j < kPacks; ++j) v[j] = slots.there(j) ? load_four(in, slots.at(j)) : Four{};
        const auto [mean, inverse] = kat::moments(v, slots, channels, eps);
#pragma unroll
        for (int j = 0; j < kPacks; ++j) {
            if (!slots.there(j)) break;
            const Four w = load_four(weight, slots.at(j)), b = load_four(bias, slots.at(j));
            float out[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) out[i] = (v[j].v[i] - mean) * inverse * w.v[i] + b.v[i];
            kat::put_pack<4>(y + row * channels, slots.at(j) * 4, kat::rounded<T>(out));
        }
        if (threadIdx.x % 32 == 0) {
            statistics[2 * row] = mean;
            statistics[2 * row + 1] = inverse;
        }
    }
}

// dx = inverse (g - mean(g) - xhat mean(g xhat)) with g = dy weight, plus what dx held if it `accumulates`; dx may be dy.
// sums (blocks, 2, channels): of dy xhat and of dy over each block's rows.
template <int kPacks, typename T>
__device__ __forceinline__ void backward(const float* __restrict__ x, const float* __restrict__ weight,
                                         const float* __restrict__ statistics, const T* dy, float* dx,
                                         float* __restrict__ sums, uint32_t rows, uint32_t channels,
                                         uint32_t accumulates) {
    const Slots<kPacks> slots(channels);
    Four w[kPacks], sums_of[2][kPacks] = {};
#pragma unroll
    for (int j = 0; j < kPacks; ++j) w[j] = slots.there(j) ? load_four(weight, slots.at(j)) : Four{};
    KAT_EACH_WARP(row, rows) {
        const float mean = statistics[2 * row], inverse = statistics[2 * row + 1];
        // all loads before the first use
        Four normal[kPacks], slope[kPacks], earlier[kPacks];
#pragma unroll
        for (int j = 0; j < kPacks; ++j) {
            const bool there = slots.there(j);
            slope[j] = there ? load_four(dy + row * channels, slots.at(j)) : Four{};
            normal[j] = there ? load_four(x + row * channels, slots.at(j)) : Four{};
            earlier[j] = there && accumulates != 0 ? load_four(dx + row * channels, slots.at(j)) : Four{};
        }
        float sum = 0.0f, along = 0.0f;
#pragma unroll
        for (int j = 0; j < kPacks; ++j) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                normal[j].v[i] = (normal[j].v[i] - mean) * inverse;
                sums_of[0][j].v[i] += slope[j].v[i] * normal[j].v[i];
                sums_of[1][j].v[i] += slope[j].v[i];
                const float g = slope[j].v[i] * w[j].v[i];
                sum += g;
                along += g * normal[j].v[i];
            }
        }
        sum = kat::warp_sum(sum) / channels;
        along = kat::warp_sum(along) / channels;
#pragma unroll
        for (int j = 0; j < kPacks; ++j) {
            if (!slots.there(j)) break;
            Four out = earlier[j];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                out.v[i] += inverse * (slope[j].v[i] * w[j].v[i] - sum - normal[j].v[i] * along);
            }
            kat::put_pack<4>(dx + row * channels, slots.at(j) * 4, out);
        }
    }
    kat::write_column_sums(sums_of, slots, channels, sums + static_cast<size_t>(blockIdx.x) * 2 * channels);
}

}  // namespace

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

#define KAT_NORM(name, T, packs)                                                                                      \
    KAT_KERNEL layer_norm_forward_##name##_##packs(const float* x, const float* weight, const float* bias, T* y,       \
                                                   float* statistics, uint32_t rows, uint32_t channels, float eps) { \
        forward<packs>(x, weight, bias, y, statistics, rows, channels, eps);                                           \
    }                                                                                                                  \
    KAT_KERNEL layer_norm_backward_##name##_##packs(const float* x, const float* weight, const float* statistics,      \
                                                    const T* dy, float* dx, float* sums, uint32_t rows,               \
                                                    uint32_t channels, uint32_t accumulates) {                        \
        backward<packs>(x, weight, statistics, dy, dx, sums, rows, channels, accumulates);                             \
    }

#define KAT_NORMS(packs)           \
    KAT_NORM(f32, float, packs)    \
    KAT_NORM(bf16, bf16, packs)

// Up to 128 packs channels: 128 (tiny tests), 256 (KAT-T), 384 (KAT-S), 512, 768 (KAT-B), 1024.
KAT_NORMS(1)
KAT_NORMS(2)
KAT_NORMS(3)
KAT_NORMS(4)
KAT_NORMS(6)
KAT_NORMS(8)

// Any number of channels: three passes over a row, the second and third from the cache.
template <typename T>
__device__ __forceinline__ void forward_any(const float* __restrict__ x, const float* __restrict__ weight,
                                            const float* __restrict__ bias, T* __restrict__ y,
                                            float* __restrict__ statistics, uint32_t rows, uint32_t channels,
                                            float eps) {
    const uint32_t lane = threadIdx.x % 32;
    KAT_EACH_WARP(row, rows) {
        const float* in = x + row * channels;
        float sum = 0.0f;
        for (uint32_t c = lane; c < channels; c += 32) sum += in[c];
        const float mean = kat::warp_sum(sum) / channels;
        float squares = 0.0f;
        for (uint32_t c = lane; c < channels; c += 32) squares += (in[c] - mean) * (in[c] - mean);
        const float inverse = 1.0f / sqrtf(kat::warp_sum(squares) / channels + eps);
        for (uint32_t c = lane; c < channels; c += 32) {
            y[row * channels + c] = kat::from_float<T>((in[c] - mean) * inverse * weight[c] + bias[c]);
        }
        if (lane == 0) {
            statistics[2 * row] = mean;
            statistics[2 * row + 1] = inverse;
        }
    }
}

KAT_KERNEL layer_norm_forward_f32_any(const float* x, const float* weight, const float* bias, float* y,
                                      float* statistics, uint32_t rows, uint32_t channels, float eps) {
    forward_any(x, weight, bias, y, statistics, rows, channels, eps);
}

KAT_KERNEL layer_norm_forward_bf16_any(const float* x, const float* weight, const float* bias, bf16* y,
                                       float* statistics, uint32_t rows, uint32_t channels, float eps) {
    forward_any(x, weight, bias, y, statistics, rows, channels, eps);
}

// As backward, but for the sums, which column_sums makes.
template <typename T>
__device__ __forceinline__ void backward_any(const float* __restrict__ x, const float* __restrict__ weight,
                                             const float* __restrict__ statistics, const T* dy, float* dx,
                                             uint32_t rows, uint32_t channels, uint32_t accumulates) {
    const uint32_t lane = threadIdx.x % 32;
    KAT_EACH_WARP(row, rows) {
        const float* in = x + row * channels;
        const T* slope = dy + row * channels;
        const float mean = statistics[2 * row], inverse = statistics[2 * row + 1];
        float sum = 0.0f, along = 0.0f;
        for (uint32_t c = lane; c < channels; c += 32) {
            const float g = kat::to_float(slope[c]) * weight[c];
            sum += g;
            along += g * (in[c] - mean) * inverse;
        }
        sum = kat::warp_sum(sum) / channels;
        along = kat::warp_sum(along) / channels;
        for (uint32_t c = lane; c < channels; c += 32) {
            const float normal = (in[c] - mean) * inverse;
            const float own = inverse * (kat::to_float(slope[c]) * weight[c] - sum - normal * along);
            dx[row * channels + c] = accumulates != 0 ? dx[row * channels + c] + own : own;
        }
    }
}

KAT_KERNEL layer_norm_backward_f32_any(const float* x, const float* weight, const float* statistics, const float* dy,
                                       float* dx, uint32_t rows, uint32_t channels, uint32_t accumulates) {
    backward_any(x, weight, statistics, dy, dx, rows, channels, accumulates);
}

KAT_KERNEL layer_norm_backward_bf16_any(const float* x, const float* weight, const float* statistics, const bf16* dy,
                                        float* dx, uint32_t rows, uint32_t channels, uint32_t accumulates) {
    backward_any(x, weight, statistics, dy, dx, rows, channels, accumulates);
}

// What the launches see to before they launch: the least values of each buffer.
// lengths layer_norm_*: x rows * channels; weight channels; bias channels; y rows * channels; dy rows * channels; dx rows * channels; statistics 2 * rows; sums grid.0[0] * 2 * channels
