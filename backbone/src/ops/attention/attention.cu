// What attention needs beside cuBLAS's products: heads apart and together, softmax with the relative terms, and the
// gradients at those. Letters: S (batch · heads) sequences of N tokens, D channels a head.
#include <math_constants.h>

#include "common.h"

using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

// The place of (sequence, token, channel) in rows of `parts` · heads · D values, of which this is part `part`.
__device__ __forceinline__ uint64_t packed(uint64_t i, uint32_t tokens, uint32_t heads, uint32_t dim, uint32_t parts,
                                           uint32_t part) {
    const uint32_t d = i % dim;
    i /= dim;
    const uint32_t token = i % tokens;
    i /= tokens;
    const uint32_t head = i % heads;
    const uint64_t batch = i / heads;
    return (((batch * tokens + token) * parts + part) * heads + head) * dim + d;
}

// (S, N, D) of part `part` of x (B, N, parts, heads, D).
KAT_KERNEL split_heads(const float* __restrict__ x, float* __restrict__ y, uint64_t n, uint32_t tokens,
                       uint32_t heads, uint32_t dim, uint32_t parts, uint32_t part) {
    KAT_EACH(i, n) y[i] = x[packed(i, tokens, heads, dim, parts, part)];
}

// The reverse, into one part of y.
KAT_KERNEL join_heads(const float* __restrict__ x, float* __restrict__ y, uint64_t n, uint32_t tokens,
                      uint32_t heads, uint32_t dim, uint32_t parts, uint32_t part) {
    KAT_EACH(i, n) y[packed(i, tokens, heads, dim, parts, part)] = x[i];
}

// The place of a query along one axis of the grid: rows (stride = columns, size = rows) or columns (stride 1).
__device__ __forceinline__ uint32_t along_axis(uint32_t token, uint32_t stride, uint32_t size) {
    return token / stride % size;
}

// terms (S, N, size): q · table[at - other + size - 1] for each other place along the axis.
KAT_KERNEL relative_terms(const float* __restrict__ q, const float* __restrict__ table, float* __restrict__ terms,
                          uint64_t n, uint32_t tokens, uint32_t dim, uint32_t stride, uint32_t size) {
    KAT_EACH(i, n) {
        const uint32_t other = i % size;
        const uint64_t row = i / size;
        const uint32_t at = along_axis(row % tokens, stride, size);
        const float* a = q + row * dim;
        const float* b = table + static_cast<uint64_t>(at + size - 1 - other) * dim;
        float sum = 0.0f;
        for (uint32_t d = 0; d < dim; ++d) sum = fmaf(a[d], b[d], sum);
        terms[i] = sum;
    }
}

__device__ __forceinline__ float logit(const float* row, const float* rows_term, const float* columns_term,
                                       uint32_t key, uint32_t columns) {
    float v = row[key];
    if (rows_term != nullptr) v += rows_term[key / columns] + columns_term[key % columns];
    return v;
}

// A warp a query: scores (S, N, N), already scaled, become probabilities; log_sums (S, N).
KAT_KERNEL attention_softmax(float* scores, const float* __restrict__ optional_rows,
                             const float* __restrict__ optional_columns, float* __restrict__ log_sums, uint64_t queries,
                             uint32_t tokens, uint32_t rows, uint32_t columns) {
    const uint32_t lane = threadIdx.x % 32;
    KAT_EACH_WARP(query, queries) {
        float* row = scores + query * tokens;
        const float* by_row = optional_rows == nullptr ? nullptr : optional_rows + query * rows;
        const float* by_column = optional_columns == nullptr ? nullptr : optional_columns + query * columns;
        float greatest = -CUDART_INF_F;
        for (uint32_t k = lane; k < tokens; k += 32) {
            const float v = logit(row, by_row, by_column, k, columns);
            row[k] = v;
            greatest = fmaxf(greatest, v);
        }
        greatest = kat::warp_max(greatest);
        float sum = 0.0f;
        for (uint32_t k = lane; k < tokens; k += 32) sum += expf(row[k] - greatest);
        sum = kat::warp_sum(sum);
        const float inverse = 1.0f / sum;
        for (uint32_t k = lane; k < tokens; k += 32) row[k] = expf(row[k] - greatest) * inverse;
        if (lane == 0) log_sums[query] = greatest + logf(sum);
    }
}

// As the softmax, from the sums that it kept: scores become probabilities again.
KAT_KERNEL attention_probabilities(float* scores, const float* __restrict__ optional_rows,
                                   const float* __restrict__ optional_columns, const float* __restrict__ log_sums,
                                   uint64_t queries, uint32_t tokens, uint32_t rows, uint32_t columns) {
    const uint32_t lane = threadIdx.x % 32;
    KAT_EACH_WARP(query, queries) {
        float* row = scores + query * tokens;
        const float* by_row = optional_rows == nullptr ? nullptr : optional_rows + query * rows;
        const float* by_column = optional_columns == nullptr ? nullptr : optional_columns + query * columns;
        const float log_sum = log_sums[query];
        for (uint32_t k = lane; k < tokens; k += 32) {
            row[k] = expf(logit(row, by_row, by_column, k, columns) - log_sum);
        }
    }
}

// dp becomes the gradient at the logits: p (dp - Σ p dp).
KAT_KERNEL attention_logit_gradient(const float* __restrict__ p, float* dp, uint64_t queries, uint32_t tokens) {
    const uint32_t lane = threadIdx.x % 32;
    KAT_EACH_WARP(query, queries) {
        const float* at = p + query * tokens;
        float* slope = dp + query * tokens;
        float along = 0.0f;
        for (uint32_t k = lane; k < tokens; k += 32) along += at[k] * slope[k];
        along = kat::warp_sum(along);
        for (uint32_t k = lane; k < tokens; k += 32) slope[k] = at[k] * (slope[k] - along);
    }
}

// out (S, N, size): the logits' gradients summed over the keys at each place along the axis.
KAT_KERNEL relative_term_gradient(const float* __restrict__ dlogits, float* __restrict__ out, uint64_t n,
                                  uint32_t tokens, uint32_t stride, uint32_t size) {
    KAT_EACH(i, n) {
        const uint32_t other = i % size;
        const float* row = dlogits + i / size * tokens;
        float sum = 0.0f;
        for (uint32_t first = other * stride; first < tokens; first += stride * size) {
            for (uint32_t k = 0; k < stride; ++k) sum += row[first + k];
        }
        out[i] = sum;
    }
}

// dq (S, N, D) += Σ_other dterms[other] table[at - other + size - 1].
KAT_KERNEL relative_query_gradient(const float* __restrict__ dterms, const float* __restrict__ table, float* dq,
                                   uint64_t n, uint32_t tokens, uint32_t dim, uint32_t stride, uint32_t size) {
    KAT_EACH(i, n) {
        const uint32_t d = i % dim;
        const uint64_t row = i / dim;
        const uint32_t at = along_axis(row % tokens, stride, size);
        float sum = dq[i];
        for (uint32_t other = 0; other < size; ++other) {
            sum = fmaf(dterms[row * size + other], table[static_cast<uint64_t>(at + size - 1 - other) * dim + d], sum);
        }
        dq[i] = sum;
    }
}

// The gradient at the table, added to it: a block a row of the table and a channel. The order of additions is that of
// threads and warps: the same bits every time.
KAT_KERNEL relative_table_gradient(const float* __restrict__ dterms, const float* __restrict__ q, float* dtable,
                                   uint64_t queries, uint32_t tokens, uint32_t dim, uint32_t stride, uint32_t size) {
    const uint32_t d = blockIdx.x % dim, offset = blockIdx.x / dim;
    double sum = 0.0;
    for (uint64_t row = threadIdx.x; row < queries; row += kBlock) {
        const uint32_t at = along_axis(row % tokens, stride, size);
        const uint32_t other = at + size - 1 - offset;  // wraps far above size where the offset does not occur
        if (other < size) sum += static_cast<double>(dterms[row * size + other]) * q[row * dim + d];
    }
    sum = kat::block_sum(sum);
    if (threadIdx.x == 0) dtable[blockIdx.x] += static_cast<float>(sum);
}

// What the launches see to before they launch: the least values of each buffer.
// lengths split_heads: x n * parts; y n
// lengths join_heads: x n; y n * parts
// lengths relative_terms: q n / size.max(1) * dim; table (2 * size - 1) * dim; terms n
// lengths attention_softmax attention_probabilities: scores queries * tokens; optional_rows queries * rows; optional_columns queries * columns; log_sums queries
// lengths attention_logit_gradient: p queries * tokens; dp queries * tokens
// lengths relative_term_gradient: dlogits n / size.max(1) * tokens; out n
// lengths relative_query_gradient: dterms n / dim.max(1) * size; table (2 * size - 1) * dim; dq n
// lengths relative_table_gradient: dterms queries * size; q queries * dim; dtable (2 * size - 1) * dim
