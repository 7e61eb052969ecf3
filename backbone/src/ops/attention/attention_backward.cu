// Fused attention, backward, in bfloat16 with f32 sums, in two kernels that make the probabilities again, tile by tile,
// from the logarithms of their rows' sums. The first has queries as its own side and writes dq and each row's Σ dy y;
// the second has keys, and writes dk and dv. Nothing is added by atomics: the same bits every time.
//   p = exp(scale q kᵀ - log_sum)   dv = pᵀ dy   ds = p ∘ (dy vᵀ - Σ dy y)   dq = scale ds k   dk = scale dsᵀ q
// With relative positions the logits have terms · marks beside scale q kᵀ, and dterms = ds · marks (attention_marks.h).
// Rows beyond the last are zeros, also in log_sums, and add nothing: p is 1 there, dy and ds are 0.
#include "attention_marks.h"

namespace {

using namespace kat;

template <int kDim>
__device__ __forceinline__ void clear(float (&c)[kDim / 8][4]) {
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) c[n][i] = 0.0f;
    }
}

// Σ a b over each of a lane's two rows.
template <int kDim>
__device__ __forceinline__ void dot(float (&sums)[2], const Fragments<kDim>& a, const Fragments<kDim>& b) {
    sums[0] = sums[1] = 0.0f;
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            float& sum = sums[i % 2];
            sum = fmaf(low_half(a.v[k][i]), low_half(b.v[k][i]), sum);
            sum = fmaf(high_half(a.v[k][i]), high_half(b.v[k][i]), sum);
        }
    }
    sums[0] = row_sum(sums[0]);
    sums[1] = row_sum(sums[1]);
}

// The sums of a block's rows by column, times `factor`, to `out`, by way of shared memory that nobody reads any more. Rows
// from the block's `count` on are left out.
template <int kDim>
__device__ __forceinline__ void write_sums(const float (&c)[kDim / 8][4], float factor, uint32_t count, void* staging,
                                           float* out) {
    float(*warps)[kDim] = reinterpret_cast<float(*)[kDim]>(staging);
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, row = warp * 16 + lane / 4;
    const float upper = row < count ? factor : 0.0f, lower = row + 8 < count ? factor : 0.0f;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
        float sums[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            sums[i] = upper * c[n][i] + lower * c[n][i + 2];
#pragma unroll
            for (int step = 4; step < 32; step *= 2) sums[i] += __shfl_xor_sync(0xffffffffu, sums[i], step);
        }
        if (lane < 4) {
            warps[warp][n * 8 + 2 * lane] = sums[0];
            warps[warp][n * 8 + 2 * lane + 1] = sums[1];
        }
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < kDim; i += kTileThreads) {
        out[i] = (warps[0][i] + warps[1][i]) + (warps[2][i] + warps[3][i]);
    }
    __syncthreads();
}

// Writes dq and `along`, (B, heads, N), and dterms; sums (B, spans, 3, heads, D), of dqkv over each block's rows.
template <int kDim, int kMarks = 0, uint32_t kKeys = kTileRows<kDim>>
__device__ __forceinline__ void backward_queries(const bf16* qkv, const bf16* terms, const bf16* y, const bf16* dy,
                                                 const float* log_sums, bf16* dqkv, bf16* dterms, float* along,
                                                 float* sums, uint32_t tokens, uint32_t heads, float scale,
                                                 const Places& places) {
    constexpr int kMarked = kMarksOrNone<kMarks>;
    __shared__ Stages<kDim, kKeys> keys, values;
    __shared__ Stages<kMarked, kMarks == 0 ? 1 : kKeys> marks;
    const Span span(tokens, heads);
    const auto part = [&](uint32_t i) { return span.rows<kDim>(qkv, tokens, heads, 3, i); };
    const Rows<const bf16> k = part(1), v = part(2);
    const uint32_t first = span.warp_row(), lane = threadIdx.x % 32;
    const bool idle = first >= tokens;
    const auto fetch = [&](uint32_t key, uint32_t stage) {
        fetch_tile(keys.rows[stage], k, key);
        fetch_tile(values.rows[stage], v, key);
        if constexpr (kMarks > 0) mark_tile(marks.rows[stage], places, key);
    };
    fetch(0, 0);
    Fragments<kDim> q, slopes;
    slopes.load(span.rows<kDim>(dy, tokens, heads, 1, 0), first);
    float along_sums[2], log_sum[2];
    {
        Fragments<kDim> out;
        out.load(span.rows<kDim>(y, tokens, heads, 1, 0), first);
        dot<kDim>(along_sums, slopes, out);
    }
#pragma unroll
    for (uint32_t half = 0; half < 2; ++half) {
        const uint32_t row = first + lane / 4 + half * 8;
        const size_t at = static_cast<size_t>(span.sequence) * tokens + row;
        log_sum[half] = row < tokens ? log_sums[at] * kLog2E : 0.0f;
        if (lane % 4 == 0 && row < tokens) along[at] = along_sums[half];
    }
    q.load(part(0), first);
    Fragments<kMarked> own_terms;
    if constexpr (kMarks > 0) own_terms.load(span.marked_rows<kMarks>(terms, tokens), first);
    float dq[kDim / 8][4], own_dterms[kMarked / 8][4];
    clear<kDim>(dq);
    clear<kMarked>(own_dterms);
    for (uint32_t key = 0, stage = 0; key < tokens; key += kKeys, stage ^= 1) {
        wait_for_copies();
        __syncthreads();
        if (key + kKeys < tokens) fetch(key + kKeys, stage ^ 1);
        if (idle) continue;
        const uint32_t count = min(tokens - key, kKeys);
#pragma unroll 1
        for (uint32_t chunk = 0; chunk < count; chunk += 16) {
            float ds[2][4], dp[2][4];
            dot_rows<kDim>(ds, q, keys.rows[stage] + chunk);
            if constexpr (kMarks > 0) add_dot_rows<kMarks>(ds, own_terms, marks.rows[stage] + chunk);
            dot_rows<kDim>(dp, slopes, values.rows[stage] + chunk);
#pragma unroll
            for (uint32_t n = 0; n < 2; ++n) {
#pragma unroll
                for (uint32_t i = 0; i < 4; ++i) {
                    const float p = power_of_two(fmaf(ds[n][i], scale * kLog2E, -log_sum[i / 2]));
                    // A key that is not there is zeros; its p, which is no probability, may be infinite.
                    const bool there = chunk + n * 8 + 2 * (lane % 4) + i % 2 < count;
                    ds[n][i] = there ? p * (dp[n][i] - along_sums[i / 2]) : 0.0f;
                }
            }
            add_weighted<kDim>(dq, ds, keys.rows[stage] + chunk);
            if constexpr (kMarks > 0) add_weighted<kMarks>(own_dterms, ds, marks.rows[stage] + chunk);
        }
    }
    __syncthreads();
    if (sums != nullptr) {
        write_sums<kDim>(dq, scale, tokens - span.first, &values, sums + span.sums_at<kDim>(tokens, heads, 0));
    }
    if (idle) return;
    const float factors[2] = {scale, scale};
    store_rows<kDim>(dq, factors, &keys.rows[0][0] + threadIdx.x / 32 * 16,
                     span.rows<kDim>(dqkv, tokens, heads, 3, 0), first);
    if constexpr (kMarks > 0) {
        const float ones[2] = {1.0f, 1.0f};
        store_rows<kMarks>(own_dterms, ones, &marks.rows[0][0] + threadIdx.x / 32 * 16,
                           span.marked_rows<kMarks>(dterms, tokens), first);
    }
}

// Writes dk and dv. Matrices are transposed here: rows are the block's keys, columns a tile's queries.
template <int kDim, int kMarks = 0, uint32_t kQueries = kTileRows<kDim>>
__device__ __forceinline__ void backward_keys(const bf16* qkv, const bf16* terms, const bf16* dy,
                                              const float* log_sums, const float* along, bf16* dqkv, float* sums,
                                              uint32_t tokens, uint32_t heads, float scale, const Places& places) {
    constexpr int kMarked = kMarksOrNone<kMarks>;
    __shared__ Stages<kDim, kQueries> queries, slopes;
    __shared__ Stages<kMarked, kMarks == 0 ? 1 : kQueries> query_terms;
    alignas(16) __shared__ float logs[2][kQueries];
    alignas(16) __shared__ float alongs[2][kQueries];
    const Span span(tokens, heads);
    const auto part = [&](uint32_t i) { return span.rows<kDim>(qkv, tokens, heads, 3, i); };
    const Rows<const bf16> q = part(0), out = span.rows<kDim>(dy, tokens, heads, 1, 0);
    log_sums += static_cast<size_t>(span.sequence) * tokens;
    along += static_cast<size_t>(span.sequence) * tokens;
    const uint32_t first = span.warp_row();
    const bool idle = first >= tokens;
    const auto fetch = [&](uint32_t query, uint32_t stage) {
        fetch_tile(queries.rows[stage], q, query);
        fetch_tile(slopes.rows[stage], out, query);
        if constexpr (kMarks > 0) {
            fetch_tile(query_terms.rows[stage], span.marked_rows<kMarks>(terms, tokens), query);
        }
        fetch_numbers(logs[stage], log_sums, query, tokens);
        fetch_numbers(alongs[stage], along, query, tokens);
    };
    fetch(0, 0);
    Fragments<kDim> k, v;
    k.load(part(1), first);
    v.load(part(2), first);
    Fragments<kMarked> own_marks;
    if constexpr (kMarks > 0) mark_rows(own_marks, places, first);
    float dk[kDim / 8][4], dv[kDim / 8][4];
    clear<kDim>(dk);
    clear<kDim>(dv);
    for (uint32_t query = 0, stage = 0; query < tokens; query += kQueries, stage ^= 1) {
        wait_for_copies();
        __syncthreads();
        if (query + kQueries < tokens) fetch(query + kQueries, stage ^ 1);
        if (idle) continue;
        const uint32_t count = min(tokens - query, kQueries);
#pragma unroll 1
        for (uint32_t chunk = 0; chunk < count; chunk += 16) {
            float p[2][4], ds[2][4];
            dot_rows<kDim>(p, k, queries.rows[stage] + chunk);
            if constexpr (kMarks > 0) add_dot_rows<kMarks>(p, own_marks, query_terms.rows[stage] + chunk);
            dot_rows<kDim>(ds, v, slopes.rows[stage] + chunk);
#pragma unroll
            for (uint32_t n = 0; n < 2; ++n) {
                const uint32_t column = chunk + n * 8 + 2 * (threadIdx.x % 4);
                const float2 log_sum = *reinterpret_cast<const float2*>(&logs[stage][column]);
                const float2 sum = *reinterpret_cast<const float2*>(&alongs[stage][column]);
#pragma unroll
                for (uint32_t i = 0; i < 4; ++i) {
                    const float log = i % 2 == 0 ? log_sum.x : log_sum.y;
                    p[n][i] = power_of_two(fmaf(p[n][i], scale * kLog2E, -log * kLog2E));
                    ds[n][i] = p[n][i] * (ds[n][i] - (i % 2 == 0 ? sum.x : sum.y));
                }
            }
            add_weighted<kDim>(dv, p, slopes.rows[stage] + chunk);
            add_weighted<kDim>(dk, ds, queries.rows[stage] + chunk);
        }
    }
    __syncthreads();
    const uint32_t count = tokens - span.first;
    Row<kDim>* staging = &queries.rows[0][0] + threadIdx.x / 32 * 16;
    const float scales[2] = {scale, scale}, ones[2] = {1.0f, 1.0f};
    if (sums != nullptr) write_sums<kDim>(dk, scale, count, &slopes, sums + span.sums_at<kDim>(tokens, heads, 1));
    if (!idle) store_rows<kDim>(dk, scales, staging, span.rows<kDim>(dqkv, tokens, heads, 3, 1), first);
    if (sums != nullptr) write_sums<kDim>(dv, 1.0f, count, &slopes, sums + span.sums_at<kDim>(tokens, heads, 2));
    if (!idle) store_rows<kDim>(dv, ones, staging, span.rows<kDim>(dqkv, tokens, heads, 3, 2), first);
}

}  // namespace

#define KAT_ATTENTION(dim)                                                                                         \
    extern "C" __global__ void __launch_bounds__(KAT_ATTENTION_THREADS)                                            \
        attention_backward_queries_##dim(const bf16* __restrict__ qkv, const bf16* __restrict__ y,                 \
                                         const bf16* __restrict__ dy, const float* __restrict__ log_sums,          \
                                         bf16* __restrict__ dqkv, float* __restrict__ along,                       \
                                         float* __restrict__ sums, uint32_t tokens, uint32_t heads, float scale) { \
        backward_queries<dim>(qkv, nullptr, y, dy, log_sums, dqkv, nullptr, along, sums, tokens, heads, scale,     \
                              {});                                                                                 \
    }                                                                                                              \
    extern "C" __global__ void __launch_bounds__(KAT_ATTENTION_THREADS)                                            \
        attention_backward_keys_##dim(const bf16* __restrict__ qkv, const bf16* __restrict__ dy,                   \
                                      const float* __restrict__ log_sums, const float* __restrict__ along,         \
                                      bf16* __restrict__ dqkv, float* __restrict__ sums, uint32_t tokens,          \
                                      uint32_t heads, float scale) {                                               \
        backward_keys<dim>(qkv, nullptr, dy, log_sums, along, dqkv, sums, tokens, heads, scale, {});               \
    }

KAT_ATTENTION(16)
KAT_ATTENTION(32)
KAT_ATTENTION(64)
KAT_ATTENTION(96)
KAT_ATTENTION(128)

// With relative positions of at most `marks` rows and columns of the grid together; tiles of `tile` rows.
#define KAT_RELATIVE_ATTENTION(dim, marks, tile)                                                                   \
    extern "C" __global__ void __launch_bounds__(KAT_ATTENTION_THREADS)                                            \
        attention_##dim##_relative_queries_##marks(                                                                \
            const bf16* __restrict__ qkv, const bf16* __restrict__ terms, const bf16* __restrict__ y,              \
            const bf16* __restrict__ dy, const float* __restrict__ log_sums, bf16* __restrict__ dqkv,              \
            bf16* __restrict__ dterms, float* __restrict__ along, uint32_t tokens, uint32_t heads, uint32_t rows,  \
            uint32_t columns, float scale) {                                                                       \
        backward_queries<dim, marks, tile>(qkv, terms, y, dy, log_sums, dqkv, dterms, along, nullptr, tokens,      \
                                           heads, scale, {rows, columns});                                         \
    }                                                                                                              \
    extern "C" __global__ void __launch_bounds__(KAT_ATTENTION_THREADS)                                            \
        attention_##dim##_relative_keys_##marks(                                                                   \
            const bf16* __restrict__ qkv, const bf16* __restrict__ terms, const bf16* __restrict__ dy,             \
            const float* __restrict__ log_sums, const float* __restrict__ along, bf16* __restrict__ dqkv,          \
            uint32_t tokens, uint32_t heads, uint32_t rows, uint32_t columns, float scale) {                       \
        backward_keys<dim, marks, tile>(qkv, terms, dy, log_sums, along, dqkv, nullptr, tokens, heads, scale,      \
                                        {rows, columns});                                                          \
    }

KAT_RELATIVE_ATTENTIONS

// What the launches see to before they launch: the least values of each buffer.
// lengths attention_backward_*: qkv grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * suffix * 3; y grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * suffix; dy grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * suffix; log_sums grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens; dqkv grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * suffix * 3; along grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens; sums grid.0[0] * suffix * 3
// lengths attention_16_relative_queries_*: qkv grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 16 * 3; y grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 16; dy grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 16; log_sums grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens; dqkv grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 16 * 3; along grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens; terms grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * suffix; dterms grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * suffix
// lengths attention_16_relative_keys_*: qkv grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 16 * 3; y grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 16; dy grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 16; log_sums grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens; dqkv grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 16 * 3; along grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens; terms grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * suffix; dterms grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * suffix
// lengths attention_32_relative_queries_*: qkv grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 32 * 3; y grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 32; dy grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 32; log_sums grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens; dqkv grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 32 * 3; along grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens; terms grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * suffix; dterms grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * suffix
// lengths attention_32_relative_keys_*: qkv grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 32 * 3; y grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 32; dy grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 32; log_sums grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens; dqkv grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 32 * 3; along grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens; terms grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * suffix; dterms grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * suffix
// lengths attention_64_relative_queries_*: qkv grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 64 * 3; y grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 64; dy grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 64; log_sums grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens; dqkv grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 64 * 3; along grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens; terms grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * suffix; dterms grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * suffix
// lengths attention_64_relative_keys_*: qkv grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 64 * 3; y grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 64; dy grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 64; log_sums grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens; dqkv grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * 64 * 3; along grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens; terms grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * suffix; dterms grid.0[0] / tokens.div_ceil(mirrored::ATTENTION_ROWS).max(1) * tokens * suffix
