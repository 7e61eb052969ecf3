// Element-wise ops and the sums that belong to them: one read and one write of each value, neighbours to neighbouring
// threads. Arguments named in place are read and written by the same thread.
#include "common.h"
#include "storage.h"

using kat::bf16;
using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

using kat::each_pack;
using kat::pack_at;
using kat::rounded;
using kat::to_float;

namespace {

// Values that a thread reads at a time: 16 bytes of the narrower type.
constexpr int kWide = 8;
static_assert(kWide == 8, "rust: PACK");

// y = op(x), value by value.
template <typename From, typename To, typename Op>
__device__ __forceinline__ void map(const From* x, To* y, uint64_t n, Op op) {
    each_pack<kWide>(n, [&](uint64_t i, auto width) {
        constexpr int V = decltype(width)::value;
        const auto in = pack_at<V>(x, i);
        float out[V];
#pragma unroll
        for (int k = 0; k < V; ++k) out[k] = op(to_float(in.v[k]));
        kat::put_pack<V>(y, i, rounded<To>(out));
    });
}

// y = op(a, b), value by value; y may be either.
template <typename A, typename B, typename Y, typename Op>
__device__ __forceinline__ void zip(const A* a, const B* b, Y* y, uint64_t n, Op op) {
    each_pack<kWide>(n, [&](uint64_t i, auto width) {
        constexpr int V = decltype(width)::value;
        const auto first = pack_at<V>(a, i);
        const auto second = pack_at<V>(b, i);
        float out[V];
#pragma unroll
        for (int k = 0; k < V; ++k) out[k] = op(to_float(first.v[k]), to_float(second.v[k]));
        kat::put_pack<V>(y, i, rounded<Y>(out));
    });
}

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

__device__ __forceinline__ float same(float v) { return v; }
__device__ __forceinline__ float sum_of(float a, float b) { return a + b; }

}  // namespace

KAT_KERNEL f32_to_bf16(const float* x, bf16* y, uint64_t n) { map(x, y, n, same); }

KAT_KERNEL bf16_to_f32(const bf16* x, float* y, uint64_t n) { map(x, y, n, same); }

KAT_KERNEL add_assign(float* dst, const float* src, uint64_t n) { zip(dst, src, dst, n, sum_of); }

KAT_KERNEL add_assign_bf16(float* dst, const bf16* src, uint64_t n) { zip(dst, src, dst, n, sum_of); }

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

// The sum of `repeats` parts of `period` values, in their order.
KAT_KERNEL sum_repeats(const float* dy, float* out, uint64_t period, uint64_t repeats) {
    KAT_EACH(i, period) {
        float sum = 0.0f;
        for (uint64_t k = 0; k < repeats; ++k) sum += dy[k * period + i];
        out[i] = sum;
    }
}

__device__ __forceinline__ float gelu(float v) { return 0.5f * v * (1.0f + erff(v * 0.70710678f)); }

__device__ __forceinline__ float gelu_slope(float v) {
    const float cdf = 0.5f * (1.0f + erff(v * 0.70710678f));
    return cdf + v * 0.39894228f * expf(-0.5f * v * v);
}

KAT_KERNEL gelu_forward(const float* x, float* y, uint64_t n) { map(x, y, n, gelu); }

KAT_KERNEL gelu_forward_bf16(const bf16* x, bf16* y, uint64_t n) { map(x, y, n, gelu); }

__device__ __forceinline__ float gelu_chain(float x, float dy) { return dy * gelu_slope(x); }

KAT_KERNEL gelu_backward(const float* x, float* dy, uint64_t n) { zip(x, dy, dy, n, gelu_chain); }

KAT_KERNEL gelu_backward_bf16(const bf16* x, bf16* dy, uint64_t n) { zip(x, dy, dy, n, gelu_chain); }

// A NaN stays one.
KAT_KERNEL relu_forward(const float* x, float* y, uint64_t n) {
    KAT_EACH(i, n) y[i] = x[i] < 0.0f ? 0.0f : x[i];
}

KAT_KERNEL relu_backward(const float* x, float* dy, uint64_t n) {
    KAT_EACH(i, n) dy[i] = x[i] > 0.0f ? dy[i] : 0.0f;
}

KAT_KERNEL sigmoid_forward(const float* x, float* y, uint64_t n) {
    KAT_EACH(i, n) y[i] = 1.0f / (1.0f + expf(-x[i]));
}

KAT_KERNEL sigmoid_backward(const float* x, float* dy, uint64_t n) {
    KAT_EACH(i, n) {
        const float s = 1.0f / (1.0f + expf(-x[i]));
        dy[i] *= s * (1.0f - s);
    }
}

// The sum of each block's values: the grid decides the order, not the GPU. What has a weight of 0 does not count,
// whatever it is.
KAT_KERNEL sum_values(const float* x, const float* optional_weights, double* sums, uint64_t n) {
    double sum = 0.0;
    KAT_EACH(i, n) {
        if (optional_weights == nullptr) {
            sum += x[i];
        } else if (optional_weights[i] != 0.0f) {
            sum += static_cast<double>(x[i]) * optional_weights[i];
        }
    }
    sum = kat::block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// One block: factor times the blocks' sums, in order.
KAT_KERNEL sum_of_sums(const double* sums, float* total, uint32_t count, double factor) {
    double sum = 0.0;
    for (uint32_t i = threadIdx.x; i < count; i += kBlock) sum += sums[i];
    sum = kat::block_sum(sum);
    if (threadIdx.x == 0) total[0] = static_cast<float>(sum * factor);
}

// The gradient of a total: dy (one value) factor weights.
KAT_KERNEL spread_total(const float* dy, const float* optional_weights, float* dx, uint64_t n, float factor) {
    const float slope = dy[0] * factor;
    KAT_EACH(i, n) dx[i] = optional_weights == nullptr ? slope : slope * optional_weights[i];
}
