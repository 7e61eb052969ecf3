// Which elements a thread of the rational kernels works on. Runs on the host too, where a test sees to it that every
// element is met once.
#pragma once

#include <stdint.h>

#include "rational_math.h"

namespace kat {

// Threads of a block.
constexpr uint32_t kThreads = 256;

// Sizes of a call; must match the host's launch.
struct Geometry {
    uint32_t rows;
    uint32_t channels;
    uint32_t group_size;
    uint32_t numerator_groups;  // rows of the numerator: groups, or 1 shared by all
    uint32_t numerator_len;
    uint32_t denominator_groups;
    uint32_t denominator_len;
    uint32_t rows_per_block;
};

static_assert(sizeof(Geometry) == 32, "rust: RATIONAL_SIZES_BYTES");

// One column of packs of the block's group, every `lines`-th row. The grid is (groups and runs of rows, 1, slices): groups
// wider than a block of packs are walked in slices.
struct Place {
    uint32_t packs;  // of a row that the block covers
    uint32_t lines;  // rows that the block covers at a time
    uint32_t line;   // the thread's first row in the run
    size_t start;    // of the block's packs in a row
    size_t offset;   // of the thread's column in a row
    bool idle;       // left over, where the packs of a row do not divide the block

    KAT_INLINE Place(const Geometry& g, uint32_t pack, uint32_t group, uint32_t slice, uint32_t thread) {
        const uint32_t first = slice * kThreads;
        const uint32_t rest = g.group_size / pack - first;
        packs = rest < kThreads ? rest : kThreads;
        lines = kThreads / packs;
        line = thread / packs;
        start = static_cast<size_t>(group) * g.group_size + static_cast<size_t>(first) * pack;
        offset = start + thread % packs * pack;
        idle = line >= lines;
    }
};

}  // namespace kat
