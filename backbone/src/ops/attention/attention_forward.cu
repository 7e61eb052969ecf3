// Fused attention, forward, in bfloat16 with f32 sums: a block of 64 queries walks once over the keys, with the softmax
// kept up as it goes (FlashAttention, arXiv 2205.14135); nothing of N × N is in memory.
//   qkv (B, N, 3, heads, D) → y (B, N, heads, D) and log_sums (B, heads, N), the logarithm of each row's sum
// With relative positions the logits have terms · marks beside q · k (attention_marks.h).
#include <math_constants.h>

#include "attention_marks.h"

namespace {

using namespace kat;

// A warp's 16 queries: what they have seen so far. A lane has two rows, g and g + 8, and of their keys a quarter.
template <int kDim, int kMarks, uint32_t kKeys>
struct Queries {
    Fragments<kDim> q;
    Fragments<kMarksOrNone<kMarks>> terms;
    float out[kDim / 8][4];
    // Greatest logit, times log2(e), and sum of the exponentials below it.
    float greatest[2], sum[2];

    __device__ __forceinline__ void start(const Rows<const bf16>& from, uint32_t first) {
        q.load(from, first);
#pragma unroll
        for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) out[n][i] = 0.0f;
        }
        greatest[0] = greatest[1] = -CUDART_INF_F;
        sum[0] = sum[1] = 0.0f;
    }

    // Takes in a tile of keys; `kWhole`: all of its rows are there, else the first `count`. `scale` has log2(e) in it.
    template <bool kWhole>
    __device__ __forceinline__ void attend(const Row<kDim>* keys, const Row<kDim>* values,
                                           const Row<kMarksOrNone<kMarks>>* marks, uint32_t count, float scale) {
        constexpr uint32_t kChunks = kKeys / 16;
        const uint32_t t = threadIdx.x % 4;
        float p[kChunks][2][4];
        float top[2] = {-CUDART_INF_F, -CUDART_INF_F};
#pragma unroll
        for (uint32_t chunk = 0; chunk < kChunks; ++chunk) {
            if (!kWhole && chunk * 16 >= count) break;
            dot_rows<kDim>(p[chunk], q, keys + chunk * 16);
            if constexpr (kMarks > 0) add_dot_rows<kMarks>(p[chunk], terms, marks + chunk * 16);
#pragma unroll
            for (uint32_t n = 0; n < 2; ++n) {
#pragma unroll
                for (uint32_t i = 0; i < 4; ++i) {
                    const uint32_t key = chunk * 16 + n * 8 + 2 * t + i % 2;
                    if (!kWhole && key >= count) p[chunk][n][i] = -CUDART_INF_F;
                    top[i / 2] = fmaxf(top[i / 2], p[chunk][n][i]);
                }
            }
        }
        float offset[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            offset[half] = fmaxf(greatest[half], row_max(top[half]) * scale);
            const float shrink = power_of_two(greatest[half] - offset[half]);
            greatest[half] = offset[half];
            sum[half] *= shrink;
#pragma unroll
            for (int n = 0; n < kDim / 8; ++n) {
                out[n][2 * half] *= shrink;
                out[n][2 * half + 1] *= shrink;
            }
        }
#pragma unroll
        for (uint32_t chunk = 0; chunk < kChunks; ++chunk) {
            if (!kWhole && chunk * 16 >= count) break;
#pragma unroll
            for (uint32_t n = 0; n < 2; ++n) {
#pragma unroll
                for (uint32_t i = 0; i < 4; ++i) {
                    p[chunk][n][i] = power_of_two(fmaf(p[chunk][n][i], scale, -offset[i / 2]));
                    sum[i / 2] += p[chunk][n][i];
                }
            }
            add_weighted<kDim>(out, p[chunk], values + chunk * 16);
        }
    }
};

template <int kDim, int kMarks = 0, uint32_t kKeys = kTileRows<kDim>>
__device__ __forceinline__ void forward(const bf16* qkv, const bf16* terms, bf16* y, float* log_sums, uint32_t tokens,
                                        uint32_t heads, float scale, const Places& places) {
    __shared__ Stages<kDim, kKeys> keys, values;
    __shared__ Stages<kMarksOrNone<kMarks>, kMarks == 0 ? 1 : kKeys> marks;
    const Span span(tokens, heads);
    const auto part = [&](uint32_t i) { return span.rows<kDim>(qkv, tokens, heads, 3, i); };
    const Rows<const bf16> k = part(1), v = part(2);
    const uint32_t first = span.warp_row();
    // A warp without a query has its share of the copies all the same.
    const bool idle = first >= tokens;
    const auto fetch = [&](uint32_t key, uint32_t stage) {
        fetch_tile(keys.rows[stage], k, key);
        fetch_tile(values.rows[stage], v, key);
        if constexpr (kMarks > 0) mark_tile(marks.rows[stage], places, key);
    };
    fetch(0, 0);
    Queries<kDim, kMarks, kKeys> queries;
    queries.start(part(0), first);
    if constexpr (kMarks > 0) queries.terms.load(span.marked_rows<kMarks>(terms, tokens), first);
    for (uint32_t key = 0, stage = 0; key < tokens; key += kKeys, stage ^= 1) {
        wait_for_copies();
        // this tile is there, and nobody reads the one before it any more
        __syncthreads();
        if (key + kKeys < tokens) fetch(key + kKeys, stage ^ 1);
        if (idle) continue;
        const uint32_t count = tokens - key;
        if (count >= kKeys) {
            queries.template attend<true>(keys.rows[stage], values.rows[stage], marks.rows[stage], kKeys,
                                          scale * kLog2E);
        } else {
            queries.template attend<false>(keys.rows[stage], values.rows[stage], marks.rows[stage], count,
                                           scale * kLog2E);
        }
    }
    __syncthreads();
    if (idle) return;
    const uint32_t lane = threadIdx.x % 32;
    float inverse[2];
#pragma unroll
    for (uint32_t half = 0; half < 2; ++half) {
        const float sum = row_sum(queries.sum[half]);
        inverse[half] = 1.0f / sum;
        const uint32_t row = first + lane / 4 + half * 8;
        if (lane % 4 == 0 && row < tokens) {
            log_sums[static_cast<size_t>(span.sequence) * tokens + row] =
                fmaf(queries.greatest[half], kLn2, logf(sum));
        }
    }
    store_rows<kDim>(queries.out, inverse, &keys.rows[0][0] + threadIdx.x / 32 * 16,
                     span.rows<kDim>(y, tokens, heads, 1, 0), first);
}

}  // namespace

// `least`: blocks that a multiprocessor must have registers for.
#define KAT_ATTENTION(dim, least)                                                                    \
    extern "C" __global__ void __launch_bounds__(KAT_ATTENTION_THREADS, least)                        \
        attention_forward_##dim(const bf16* __restrict__ qkv, bf16* __restrict__ y,                  \
                                float* __restrict__ log_sums, uint32_t tokens, uint32_t heads,       \
                                float scale) {                                                       \
        forward<dim>(qkv, nullptr, y, log_sums, tokens, heads, scale, {});                           \
    }

KAT_ATTENTION(16, 4)
KAT_ATTENTION(32, 4)
KAT_ATTENTION(64, 4)
KAT_ATTENTION(96, 3)
KAT_ATTENTION(128, 3)

// With relative positions of at most `marks` rows and columns of the grid together; tiles of `keys`.
#define KAT_RELATIVE_ATTENTION(dim, marks, keys)                                                            \
    extern "C" __global__ void __launch_bounds__(KAT_ATTENTION_THREADS)                                     \
        attention_##dim##_relative_forward_##marks(const bf16* __restrict__ qkv,                            \
                                                   const bf16* __restrict__ terms, bf16* __restrict__ y,    \
                                                   float* __restrict__ log_sums, uint32_t tokens,           \
                                                   uint32_t heads, uint32_t rows, uint32_t columns,         \
                                                   float scale) {                                           \
        forward<dim, marks, keys>(qkv, terms, y, log_sums, tokens, heads, scale, {rows, columns});          \
    }

KAT_RELATIVE_ATTENTIONS

// What the launches see to before they launch: the least values of each buffer.
// lengths attention_forward_*: qkv grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * suffix * 3; y grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * suffix; log_sums grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens
// lengths attention_16_relative_forward_*: qkv grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 16 * 3; terms grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * suffix; y grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 16; log_sums grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens
// lengths attention_32_relative_forward_*: qkv grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 32 * 3; terms grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * suffix; y grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 32; log_sums grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens
// lengths attention_64_relative_forward_*: qkv grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 64 * 3; terms grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * suffix; y grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 64; log_sums grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens
