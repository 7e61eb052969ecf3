// The coefficients of a group, from the tables of a call.
#pragma once

#include "rational_place.h"

namespace kat {

template <int M, int N, bool Paper>
__device__ __forceinline__ Coefficients<M, N, Paper> load(const float* __restrict__ a, const float* __restrict__ b,
                                                          const Geometry& g, uint32_t group) {
    Coefficients<M, N, Paper> c;
    a += g.numerator_groups == 1 ? 0 : group * g.numerator_len;
    b += g.denominator_groups == 1 ? 0 : group * g.denominator_len;
#pragma unroll
    for (int i = 0; i < M; ++i) c.a[i] = i < g.numerator_len ? __ldg(a + i) : 0.0f;
#pragma unroll
    for (int i = 0; i < N; ++i) {
        const float value = i < g.denominator_len ? __ldg(b + i) : 0.0f;
        c.b[i] = Paper ? value : fabsf(value);
    }
    return c;
}

}  // namespace kat
