// The terms of relative positions for the fused attention: between q · table for every offset, a product of cuBLAS's, and
// the terms by place that attention_marks.h takes; and back. Letters: B images or windows of N tokens, a grid of rows and
// columns, L offsets: 2 rows - 1, then 2 columns - 1, then none up to a multiple of eight.
#include "common.h"
#include "storage.h"

using kat::bf16;
using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

namespace {

// A token's place in the grid.
struct Place {
    uint32_t row, column;

    __device__ __forceinline__ Place(uint32_t token, uint32_t columns) : row(token / columns), column(token % columns) {}

    // The offset of this query to mark `at`; L where there is none.
    __device__ __forceinline__ uint32_t offset(uint32_t at, uint32_t rows, uint32_t columns, uint32_t offsets) const {
        if (at < rows) return row + rows - 1 - at;
        return at < rows + columns ? 2 * rows - 1 + column + columns - 1 - (at - rows) : offsets;
    }

    // The mark of this query at an offset; `marks` where there is none. (Below 0 wraps far above.)
    __device__ __forceinline__ uint32_t mark(uint32_t offset, uint32_t rows, uint32_t columns, uint32_t marks) const {
        const uint32_t second = 2 * rows - 1;
        if (offset < second) {
            const uint32_t at = row + rows - 1 - offset;
            return at < rows ? at : marks;
        }
        const uint32_t at = column + columns - 1 - (offset - second);
        return offset < second + 2 * columns - 1 && at < columns ? rows + at : marks;
    }
};

}  // namespace

// Both tables, (2 rows - 1, D) and (2 columns - 1, D), as one (L, D).
KAT_KERNEL terms_tables(const float* height, const float* width, bf16* tables, uint32_t n, uint32_t first,
                        uint32_t second) {
    KAT_EACH(i, n) {
        const float v = i < first ? height[i] : i < first + second ? width[i - first] : 0.0f;
        tables[i] = kat::from_float<bf16>(v);
    }
}

// terms (B, heads, N, marks) = factor · by_offset (heads, B, N, L) at the place of each mark.
KAT_KERNEL terms_gather(const bf16* by_offset, bf16* terms, uint64_t n, uint32_t images, uint32_t heads,
                        uint32_t tokens, uint32_t rows, uint32_t columns, uint32_t offsets, uint32_t marks,
                        float factor) {
    KAT_EACH(i, n) {
        const uint32_t at = i % marks;
        const uint32_t query = static_cast<uint32_t>(i / marks), token = query % tokens, sequence = query / tokens;
        const uint32_t offset = Place(token, columns).offset(at, rows, columns, offsets);
        const uint64_t row = (static_cast<uint64_t>(sequence % heads) * images + sequence / heads) * tokens + token;
        const float v = offset < offsets ? kat::to_float(by_offset[row * offsets + offset]) : 0.0f;
        terms[i] = kat::from_float<bf16>(factor * v);
    }
}

// The reverse: the gradients at the terms to their offsets; zeros where no key is at one.
KAT_KERNEL terms_spread(const bf16* dterms, bf16* by_offset, uint64_t n, uint32_t images, uint32_t heads,
                        uint32_t tokens, uint32_t rows, uint32_t columns, uint32_t offsets, uint32_t marks) {
    KAT_EACH(i, n) {
        const uint32_t offset = i % offsets;
        const uint32_t query = static_cast<uint32_t>(i / offsets), token = query % tokens, image = query / tokens;
        const uint32_t at = Place(token, columns).mark(offset, rows, columns, marks);
        const uint64_t row = (static_cast<uint64_t>(image % images) * heads + image / images) * tokens + token;
        by_offset[i] = at < marks ? dterms[row * marks + at] : kat::from_float<bf16>(0.0f);
    }
}

// The gradients at both tables from those of each head, (heads, L, D).
KAT_KERNEL terms_totals(const float* by_head, float* height, float* width, uint32_t heads, uint32_t stride,
                        uint32_t first, uint32_t second) {
    KAT_EACH(i, first + second) {
        double sum = 0.0;
        for (uint32_t head = 0; head < heads; ++head) sum += by_head[static_cast<uint64_t>(head) * stride + i];
        *(i < first ? height + i : width + (i - first)) = static_cast<float>(sum);
    }
}

// What the launches see to before they launch: the least values of each buffer.
// lengths terms_tables: height first; width second; tables n
// lengths terms_gather: by_offset n / marks.max(1) * offsets; terms n
// lengths terms_spread: dterms n / offsets.max(1) * marks; by_offset n
// lengths terms_totals: by_head heads * stride; height first; width second
