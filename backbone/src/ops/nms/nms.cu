// Greedy suppression of boxes in runs (classes or levels), each in its order of visit. First which box suppresses which, as
// bits; then a block a run goes through its boxes. The overlap is that of ops/nms/cpu.rs, bit for bit: no operation is
// fused with another.
#include "common.h"

using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

namespace {

constexpr uint32_t kBits = 64;  // boxes of a word

// A run's first box, its boxes, its first word of bits; RUN of ops/nms/cuda.rs.
struct Run {
    uint32_t first, len, words;
};

__device__ __forceinline__ float area(float4 b) { return __fmul_rn(__fsub_rn(b.z, b.x), __fsub_rn(b.w, b.y)); }

__device__ __forceinline__ bool overlaps(float4 a, float4 b, float threshold) {
    const float right = a.z < b.z ? a.z : b.z, left = a.x > b.x ? a.x : b.x;
    const float bottom = a.w < b.w ? a.w : b.w, top = a.y > b.y ? a.y : b.y;
    float w = __fsub_rn(right, left), h = __fsub_rn(bottom, top);
    w = w > 0.0f ? w : 0.0f;
    h = h > 0.0f ? h : 0.0f;
    const float shared = __fmul_rn(w, h);
    return __fdiv_rn(shared, __fsub_rn(__fadd_rn(area(a), area(b)), shared)) > threshold;
}

}  // namespace

// bits: for each run (words of boxes, boxes), so that neighbors write neighbors: bit j of (word, i) says that box i
// suppresses box word · 64 + j, which comes after it. The last of `runs` ends the list.
KAT_KERNEL nms_overlaps(const float* __restrict__ boxes, const uint32_t* __restrict__ runs, uint64_t* __restrict__ bits,
                        uint32_t count, uint32_t words, float threshold) {
    const Run* list = reinterpret_cast<const Run*>(runs);
    KAT_EACH(at, words) {
        uint32_t low = 0, high = count;
        while (high - low > 1) {
            const uint32_t middle = (low + high) / 2;
            (list[middle].words <= at ? low : high) = middle;
        }
        const Run run = list[low];
        const float4* own = reinterpret_cast<const float4*>(boxes) + run.first;
        const uint32_t place = static_cast<uint32_t>(at) - run.words;
        const uint32_t i = place % run.len, first = place / run.len * kBits;
        uint64_t word = 0;
        if (first + kBits > i + 1) {
            const float4 box = own[i];
            for (uint32_t j = max(first, i + 1); j < min(first + kBits, run.len); ++j) {
                if (overlaps(box, own[j], threshold)) word |= uint64_t{1} << (j - first);
            }
        }
        bits[at] = word;
    }
}

// A block a run: kept[place of the run's words of boxes] has a bit for each box that stays. `gone` is memory of as many
// words.
KAT_KERNEL nms_sweep(const uint64_t* __restrict__ bits, const uint32_t* __restrict__ runs,
                     const uint32_t* __restrict__ places, uint64_t* gone, uint64_t* kept) {
    __shared__ uint64_t within[kBits];
    const Run run = reinterpret_cast<const Run*>(runs)[blockIdx.x];
    const uint32_t words = (run.len + kBits - 1) / kBits, first = places[blockIdx.x];
    bits += run.words;
    gone += first;
    for (uint32_t w = threadIdx.x; w < words; w += kBlock) gone[w] = 0;
    __syncthreads();
    for (uint32_t block = 0; block < words; ++block) {
        const uint32_t len = min(run.len - block * kBits, kBits);
        const uint64_t* rows = bits + block * kBits;
        if (threadIdx.x < len) within[threadIdx.x] = rows[static_cast<uint64_t>(block) * run.len + threadIdx.x];
        __syncthreads();
        // every thread settles the block's boxes, one after the other
        uint64_t dropped = gone[block], stay = 0;
        for (uint32_t k = 0; k < len; ++k) {
            if (dropped >> k & 1) continue;
            stay |= uint64_t{1} << k;
            dropped |= within[k];
        }
        for (uint32_t w = block + 1 + threadIdx.x; w < words; w += kBlock) {
            uint64_t word = gone[w];
            for (uint64_t rest = stay; rest != 0; rest &= rest - 1) {
                word |= rows[static_cast<uint64_t>(w) * run.len + __ffsll(rest) - 1];
            }
            gone[w] = word;
        }
        if (threadIdx.x == 0) kept[first + block] = stay;
        __syncthreads();
    }
}

// What the launches see to before they launch: the least values of each buffer.
// lengths nms_overlaps: boxes 0; runs 3 * count; bits words
// lengths nms_sweep: bits 0; runs 3 * grid.0[0]; places grid.0[0]; gone 0; kept 0
