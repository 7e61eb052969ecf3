// P(x)/Q(x) of the group rational and its derivatives, for one element.
//
//   P(x) = a0 + a1 x + ... + am x^m,   Q(x) = 1 + |b1||x| + ... + |bn||x|^n
//
// or, in the paper's form, Q(x) = 1 + |b1 x + ... + bn x^n|.
//
// The same functions run in the CUDA kernels (rational.cu) and, compiled by a host compiler, in the tests, which hold
// them against the CPU kernel: wrong maths is found without a GPU. The derivatives of |x| and |b| at 0 are +1;
// that of the paper's absolute value is 0 there.
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

// Coefficients of one group; b holds absolute values, but for the paper's form. Orders below M - 1 and N are padded with
// zeros.
template <int M, int N, bool Paper = false>
struct Coefficients {
    float a[M];
    float b[N];
};

// Sums of the gradients at the coefficients of one group: at a and at |b|, or b in the paper's
// form.
template <int M, int N>
struct Sums {
    float a[M];
    float b[N];
};

// y = P/Q by Horner's rule.
template <int M, int N, bool Paper>
KAT_INLINE float rational_value(const Coefficients<M, N, Paper>& c, float x) {
    const float v = Paper ? x : fabsf(x);
    float p = c.a[M - 1];
    KAT_UNROLL
    for (int i = M - 2; i >= 0; --i) p = fmaf(p, x, c.a[i]);
    float s = c.b[N - 1];
    KAT_UNROLL
    for (int i = N - 2; i >= 0; --i) s = fmaf(s, v, c.b[i]);
    return p * reciprocal(Paper ? 1.0f + fabsf(s * v) : fmaf(s, v, 1.0f));
}

// dx from dy; adds this element's share to the sums: dy/da_i = x^i / Q, dy/d|b_j| = -(P/Q) |x|^j / Q;
// in the paper's form, with B for its polynomial, dy/db_j = -(P/Q) sign(B) x^j / Q.
template <int M, int N, bool Paper>
KAT_INLINE float rational_gradient(const Coefficients<M, N, Paper>& c, float x, float dy, Sums<M, N>& sums) {
    const float v = Paper ? x : fabsf(x);
    float p = c.a[M - 1], dp = 0.0f;
    KAT_UNROLL
    for (int i = M - 2; i >= 0; --i) {
        dp = fmaf(dp, x, p);
        p = fmaf(p, x, c.a[i]);
    }
    float s = c.b[N - 1], ds = 0.0f;
    KAT_UNROLL
    for (int i = N - 2; i >= 0; --i) {
        ds = fmaf(ds, v, s);
        s = fmaf(s, v, c.b[i]);
    }
    // Q = 1 + |x| s(|x|), so dQ/d|x| = s + |x| s'; in the paper's form Q = 1 + |x s(x)|.
    const float whole = s * v;
    const float inverse = reciprocal(Paper ? 1.0f + fabsf(whole) : fmaf(s, v, 1.0f));
    const float y = p * inverse;
    const float slope = fmaf(ds, v, s);
    const float sign = whole > 0.0f ? 1.0f : whole < 0.0f ? -1.0f : 0.0f;
    const float dq = Paper ? sign * slope : x < 0.0f ? -slope : slope;
    const float t = dy * inverse, u = Paper ? -t * y * sign : -t * y;
    // both sums take the same powers: |x|^j is x^j but for the sign of the odd ones
    sums.a[0] += t;
    float power = x;
    KAT_UNROLL
    for (int i = 1; i < (M - 1 > N ? M : N + 1); ++i) {
        if (i < M) sums.a[i] = fmaf(t, power, sums.a[i]);
        if (i <= N) sums.b[i - 1] = fmaf(u, Paper || i % 2 == 0 ? power : fabsf(power), sums.b[i - 1]);
        power *= x;
    }
    return t * (dp - y * dq);
}

}  // namespace kat
