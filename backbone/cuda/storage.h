// The storage types of the kernels, and packs of neighbours.
#pragma once

#include <cuda_bf16.h>
#include <stdint.h>

namespace kat {

using bf16 = __nv_bfloat16;

__device__ __forceinline__ float to_float(float v) { return v; }
__device__ __forceinline__ float to_float(bf16 v) { return __bfloat162float(v); }

template <typename T>
__device__ __forceinline__ T from_float(float v);
template <>
__device__ __forceinline__ float from_float(float v) { return v; }
template <>
__device__ __forceinline__ bf16 from_float(float v) { return __float2bfloat16_rn(v); }

// V neighbours, read and written at once, 16 bytes at most.
template <typename T, int V>
struct alignas(sizeof(T) * V > 16 ? 16 : sizeof(T) * V) Pack {
    T v[V];
};

// The V neighbours that begin at value i, a multiple of V.
template <int V, typename T>
__device__ __forceinline__ const Pack<T, V>& pack_at(const T* x, uint64_t i) {
    return *reinterpret_cast<const Pack<T, V>*>(x + i);
}
template <int V, typename T>
__device__ __forceinline__ Pack<T, V>& pack_at(T* x, uint64_t i) {
    return *reinterpret_cast<Pack<T, V>*>(x + i);
}

// V values rounded to T.
template <typename T, int V>
__device__ __forceinline__ Pack<T, V> rounded(const float (&v)[V]) {
    Pack<T, V> out;
#pragma unroll
    for (int k = 0; k < V; ++k) out.v[k] = from_float<T>(v[k]);
    return out;
}

}  // namespace kat
