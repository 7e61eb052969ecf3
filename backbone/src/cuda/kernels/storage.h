// The storage types of the kernels, and packs of neighbors.
#pragma once

#include <cuda_bf16.h>
#include <stdint.h>
#include <string.h>

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

// V neighbors, read and written at once, 16 bytes at most.
template <typename T, int V>
struct alignas(sizeof(T) * V > 16 ? 16 : sizeof(T) * V) Pack {
    T v[V];
};

// The V neighbors that begin at value i, a multiple of V.
template <int V, typename T>
__device__ __forceinline__ Pack<T, V> pack_at(const T* x, uint64_t i) {
    return *reinterpret_cast<const Pack<T, V>*>(x + i);
}

// One store of 16 or 8 bytes to the GPU's memory: of an assignment the compiler may make as many as there are members.
__device__ __forceinline__ void store(uint4* at, const uint4& v) {
#ifdef __NVCC__
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(at)), "r"(v.x), "r"(v.y),
                 "r"(v.z), "r"(v.w));
#else
    *at = v;
#endif
}
__device__ __forceinline__ void store(uint2* at, const uint2& v) {
#ifdef __NVCC__
    asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(at)), "r"(v.x), "r"(v.y));
#else
    *at = v;
#endif
}

// Writes them.
template <int V, typename T>
__device__ __forceinline__ void put_pack(T* x, uint64_t i, const Pack<T, V>& pack) {
    if constexpr (sizeof(pack) % sizeof(uint4) == 0) {
        constexpr int kParts = sizeof(pack) / sizeof(uint4);
        uint4 parts[kParts];
        memcpy(parts, &pack, sizeof(pack));
#pragma unroll
        for (int k = 0; k < kParts; ++k) store(reinterpret_cast<uint4*>(x + i) + k, parts[k]);
    } else if constexpr (sizeof(pack) == sizeof(uint2)) {
        uint2 part;
        memcpy(&part, &pack, sizeof(pack));
        store(reinterpret_cast<uint2*>(x + i), part);
    } else {
        *reinterpret_cast<Pack<T, V>*>(x + i) = pack;
    }
}

// V values rounded to T.
template <typename T, int V>
__device__ __forceinline__ Pack<T, V> rounded(const float (&v)[V]) {
    Pack<T, V> out;
    if constexpr (sizeof(T) == sizeof(bf16) && V % 2 == 0) {
#pragma unroll
        for (int k = 0; k < V; k += 2) {
            // one instruction for both
            const __nv_bfloat162 two = __floats2bfloat162_rn(v[k], v[k + 1]);
            out.v[k] = two.x;
            out.v[k + 1] = two.y;
        }
    } else {
#pragma unroll
        for (int k = 0; k < V; ++k) out.v[k] = from_float<T>(v[k]);
    }
    return out;
}

// V values as f32.
template <typename T, int V>
__device__ __forceinline__ void widen(Pack<T, V> in, float (&v)[V]) {
#pragma unroll
    for (int k = 0; k < V; ++k) v[k] = to_float(in.v[k]);
}

}  // namespace kat
