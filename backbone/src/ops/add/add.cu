// Residual sums and factors by sample.
#include "elementwise.h"

using kat::bf16;
using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

using kat::each_pack;
using kat::kWide;
using kat::pack_at;
using kat::rounded;
using kat::to_float;

namespace {

// The factor of the sample that value i is of, in packs of `kWide` where samples are whole packs.
struct SampleFactors {
    const float* factors;
    uint64_t sample;

    __device__ __forceinline__ float at(uint64_t i) const {
        if (factors == nullptr) return 1.0f;
        if (sample % kWide == 0) return factors[static_cast<uint32_t>(i / kWide) / static_cast<uint32_t>(sample / kWide)];
        return factors[i / sample];
    }

    // f(i, width, factor) for the values of this thread.
    template <typename F>
    __device__ __forceinline__ void each(uint64_t n, F f) const {
        const auto with = [&](uint64_t i, auto width) { f(i, width, at(i)); };
        if (factors == nullptr || sample % kWide == 0) {
            each_pack<kWide>(n, with);
        } else {
            each_pack<1>(n, with);
        }
    }
};

// y = a + factors[sample] b.
template <typename T>
__device__ __forceinline__ void residual(const float* a, const T* b, const SampleFactors& factors, float* y, uint64_t n) {
    factors.each(n, [&](uint64_t i, auto width, float factor) {
        constexpr int V = decltype(width)::value;
        const auto first = pack_at<V>(a, i);
        const auto second = pack_at<V>(b, i);
        float out[V];
#pragma unroll
        for (int k = 0; k < V; ++k) out[k] = first.v[k] + factor * to_float(second.v[k]);
        kat::put_pack<V>(y, i, rounded<float>(out));
    });
}

// y = factors[sample] x; y may be x.
template <typename From, typename To>
__device__ __forceinline__ void scaled(const From* x, const SampleFactors& factors, To* y, uint64_t n) {
    factors.each(n, [&](uint64_t i, auto width, float factor) {
        constexpr int V = decltype(width)::value;
        const auto in = pack_at<V>(x, i);
        float out[V];
#pragma unroll
        for (int k = 0; k < V; ++k) out[k] = factor * to_float(in.v[k]);
        kat::put_pack<V>(y, i, rounded<To>(out));
    });
}

}  // namespace

// y = a + b, b repeating after `period`.
KAT_KERNEL add_repeated(const float* a, const float* b, float* y, uint64_t n, uint64_t period) {
    const auto add = [&](uint64_t i, auto width, uint64_t at) {
        constexpr int V = decltype(width)::value;
        const auto first = pack_at<V>(a, i);
        const auto second = pack_at<V>(b, at);
        float out[V];
#pragma unroll
        for (int k = 0; k < V; ++k) out[k] = first.v[k] + second.v[k];
        kat::put_pack<V>(y, i, rounded<float>(out));
    };
    if (period % 4 == 0) {
        const uint32_t packs = static_cast<uint32_t>(period / 4);
        each_pack<4>(n, [&](uint64_t i, auto width) {
            add(i, width, static_cast<uint64_t>(static_cast<uint32_t>(i / 4) % packs) * 4);
        });
    } else {
        each_pack<1>(n, [&](uint64_t i, auto width) { add(i, width, i % period); });
    }
}

// y = a + factors[sample] b, or a + b.
KAT_KERNEL residual_f32(const float* a, const float* b, const float* optional_factors, float* y, uint64_t n,
                        uint64_t sample) {
    residual(a, b, {optional_factors, sample}, y, n);
}

KAT_KERNEL residual_bf16(const float* a, const bf16* b, const float* optional_factors, float* y, uint64_t n,
                         uint64_t sample) {
    residual(a, b, {optional_factors, sample}, y, n);
}

// y = factors[sample] x, or x.
KAT_KERNEL scaled_f32(const float* x, const float* optional_factors, float* y, uint64_t n, uint64_t sample) {
    scaled(x, {optional_factors, sample}, y, n);
}

KAT_KERNEL scaled_narrow(const float* x, const float* optional_factors, bf16* y, uint64_t n, uint64_t sample) {
    scaled(x, {optional_factors, sample}, y, n);
}

KAT_KERNEL scaled_bf16(const bf16* x, const float* optional_factors, bf16* y, uint64_t n, uint64_t sample) {
    scaled(x, {optional_factors, sample}, y, n);
}

// What the launches see to before they launch: the least values of each buffer.
// lengths add_repeated: a n; b period.min(n); y n
// lengths residual_*: a n; b n; optional_factors n.div_ceil(sample.max(1)); y n
// lengths scaled_*: x n; optional_factors n.div_ceil(sample.max(1)); y n
