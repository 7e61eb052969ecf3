// Attention by tiles, what its fused kernels share. A block has 64 rows of one sequence (image, head), its own side:
// queries, or keys in one part of the backward pass; 16 for each of four warps, as fragments in registers. It walks over
// the other side in tiles, two of which are in shared memory: one is copied while the other is multiplied.
#pragma once

#include "tensor_core.h"

// Of each fused kernel; the build script takes the number from its launch bounds.
#define KAT_ATTENTION_THREADS 128

namespace kat {

constexpr uint32_t kTileThreads = KAT_ATTENTION_THREADS;
constexpr uint32_t kOwnRows = kTileThreads / 32 * 16;
static_assert(kOwnRows == 64, "rust: ATTENTION_ROWS");
constexpr float kLog2E = 1.44269504088896f;
constexpr float kLn2 = 0.693147180559945f;

// Rows of a tile of the other side: four tiles fit into 48 KiB.
template <int kDim>
constexpr uint32_t kTileRows = kDim <= 64 ? 64 : 32;

// A row of a tile in shared memory; 8 values more than it has, so that eight rows lie in different banks.
template <int kDim>
struct alignas(16) Row {
    bf16 v[kDim + 8];
};

// Two tiles of the other side.
template <int kDim, uint32_t kRows = kTileRows<kDim>>
struct Stages {
    Row<kDim> rows[2][kRows];
};

// The rows of one head in a tensor (B, N, parts, heads, D).
template <typename T>
struct Rows {
    T* first;
    size_t stride;
    uint32_t count;

    __device__ __forceinline__ T* at(uint32_t row) const { return first + row * stride; }
};

// Which sequence and which rows of it a block has.
struct Span {
    uint32_t sequence, image, head, first;

    __device__ __forceinline__ Span(uint32_t tokens, uint32_t heads) {
        const uint32_t spans = (tokens + kOwnRows - 1) / kOwnRows;
        sequence = blockIdx.x / spans;
        image = sequence / heads;
        head = sequence % heads;
        first = blockIdx.x % spans * kOwnRows;
    }

    // The first row of this warp.
    __device__ __forceinline__ uint32_t warp_row() const { return first + threadIdx.x / 32 * 16; }

    // Part `part` of `parts` of the sequence's rows.
    template <int kDim, typename T>
    __device__ __forceinline__ Rows<T> rows(T* x, uint32_t tokens, uint32_t heads, uint32_t parts,
                                            uint32_t part) const {
        const size_t stride = static_cast<size_t>(parts) * heads * kDim;
        return {x + static_cast<size_t>(image) * tokens * stride + (static_cast<size_t>(part) * heads + head) * kDim,
                stride, tokens};
    }

    // Where this block's sums of part `part` begin in (B, spans, 3, heads, D).
    template <int kDim>
    __device__ __forceinline__ size_t sums_at(uint32_t tokens, uint32_t heads, uint32_t part) const {
        const size_t spans = (tokens + kOwnRows - 1) / kOwnRows;
        return (((image * spans + first / kOwnRows) * 3 + part) * heads + head) * kDim;
    }

    // Its rows of x (B, heads, N, marks).
    template <int kMarks, typename T>
    __device__ __forceinline__ Rows<T> marked_rows(T* x, uint32_t tokens) const {
        return {x + static_cast<size_t>(sequence) * tokens * kMarks, kMarks, tokens};
    }
};

// 16 rows of the own side as the left factor; zeros beyond the last.
template <int kDim>
struct Fragments {
    uint32_t v[kDim / 16][4];

    __device__ __forceinline__ void load(const Rows<const bf16>& from, uint32_t first) {
        const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
        for (uint32_t half = 0; half < 2; ++half) {
            const uint32_t row = first + g + half * 8;
            const bool there = row < from.count;
            const uint32_t* pairs = reinterpret_cast<const uint32_t*>(from.at(there ? row : 0)) + t;
#pragma unroll
            for (int k = 0; k < kDim / 16; ++k) {
                v[k][half] = there ? pairs[k * 8] : 0;
                v[k][half + 2] = there ? pairs[k * 8 + 4] : 0;
            }
        }
    }
};

// Begins to copy a tile whose first row is `first`; zeros beyond the last row.
template <int kDim, uint32_t kRows>
__device__ __forceinline__ void fetch_tile(Row<kDim> (&tile)[kRows], const Rows<const bf16>& from, uint32_t first) {
    constexpr uint32_t kPacks = kDim / 8;
    constexpr uint32_t kAll = kRows * kPacks;
#pragma unroll
    for (uint32_t start = 0; start < kAll; start += kTileThreads) {
        const uint32_t i = start + threadIdx.x;
        if (kAll % kTileThreads != 0 && i >= kAll) break;
        const uint32_t row = i / kPacks, pack = i % kPacks * 8;
        const bool there = first + row < from.count;
        copy_pack(&tile[row].v[pack], from.at(there ? first + row : 0) + pack, there);
    }
}

// As fetch_tile, a number a row.
template <uint32_t kCount>
__device__ __forceinline__ void fetch_numbers(float (&tile)[kCount], const float* from, uint32_t first,
                                              uint32_t count) {
    static_assert(kCount <= kTileThreads);
    if (threadIdx.x < kCount) {
        const bool there = first + threadIdx.x < count;
        copy_number(&tile[threadIdx.x], from + (there ? first + threadIdx.x : 0), there);
    }
}

// c (16 × 16) += a bᵀ with 16 rows of a tile as b.
template <int kDim>
__device__ __forceinline__ void add_dot_rows(float (&c)[2][4], const Fragments<kDim>& a, const Row<kDim>* b) {
    const uint32_t lane = threadIdx.x % 32;
    const bf16* row = b[lane / 16 * 8 + lane % 8].v + lane / 8 % 2 * 8;
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
        uint32_t r[4];
        load_matrices(r, row + k * 16);
        multiply_add(c[0], a.v[k], r[0], r[1]);
        multiply_add(c[1], a.v[k], r[2], r[3]);
    }
}

// c (16 × 16) = a bᵀ with 16 rows of a tile as b.
template <int kDim>
__device__ __forceinline__ void dot_rows(float (&c)[2][4], const Fragments<kDim>& a, const Row<kDim>* b) {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) c[n][i] = 0.0f;
    }
    add_dot_rows<kDim>(c, a, b);
}

// c (16 × D) += a (16 × 16) b with 16 rows of a tile as b.
template <int kDim>
__device__ __forceinline__ void add_weighted(float (&c)[kDim / 8][4], const float (&a)[2][4], const Row<kDim>* b) {
    // what a product gives to a lane is what the next one takes
    const uint32_t weights[4] = {pack(a[0][0], a[0][1]), pack(a[0][2], a[0][3]), pack(a[1][0], a[1][1]),
                                 pack(a[1][2], a[1][3])};
    const uint32_t lane = threadIdx.x % 32;
    const bf16* row = b[lane % 16].v + lane / 16 * 8;
#pragma unroll
    for (int d = 0; d < kDim / 16; ++d) {
        uint32_t r[4];
        load_transposed(r, row + d * 16);
        multiply_add(c[2 * d], weights, r[0], r[1]);
        multiply_add(c[2 * d + 1], weights, r[2], r[3]);
    }
}

// Writes a warp's 16 rows, those of each half times its factor, by way of shared memory, 16 bytes a store. `staging` has
// 16 rows of this warp, which no other reads any more.
template <int kDim>
__device__ __forceinline__ void store_rows(const float (&c)[kDim / 8][4], const float (&factors)[2],
                                           Row<kDim>* staging, const Rows<bf16>& to, uint32_t first) {
    const uint32_t lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (uint32_t half = 0; half < 2; ++half) {
        uint32_t* pairs = reinterpret_cast<uint32_t*>(staging[g + half * 8].v) + t;
#pragma unroll
        for (int n = 0; n < kDim / 8; ++n) {
            pairs[n * 4] = pack(c[n][2 * half] * factors[half], c[n][2 * half + 1] * factors[half]);
        }
    }
    __syncwarp();
    constexpr uint32_t kPacks = kDim / 8;
#pragma unroll
    for (uint32_t i = lane; i < 16 * kPacks; i += 32) {
        const uint32_t row = i / kPacks, pack = i % kPacks * 8;
        if (first + row < to.count) {
            *reinterpret_cast<uint4*>(to.at(first + row) + pack) =
                *reinterpret_cast<const uint4*>(&staging[row].v[pack]);
        }
    }
    __syncwarp();
}

// The sum over the four lanes that have one row.
__device__ __forceinline__ float row_sum(float v) {
    v += __shfl_xor_sync(0xffffffffu, v, 1);
    return v + __shfl_xor_sync(0xffffffffu, v, 2);
}

// The greatest of the four lanes that have one row.
__device__ __forceinline__ float row_max(float v) {
    v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 1));
    return fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 2));
}

}  // namespace kat
