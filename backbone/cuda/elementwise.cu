// Element-wise ops and the sums that belong to them: one read and one write of each value, neighbours to neighbouring
// threads. Arguments named in place are read and written by the same thread.
#include "common.h"

using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

KAT_KERNEL add_assign(float* dst, const float* src, uint64_t n) {
    KAT_EACH(i, n) dst[i] += src[i];
}

// y = a + b, b repeating after `period`.
KAT_KERNEL add_repeated(const float* a, const float* b, float* y, uint64_t n, uint64_t period) {
    KAT_EACH(i, n) y[i] = a[i] + b[i % period];
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

KAT_KERNEL scale_samples(float* x, const float* factors, uint64_t n, uint64_t sample) {
    KAT_EACH(i, n) x[i] *= factors[i / sample];
}

KAT_KERNEL gelu_forward(const float* x, float* y, uint64_t n) {
    KAT_EACH(i, n) {
        const float v = x[i];
        y[i] = 0.5f * v * (1.0f + erff(v * 0.70710678f));
    }
}

KAT_KERNEL gelu_backward(const float* x, float* dy, uint64_t n) {
    KAT_EACH(i, n) {
        const float v = x[i];
        const float cdf = 0.5f * (1.0f + erff(v * 0.70710678f));
        dy[i] *= cdf + v * 0.39894228f * expf(-0.5f * v * v);
    }
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

// The sum of each block's values: the grid decides the order, not the GPU.
KAT_KERNEL sum_values(const float* x, double* sums, uint64_t n) {
    double sum = 0.0;
    KAT_EACH(i, n) sum += x[i];
    sum = kat::block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// Products of which y is 0 do not count, whatever x is.
KAT_KERNEL sum_products(const float* x, const float* y, double* sums, uint64_t n) {
    double sum = 0.0;
    KAT_EACH(i, n) {
        if (y[i] != 0.0f) sum += static_cast<double>(x[i]) * y[i];
    }
    sum = kat::block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// AdamW, with coefficients as in ops/adamw.
KAT_KERNEL adamw(float* p, const float* g, float* m, float* v, uint64_t n, float scale, float beta1, float rest1,
                 float beta2, float rest2, float eps, float keep, float step_size, float root_scale) {
    KAT_EACH(i, n) {
        const float slope = g[i] * scale;
        const float first = beta1 * m[i] + rest1 * slope;
        const float second = beta2 * v[i] + rest2 * (slope * slope);
        m[i] = first;
        v[i] = second;
        p[i] = keep * p[i] - step_size * first / (sqrtf(second) * root_scale + eps);
    }
}

KAT_KERNEL move_towards(float* average, const float* x, uint64_t n, float weight) {
    KAT_EACH(i, n) average[i] += weight * (x[i] - average[i]);
}
