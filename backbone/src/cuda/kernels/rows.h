// Walks over rows of values.
#pragma once

#include "common.h"
#include "storage.h"

namespace kat {

// f(i, width, row, at) for the values of this thread, i = row · width of a row + at: four at a time where `whole`, that
// is where every part of a row is whole packs.
template <typename F>
__device__ __forceinline__ void each_of_rows(uint64_t n, uint64_t row_len, bool whole, F f) {
    if (whole) {
        const uint32_t packs = static_cast<uint32_t>(row_len / 4);
        each_pack<4>(n, [&](uint64_t i, auto width) {
            const uint32_t p = static_cast<uint32_t>(i / 4);
            f(i, width, static_cast<uint64_t>(p / packs), static_cast<uint64_t>(p % packs) * 4);
        });
    } else {
        each_pack<1>(n, [&](uint64_t i, auto width) { f(i, width, i / row_len, i % row_len); });
    }
}

}  // namespace kat
