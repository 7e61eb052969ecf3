// One read and one write of each value, neighbors to neighboring threads. Arguments named in place are read and written
// by the same thread.
#pragma once

#include "common.h"
#include "storage.h"

namespace kat {

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
        put_pack<V>(y, i, rounded<To>(out));
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
        put_pack<V>(y, i, rounded<Y>(out));
    });
}

}  // namespace kat
