// Element-wise ops and the sums that belong to them: one read and one write of each value, neighbours to neighbouring
// threads. Arguments named in place are read and written by the same thread.
#include "common.h"
#include "storage.h"

using kat::bf16;
using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

// Two neighbours a thread.
template <typename From, typename To>
__device__ __forceinline__ void convert(const From* x, To* y, uint64_t n) {
    KAT_EACH(i, n / 2) {
        const kat::Pack<From, 2> in = reinterpret_cast<const kat::Pack<From, 2>*>(x)[i];
        reinterpret_cast<kat::Pack<To, 2>*>(y)[i] = {kat::from_float<To>(kat::to_float(in.v[0])),
                                                     kat::from_float<To>(kat::to_float(in.v[1]))};
    }
    if (n % 2 == 1 && blockIdx.x == 0 && threadIdx.x == 0) y[n - 1] = kat::from_float<To>(kat::to_float(x[n - 1]));
}

KAT_KERNEL f32_to_bf16(const float* x, bf16* y, uint64_t n) { convert(x, y, n); }

KAT_KERNEL bf16_to_f32(const bf16* x, float* y, uint64_t n) { convert(x, y, n); }

KAT_KERNEL add_assign(float* dst, const float* src, uint64_t n) {
    KAT_EACH(i, n) dst[i] += src[i];
}

KAT_KERNEL add_assign_bf16(float* dst, const bf16* src, uint64_t n) {
    KAT_EACH(i, n) dst[i] += kat::to_float(src[i]);
}

// y = a + b, b repeating after `period`.
KAT_KERNEL add_repeated(const float* a, const float* b, float* y, uint64_t n, uint64_t period) {
    KAT_EACH(i, n) y[i] = a[i] + b[i % period];
}

// y = a + b.
KAT_KERNEL add_bf16(const float* a, const bf16* b, float* y, uint64_t n) {
    KAT_EACH(i, n) y[i] = a[i] + kat::to_float(b[i]);
}

// The sum of `repeats` parts of `period` values, in their order.
KAT_KERNEL sum_repeats(const float* dy, float* out, uint64_t period, uint64_t repeats) {
    KAT_EACH(i, period) {
        float sum = 0.0f;
        for (uint64_t k = 0; k < repeats; ++k) sum += dy[k * period + i];
        out[i] = sum;
    }
}

// y = a + factors[sample] b.
KAT_KERNEL add_scaled(const float* a, const float* b, const float* factors, float* y, uint64_t n, uint64_t sample) {
    KAT_EACH(i, n) y[i] = a[i] + factors[i / sample] * b[i];
}

KAT_KERNEL add_scaled_bf16(const float* a, const bf16* b, const float* factors, float* y, uint64_t n,
                           uint64_t sample) {
    KAT_EACH(i, n) y[i] = a[i] + factors[i / sample] * kat::to_float(b[i]);
}

KAT_KERNEL scale_samples(float* x, const float* factors, uint64_t n, uint64_t sample) {
    KAT_EACH(i, n) x[i] *= factors[i / sample];
}

KAT_KERNEL scale_samples_bf16(bf16* x, const float* factors, uint64_t n, uint64_t sample) {
    KAT_EACH(i, n) x[i] = kat::from_float<bf16>(factors[i / sample] * kat::to_float(x[i]));
}

__device__ __forceinline__ float gelu(float v) { return 0.5f * v * (1.0f + erff(v * 0.70710678f)); }

__device__ __forceinline__ float gelu_slope(float v) {
    const float cdf = 0.5f * (1.0f + erff(v * 0.70710678f));
    return cdf + v * 0.39894228f * expf(-0.5f * v * v);
}

KAT_KERNEL gelu_forward(const float* x, float* y, uint64_t n) {
    KAT_EACH(i, n) y[i] = gelu(x[i]);
}

KAT_KERNEL gelu_backward(const float* x, float* dy, uint64_t n) {
    KAT_EACH(i, n) dy[i] *= gelu_slope(x[i]);
}

KAT_KERNEL gelu_forward_bf16(const bf16* x, bf16* y, uint64_t n) {
    KAT_EACH(i, n) y[i] = kat::from_float<bf16>(gelu(kat::to_float(x[i])));
}

KAT_KERNEL gelu_backward_bf16(const bf16* x, bf16* dy, uint64_t n) {
    KAT_EACH(i, n) dy[i] = kat::from_float<bf16>(kat::to_float(dy[i]) * gelu_slope(kat::to_float(x[i])));
}

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
