// What a CUDA source sees when a host compiler compiles it: the language's words, and its built-in functions on the
// fibers of fibers.h. Included before every kernel file (-include).
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <algorithm>
#include <type_traits>

#define __CUDACC__ 1
#define __host__
#define __device__
#ifndef KAT_LIST_KERNELS
#define __global__
#define __launch_bounds__(...)
#endif
#define __forceinline__ inline
#define __noinline__
#define __restrict__
#define __align__(n) alignas(n)
// One copy for each of the host's threads, each of which runs one block at a time.
#define __shared__ static thread_local

struct uint3 { uint32_t x, y, z; };
struct dim3 { uint32_t x, y, z; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { uint32_t x, y; };
struct alignas(16) uint4 { uint32_t x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }

extern __thread uint3 threadIdx, blockIdx;
extern __thread dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace kat_host {

// Waits until the lanes of `mask` in this warp are here.
void warp_barrier(uint32_t mask);
// Waits until the block's threads are here.
void block_barrier();
// This lane's slots for values that the warp exchanges, and another lane's.
constexpr uint32_t kWords = 3;
uint64_t& mine(uint32_t word = 0);
uint64_t theirs(uint32_t lane, uint32_t word = 0);
uint32_t lane();
// The address; ends the program where it is no multiple of `bytes`.
uint64_t aligned(const void* at, uint32_t bytes);
// Copies `bytes` (or zeros) when this thread calls make_copies.
void copy_later(void* to, const void* from, uint32_t bytes, bool there);
void make_copies();

template <typename T>
T exchange(uint32_t mask, T v, uint32_t from) {
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
    uint64_t bits = 0;
    memcpy(&bits, &v, sizeof v);
    mine() = bits;
    warp_barrier(mask);
    bits = theirs(from);
    memcpy(&v, &bits, sizeof v);
    return v;
}

}  // namespace kat_host

inline void __syncthreads() { kat_host::block_barrier(); }
inline void __syncwarp(uint32_t mask = 0xffffffffu) { kat_host::warp_barrier(mask); }
inline void __threadfence() {}

// A lane beyond the width keeps its own value, as on the GPU.
template <typename T>
T __shfl_sync(uint32_t mask, T v, int from, int width = 32) {
    const uint32_t lane = kat_host::lane();
    return kat_host::exchange(mask, v, (lane & ~(width - 1)) | (from & (width - 1)));
}
template <typename T>
T __shfl_xor_sync(uint32_t mask, T v, int bits, int width = 32) {
    const uint32_t lane = kat_host::lane(), from = lane ^ bits;
    return kat_host::exchange(mask, v, (from & ~(width - 1)) > lane ? lane : from);
}
template <typename T>
T __shfl_down_sync(uint32_t mask, T v, uint32_t step, int width = 32) {
    const uint32_t lane = kat_host::lane();
    const bool inside = (lane & (width - 1)) + step < static_cast<uint32_t>(width);
    return kat_host::exchange(mask, v, inside ? lane + step : lane);
}
template <typename T>
T __shfl_up_sync(uint32_t mask, T v, uint32_t step, int width = 32) {
    const uint32_t lane = kat_host::lane();
    return kat_host::exchange(mask, v, (lane & (width - 1)) >= step ? lane - step : lane);
}
inline uint32_t __ballot_sync(uint32_t mask, int predicate) {
    kat_host::mine() = predicate != 0;
    kat_host::warp_barrier(mask);
    uint32_t votes = 0;
    for (uint32_t lane = 0; lane < 32; ++lane) {
        if (mask >> lane & 1) votes |= static_cast<uint32_t>(kat_host::theirs(lane)) << lane;
    }
    return votes;
}
inline int __any_sync(uint32_t mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(uint32_t mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }

template <typename T>
T __ldg(const T* p) { return *p; }
template <typename T>
T __ldcs(const T* p) { return *p; }
template <typename T>
void __stcs(T* p, T v) { *p = v; }

// Integer atomics only: the suite adds no floats by atomics.
inline uint32_t atomicAdd(uint32_t* p, uint32_t v) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }
inline uint32_t atomicOr(uint32_t* p, uint32_t v) { return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST); }
inline unsigned long long atomicOr(unsigned long long* p, unsigned long long v) {
    return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST);
}
inline uint32_t atomicMax(uint32_t* p, uint32_t v) {
    uint32_t old = __atomic_load_n(p, __ATOMIC_SEQ_CST);
    while (old < v && !__atomic_compare_exchange_n(p, &old, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {}
    return old;
}

template <typename T, typename U>
constexpr std::common_type_t<T, U> min(T a, U b) {
    using V = std::common_type_t<T, U>;
    return static_cast<V>(b) < static_cast<V>(a) ? static_cast<V>(b) : static_cast<V>(a);
}
template <typename T, typename U>
constexpr std::common_type_t<T, U> max(T a, U b) {
    using V = std::common_type_t<T, U>;
    return static_cast<V>(a) < static_cast<V>(b) ? static_cast<V>(b) : static_cast<V>(a);
}

template <typename To, typename From>
To kat_bits(From v) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy(&to, &v, sizeof to);
    return to;
}
inline int __float_as_int(float v) { return kat_bits<int>(v); }
inline uint32_t __float_as_uint(float v) { return kat_bits<uint32_t>(v); }
inline float __int_as_float(int v) { return kat_bits<float>(v); }
inline float __uint_as_float(uint32_t v) { return kat_bits<float>(v); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline float rsqrtf(float v) { return 1.0f / sqrtf(v); }
inline float __expf(float v) { return expf(v); }
inline float __logf(float v) { return logf(v); }
inline uint32_t __umulhi(uint32_t a, uint32_t b) { return static_cast<uint64_t>(a) * b >> 32; }
inline uint64_t __umul64hi(uint64_t a, uint64_t b) { return static_cast<unsigned __int128>(a) * b >> 64; }
inline int __popc(uint32_t v) { return __builtin_popcount(v); }
inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
inline int __clz(int v) { return v == 0 ? 32 : __builtin_clz(v); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __ffsll(long long v) { return __builtin_ffsll(v); }
