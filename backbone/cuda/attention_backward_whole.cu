// Fused attention, backward, of sequences that one block holds whole (up to 224 tokens: an image of 224 pixels has 197), in
// five products rather than the seven of attention_backward.cu, which takes any length.
//
// A warp has 16 keys: its part of k as fragments, dk and dv as sums in registers. The block walks over the queries,
// 32 at a time; what ds = p ∘ (dy vᵀ - Σ dy y) the warps make of a tile goes to shared memory, and eight of them multiply
// it by k to dq while the others go on with the next tile. Nothing is added by atomics: the same bits every time.
//   p = exp(scale q kᵀ - log_sum)   dv = pᵀ dy   dq = scale ds k   dk = scale dsᵀ q
// Queries beyond the last are zeros, also in log_sums, and add nothing: p is 1 there, dy and ds are 0.
#include "attention_tiles.h"

// Of the kernel; the build script takes the number from its launch bounds.
#define KAT_WHOLE_THREADS 448

namespace {

using namespace kat;

constexpr uint32_t kWarps = KAT_WHOLE_THREADS / 32;
constexpr uint32_t kKeys = kWarps * 16;
static_assert(kKeys == 224, "rust: WHOLE_TOKENS");
constexpr uint32_t kQueries = 32;
// Warps that multiply ds by k: of 16 queries and a quarter of the channels each.
constexpr uint32_t kQueryWarps = 8;

// The ds of a key: a value for each query of a tile, and as many more that eight rows lie in different banks.
struct alignas(16) SlopeRow {
    bf16 v[kQueries + 8];
};

template <int kDim>
struct Shared {
    Row<kDim> keys[kKeys], values[kKeys];
    Row<kDim> queries[2][kQueries], slopes[2][kQueries];
    SlopeRow ds[2][kKeys];
    alignas(16) float logs[kKeys];  // of the rows' sums, times log2(e)
    alignas(16) float sums[kKeys];  // Σ dy y
};
static_assert(sizeof(Shared<64>) == 120576, "rust: WHOLE_SHARED_BYTES");

// Begins to copy `count` rows from `first` on, a multiple of 16; zeros beyond the last.
template <int kDim>
__device__ __forceinline__ void fetch_rows(Row<kDim>* to, const Rows<const bf16>& from, uint32_t first,
                                           uint32_t count) {
    constexpr uint32_t kPacks = kDim / 8;
    for (uint32_t i = threadIdx.x; i < count * kPacks; i += KAT_WHOLE_THREADS) {
        const uint32_t row = i / kPacks, pack = i % kPacks * 8;
        const bool there = first + row < from.count;
        copy_pack(&to[row].v[pack], from.at(there ? first + row : 0) + pack, there);
    }
}

// Σ dy y of this warp's 16 rows, to `sums`: 16 bytes a lane, as many lanes as a row has packs.
template <int kDim>
__device__ __forceinline__ void row_products(float* sums, const Rows<const bf16>& a, const Rows<const bf16>& b,
                                             uint32_t first) {
    constexpr uint32_t kPacks = kDim / 8, kAtOnce = 32 / kPacks;
    const uint32_t lane = threadIdx.x % 32, pack = lane % kPacks * 8;
#pragma unroll
    for (uint32_t i = 0; i < 16; i += kAtOnce) {
        const uint32_t row = first + i + lane / kPacks;
        float sum = 0.0f;
        if (row < a.count) {
            float left[8], right[8];
            widen(pack_at<8>(a.at(row), pack), left);
            widen(pack_at<8>(b.at(row), pack), right);
#pragma unroll
            for (int k = 0; k < 8; ++k) sum = fmaf(left[k], right[k], sum);
        }
#pragma unroll
        for (uint32_t step = kPacks / 2; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
        if (pack == 0) sums[row] = sum;
    }
}

// c (16 × 16) = a bᵀ with 16 rows in shared memory as a and 16 rows of a tile as b.
template <int kDim>
__device__ __forceinline__ void dot_shared(float (&c)[2][4], const Row<kDim>* a, const Row<kDim>* b) {
    const uint32_t lane = threadIdx.x % 32;
    const bf16* left = a[lane % 16].v + lane / 16 * 8;
    const bf16* right = b[lane / 16 * 8 + lane % 8].v + lane / 8 % 2 * 8;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) c[n][i] = 0.0f;
    }
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
        uint32_t l[4], r[4];
        load_matrices(l, left + k * 16);
        load_matrices(r, right + k * 16);
        multiply_add(c[0], l, r[0], r[1]);
        multiply_add(c[1], l, r[2], r[3]);
    }
}

// c (16 × D) += a (16 × 16) b with 16 rows of a tile as b.
template <int kDim>
__device__ __forceinline__ void add_product(float (&c)[kDim / 8][4], const uint32_t (&a)[4], const Row<kDim>* b) {
    const uint32_t lane = threadIdx.x % 32;
    const bf16* row = b[lane % 16].v + lane / 16 * 8;
#pragma unroll
    for (int d = 0; d < kDim / 16; ++d) {
        uint32_t r[4];
        load_transposed(r, row + d * 16);
        multiply_add(c[2 * d], a, r[0], r[1]);
        multiply_add(c[2 * d + 1], a, r[2], r[3]);
    }
}

// dq of 16 of a tile's queries and a quarter of the channels, over all keys; by one warp, `unit` of kQueryWarps.
template <int kDim>
__device__ __forceinline__ void query_gradient(const Shared<kDim>& shared, uint32_t tile, uint32_t unit,
                                               const Rows<bf16>& to, float scale) {
    constexpr uint32_t kColumns = kDim / 4;
    const uint32_t lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const uint32_t half = unit / 4, column = unit % 4 * kColumns;
    const SlopeRow* ds = shared.ds[tile % 2];
    float c[kColumns / 8][4] = {};
    // rows of ds are keys: transposed, they are the left factor
    const bf16* left = ds[lane / 16 * 8 + lane % 8].v + half * 16 + lane / 8 % 2 * 8;
    const bf16* right = shared.keys[lane % 16].v + lane / 16 * 8 + column;
    const uint32_t chunks = (to.count + 15) / 16;
#pragma unroll 4
    for (uint32_t chunk = 0; chunk < chunks; ++chunk) {
        uint32_t a[4];
        load_transposed(a, left + chunk * 16 * (sizeof(SlopeRow) / sizeof(bf16)));
#pragma unroll
        for (int d = 0; d < static_cast<int>(kColumns / 16); ++d) {
            uint32_t r[4];
            load_transposed(r, right + chunk * 16 * (sizeof(Row<kDim>) / sizeof(bf16)) + d * 16);
            multiply_add(c[2 * d], a, r[0], r[1]);
            multiply_add(c[2 * d + 1], a, r[2], r[3]);
        }
    }
#pragma unroll
    for (uint32_t i = 0; i < 2; ++i) {
        const uint32_t row = tile * kQueries + half * 16 + g + i * 8;
        if (row >= to.count) continue;
        uint32_t* pairs = reinterpret_cast<uint32_t*>(to.at(row) + column) + t;
#pragma unroll
        for (uint32_t n = 0; n < kColumns / 8; ++n) pairs[n * 4] = pack(c[n][2 * i] * scale, c[n][2 * i + 1] * scale);
    }
}

template <int kDim>
__device__ __forceinline__ void backward(Shared<kDim>& shared, const bf16* qkv, const bf16* y, const bf16* dy,
                                         const float* log_sums, bf16* dqkv, uint32_t tokens, uint32_t heads,
                                         float scale) {
    const uint32_t lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, warp = threadIdx.x / 32;
    const uint32_t first = threadIdx.x / 32 * 16;  // of this warp's keys, and of the queries whose sums it makes
    const uint32_t image = blockIdx.x / heads, head = blockIdx.x % heads;
    const auto rows = [&](auto* x, uint32_t parts, uint32_t part) {
        const size_t stride = static_cast<size_t>(parts) * heads * kDim;
        using T = std::remove_pointer_t<decltype(x)>;
        return Rows<T>{x + static_cast<size_t>(image) * tokens * stride +
                           (static_cast<size_t>(part) * heads + head) * kDim,
                       stride, tokens};
    };
    const auto fetch = [&](uint32_t tile) {
        fetch_rows<kDim>(shared.queries[tile % 2], rows(qkv, 3, 0), tile * kQueries, kQueries);
        fetch_rows<kDim>(shared.slopes[tile % 2], rows(dy, 1, 0), tile * kQueries, kQueries);
    };
    fetch_rows<kDim>(shared.keys, rows(qkv, 3, 1), 0, kKeys);
    fetch_rows<kDim>(shared.values, rows(qkv, 3, 2), 0, kKeys);
    fetch(0);
    {
        const Rows<const bf16> outputs = rows(y, 1, 0);
        const float* logs = log_sums + static_cast<size_t>(blockIdx.x) * tokens;
        row_products<kDim>(shared.sums, rows(dy, 1, 0), outputs, first);
        for (uint32_t i = threadIdx.x; i < kKeys; i += KAT_WHOLE_THREADS) {
            shared.logs[i] = i < tokens ? logs[i] * kLog2E : 0.0f;
        }
    }
    wait_for_copies();
    __syncthreads();
    Fragments<kDim> k;
#pragma unroll
    for (int i = 0; i < kDim / 16; ++i) {
        load_matrices(k.v[i], shared.keys[first + lane % 16].v + lane / 16 * 8 + i * 16);
    }
    float dk[kDim / 8][4] = {}, dv[kDim / 8][4] = {};
    const int here = static_cast<int>(tokens) - static_cast<int>(first + g);  // this lane's keys below it are there
    const uint32_t tiles = (tokens + kQueries - 1) / kQueries;
    for (uint32_t tile = 0; tile < tiles; ++tile) {
        wait_for_copies();
        // The tile is there, all have made the one before, and dq of the one before that.
        __syncthreads();
        if (tile + 1 < tiles) fetch(tile + 1);
        if (tile > 0 && warp < kQueryWarps) query_gradient<kDim>(shared, tile - 1, warp, rows(dqkv, 3, 0), scale);
        if (first >= tokens) continue;  // a warp without keys has its share of the copies all the same
#pragma unroll 1
        for (uint32_t chunk = 0; chunk < kQueries; chunk += 16) {
            const Row<kDim>* queries = shared.queries[tile % 2] + chunk;
            const Row<kDim>* slopes = shared.slopes[tile % 2] + chunk;
            // p and ds as products give them and the next ones take them: queries of both halves
            uint32_t weights[4], gradients[4];
            SlopeRow* own = shared.ds[tile % 2] + first + g;
            float p[2][4], ds[2][4];
            // in the order in which each target has registers for all
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
            dot_rows<kDim>(p, k, queries);
            dot_shared<kDim>(ds, shared.values + first, slopes);
#else
            dot_shared<kDim>(ds, shared.values + first, slopes);
            dot_rows<kDim>(p, k, queries);
#endif
#pragma unroll
            for (uint32_t n = 0; n < 2; ++n) {
                const uint32_t query = tile * kQueries + chunk + n * 8 + 2 * t;
                const float2 log = *reinterpret_cast<const float2*>(&shared.logs[query]);
                const float2 sum = *reinterpret_cast<const float2*>(&shared.sums[query]);
#pragma unroll
                for (uint32_t i = 0; i < 4; ++i) {
                    // A key that is not there is zeros; its p, which is no probability, may be infinite.
                    const bool there = static_cast<int>(i / 2 * 8) < here;
                    p[n][i] = power_of_two(fmaf(p[n][i], scale * kLog2E, i % 2 == 0 ? -log.x : -log.y));
                    ds[n][i] = there ? p[n][i] * (ds[n][i] - (i % 2 == 0 ? sum.x : sum.y)) : 0.0f;
                }
#pragma unroll
                for (uint32_t i = 0; i < 2; ++i) {
                    weights[2 * n + i] = pack(p[n][2 * i], p[n][2 * i + 1]);
                    gradients[2 * n + i] = pack(ds[n][2 * i], ds[n][2 * i + 1]);
                    reinterpret_cast<uint32_t*>(own[i * 8].v)[(chunk + n * 8) / 2 + t] = gradients[2 * n + i];
                }
            }
            add_product<kDim>(dv, weights, slopes);
            add_product<kDim>(dk, gradients, queries);
        }
    }
    __syncthreads();
    if (warp < kQueryWarps) query_gradient<kDim>(shared, tiles - 1, warp, rows(dqkv, 3, 0), scale);
    // The keys are read no more: 16 rows for each warp.
    __syncthreads();
    Row<kDim>* staging = shared.keys + warp * 16;
    const float scales[2] = {scale, scale}, ones[2] = {1.0f, 1.0f};
    store_rows<kDim>(dk, scales, staging, rows(dqkv, 3, 1), first);
    store_rows<kDim>(dv, ones, staging, rows(dqkv, 3, 2), first);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(KAT_WHOLE_THREADS)
    attention_backward_whole_64(const bf16* __restrict__ qkv, const bf16* __restrict__ y, const bf16* __restrict__ dy,
                                const float* __restrict__ log_sums, bf16* __restrict__ dqkv, uint32_t tokens,
                                uint32_t heads, float scale) {
    KAT_DYNAMIC_SHARED(Shared<64>, shared);
    backward<64>(shared, qkv, y, dy, log_sums, dqkv, tokens, heads, scale);
}
