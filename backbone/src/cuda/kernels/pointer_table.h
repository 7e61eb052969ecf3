// Tables of buffers, for kernels that work on all of them in one launch (cuda/pointer_table.rs).
//
// A table has a row of 64-bit numbers for each buffer: its addresses, its length, the first block of the grid that works
// on it, and what else the pass wants. A block takes kChunk values.
#pragma once

#include "common.h"

namespace kat {

constexpr uint64_t kChunk = 8192;
static_assert(kChunk == 8192, "rust: LIST_CHUNK");

// The row of a list that this block works on: the last whose first block is not behind it.
__device__ __forceinline__ const uint64_t* own_row(const uint64_t* list, uint32_t rows, uint32_t width,
                                                   uint32_t first_at) {
    uint32_t low = 0, high = rows;
    while (high - low > 1) {
        const uint32_t middle = (low + high) / 2;
        if (list[static_cast<uint64_t>(middle) * width + first_at] <= blockIdx.x) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return list + static_cast<uint64_t>(low) * width;
}

// f(i, width) for this thread's packs of the block's chunk, of `len` values in all.
template <typename F>
__device__ __forceinline__ void each_of_chunk(uint64_t first_block, uint64_t len, F f) {
    constexpr uint32_t kPack = 4;
    const uint64_t start = (blockIdx.x - first_block) * kChunk;
    const uint32_t count = static_cast<uint32_t>(min(kChunk, len - start)), packs = count / kPack;
    for (uint32_t p = threadIdx.x; p < packs; p += kBlock) f(start + p * kPack, kat::Width<kPack>());
    for (uint32_t i = packs * kPack + threadIdx.x; i < count; i += kBlock) f(start + i, kat::Width<1>());
}

}  // namespace kat
