// Sequences of tokens.
#include "rows.h"

using kat::bf16;
using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

using kat::each_of_rows;
using kat::pack_at;

namespace {

template <typename T>
__device__ __forceinline__ void prepend(const float* __restrict__ prefix, const T* __restrict__ x, float* __restrict__ y,
                                        uint64_t n, uint64_t prefix_len, uint64_t sequence_len) {
    const bool whole = prefix_len % 4 == 0 && sequence_len % 4 == 0;
    each_of_rows(n, prefix_len + sequence_len, whole, [&](uint64_t i, auto width, uint64_t row, uint64_t at) {
        constexpr int V = decltype(width)::value;
        float v[V];
        if (at < prefix_len) {
            kat::widen(pack_at<V>(prefix, at), v);
        } else {
            kat::widen(pack_at<V>(x, row * sequence_len + at - prefix_len), v);
        }
        kat::put_pack<V>(y, i, kat::rounded<float>(v));
    });
}

}  // namespace

// prefix (one for all) before each sequence; sizes in values.
KAT_KERNEL prepend_rows(const float* prefix, const float* x, float* y, uint64_t n, uint64_t prefix_len,
                        uint64_t sequence_len) {
    prepend(prefix, x, y, n, prefix_len, sequence_len);
}

KAT_KERNEL prepend_rows_bf16(const float* prefix, const bf16* x, float* y, uint64_t n, uint64_t prefix_len,
                             uint64_t sequence_len) {
    prepend(prefix, x, y, n, prefix_len, sequence_len);
}

// What the launches see to before they launch: the least values of each buffer.
// lengths prepend_rows*: prefix prefix_len.min(n); x n / (prefix_len + sequence_len).max(1) * sequence_len; y n
