// Decomposed relative positions as more channels of the products: a key's are marks, 1 at its row of the grid and 1 at its
// column, those after the rows; a query's are its terms for each row and each column, over the scale of the logits. So
// terms · marks is the query's term for the key's row and column, and the gradient at the terms is that at the logits
// times marks, by the tensor cores and in a fixed order.
#pragma once

#include "attention_tiles.h"

namespace kat {

// Widths of arrays that are not used without marks, but must have one.
template <int kMarks>
constexpr int kMarksOrNone = kMarks > 0 ? kMarks : 16;

// A grid of tokens.
struct Places {
    uint32_t rows, columns;

    // Two neighboring marks of a token, columns `at` and `at` + 1, at even.
    __device__ __forceinline__ uint32_t pair(uint32_t token, uint32_t at) const {
        constexpr uint32_t kOne = 0x3f80;  // in bfloat16
        const uint32_t row = token / columns, column = rows + token % columns;
        return (row == at || column == at ? kOne : 0) | (row == at + 1 || column == at + 1 ? kOne << 16 : 0);
    }
};

// The marks of the tokens from `first` on, as a tile's rows. What lies beyond the last token has some too: nobody reads
// more of them than of keys.
template <int kMarks, uint32_t kRows>
__device__ __forceinline__ void mark_tile(Row<kMarks> (&tile)[kRows], const Places& places, uint32_t first) {
    constexpr uint32_t kPairs = kMarks / 2;
    for (uint32_t i = threadIdx.x; i < kRows * kPairs; i += kTileThreads) {
        const uint32_t row = i / kPairs, at = i % kPairs * 2;
        *reinterpret_cast<uint32_t*>(&tile[row].v[at]) = places.pair(first + row, at);
    }
}

// The marks of 16 tokens as the left factor.
template <int kMarks>
__device__ __forceinline__ void mark_rows(Fragments<kMarks>& marks, const Places& places, uint32_t first) {
    const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (uint32_t half = 0; half < 2; ++half) {
#pragma unroll
        for (int k = 0; k < kMarks / 16; ++k) {
            marks.v[k][half] = places.pair(first + g + half * 8, k * 16 + 2 * t);
            marks.v[k][half + 2] = places.pair(first + g + half * 8, k * 16 + 8 + 2 * t);
        }
    }
}

}  // namespace kat

// The compiled widths: channels of a head, marks, rows of a tile, of which two with their marks fit into 48 KiB.
#define KAT_RELATIVE_ATTENTIONS        \
    KAT_RELATIVE_ATTENTION(16, 32, 64)  \
    KAT_RELATIVE_ATTENTION(32, 32, 64)  \
    KAT_RELATIVE_ATTENTION(64, 32, 64)  \
    KAT_RELATIVE_ATTENTION(64, 64, 32)  \
    KAT_RELATIVE_ATTENTION(64, 128, 32) \
    KAT_RELATIVE_ATTENTION(64, 144, 32)
