// CUDA's half, for the host compiler: storage and conversion, to nearest, ties to even (the compiler's _Float16).
#pragma once
struct alignas(2) __half { uint16_t bits; };
struct alignas(4) __half2 { __half x, y; };

inline float __half2float(__half v) { return kat_bits<_Float16>(v.bits); }
inline __half __float2half_rn(float v) { return {kat_bits<uint16_t>(static_cast<_Float16>(v))}; }
inline __half __float2half(float v) { return __float2half_rn(v); }
