// P(x)/Q(x) of the group rational and its derivatives, for one element.
//
//   P(x) = a0 + a1 x + ... + am x^m,   Q(x) = 1 + |b1||x| + ... + |bn||x|^n
//
// The same functions run in the CUDA kernels (rational.cu) and, compiled by a host compiler, in the tests, which hold
// them against the CPU kernel: wrong maths is found without a GPU. The derivatives of |x| and |b| at 0 are +1.
#pragma once

#ifdef __CUDACC__
#define KAT_INLINE __host__ __device__ __forceinline__
#define KAT_UNROLL _Pragma("unroll")
#else
#include <cmath>
#define KAT_INLINE inline
#define KAT_UNROLL
#endif

namespace kat {

// 1/q to 1 ulp for q of 1 and more; 0 above 2^126.
KAT_INLINE float reciprocal(float q) {
#ifdef __CUDA_ARCH__
    float inverse;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(q));
    return inverse;
#else
    return 1.0f / q;
#endif
}

// Coefficients of one group; b holds absolute values. Orders below M - 1 and N are padded with zeros.
template <int M, int N>
struct Coefficients {
    float a[M];
    float b[N];
};

// Sums of the gradients at the coefficients of one group: at a and at |b|.
template <int M, int N>
struct Sums {
    float a[M];
    float b[N];
};

// y = P/Q by Horner's rule.
template <int M, int N>
KAT_INLINE float rational_value(const Coefficients<M, N>& c, float x) {
    const float abs_x = fabsf(x);
    float p = c.a[M - 1];
    KAT_UNROLL
    for (int i = M - 2; i >= 0; --i) p = fmaf(p, x, c.a[i]);
    float s = c.b[N - 1];
    KAT_UNROLL
    for (int i = N - 2; i >= 0; --i) s = fmaf(s, abs_x, c.b[i]);
    return p * reciprocal(fmaf(s, abs_x, 1.0f));
}

// dx from dy; adds this element's share to the sums: dy/da_i = x^i / Q, dy/d|b_j| = -(P/Q) |x|^j / Q.
template <int M, int N>
KAT_INLINE float rational_gradient(const Coefficients<M, N>& c, float x, float dy, Sums<M, N>& sums) {
    const float abs_x = fabsf(x);
    float p = c.a[M - 1], dp = 0.0f;
    KAT_UNROLL
    for (int i = M - 2; i >= 0; --i) {
        dp = fmaf(dp, x, p);
        p = fmaf(p, x, c.a[i]);
    }
    float s = c.b[N - 1], ds = 0.0f;
    KAT_UNROLL
    for (int i = N - 2; i >= 0; --i) {
        ds = fmaf(ds, abs_x, s);
        s = fmaf(s, abs_x, c.b[i]);
    }
    // Q = 1 + |x| s(|x|), so dQ/d|x| = s + |x| s'.
    const float inverse = reciprocal(fmaf(s, abs_x, 1.0f));
    const float y = p * inverse;
    const float slope = fmaf(ds, abs_x, s);
    const float dq = x < 0.0f ? -slope : slope;
    const float t = dy * inverse, u = -t * y;
    // both sums take the same powers: |x|^j is x^j but for the sign of the odd ones
    sums.a[0] += t;
    float power = x;
    KAT_UNROLL
    for (int i = 1; i < (M - 1 > N ? M : N + 1); ++i) {
        if (i < M) sums.a[i] = fmaf(t, power, sums.a[i]);
        if (i <= N) sums.b[i - 1] = fmaf(u, i % 2 == 0 ? power : fabsf(power), sums.b[i - 1]);
        power *= x;
    }
    return t * (dp - y * dq);
}

}  // namespace kat
