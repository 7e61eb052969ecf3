// Warp-wide instructions of sm_80 and later: bfloat16 products on the tensor cores, their operands from shared memory,
// and copies to shared memory that run beside the arithmetic. For PTX's layouts of m16n8k16, with g = lane / 4 and
// t = lane % 4:
//   a (16 × 16): a[0] row g, columns 2t and 2t + 1; a[1] row g + 8; a[2] and a[3] as those, 8 columns on
//   b (16 × 8):  b[0] rows 2t and 2t + 1, column g; b[1] 8 rows on
//   c (16 × 8):  c[0], c[1] row g, columns 2t and 2t + 1; c[2], c[3] row g + 8
#pragma once

#include "storage.h"

#ifdef __NVCC__
namespace kat {

// c += a b, in f32.
__device__ __forceinline__ void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four 8 × 8 matrices from shared memory. Lane 8i + j names row j of matrix i, 16 bytes; each lane gets of matrix i the
// values at row g, columns 2t and 2t + 1.
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], const bf16* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
                 : "memory");
}

// As load_matrices, each matrix transposed: rows 2t and 2t + 1, column g.
__device__ __forceinline__ void load_transposed(uint32_t (&r)[4], const bf16* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
                 : "memory");
}

// Begins to copy 16 bytes, both sides at multiples of 16; zeros where the source is not there.
__device__ __forceinline__ void copy_pack(void* shared, const void* global, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                     static_cast<uint32_t>(__cvta_generic_to_shared(shared))),
                 "l"(global), "r"(there ? 16 : 0)
                 : "memory");
}

// The same for one number.
__device__ __forceinline__ void copy_number(float* shared, const float* global, bool there) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(
                     static_cast<uint32_t>(__cvta_generic_to_shared(shared))),
                 "l"(global), "r"(there ? 4 : 0)
                 : "memory");
}

// Waits for the copies that this thread began. Others see them after the next barrier.
__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// Two numbers rounded to bfloat16, ties to even; the first in the low half.
__device__ __forceinline__ uint32_t pack(float low, float high) {
    uint32_t both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

// 2^v to 2 ulp, without the steps for results below 2^-126, which become 0.
__device__ __forceinline__ float power_of_two(float v) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(v));
    return power;
}

}  // namespace kat
#else
#include "tensor_core_host.h"
#endif

namespace kat {

__device__ __forceinline__ float low_half(uint32_t both) { return __uint_as_float(both << 16); }
__device__ __forceinline__ float high_half(uint32_t both) { return __uint_as_float(both & 0xffff0000u); }

}  // namespace kat
