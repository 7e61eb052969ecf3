// Dropout with the random numbers of the CPU's kernel: ChaCha with 8 rounds (Bernstein, 2008), whose stream k gives the
// numbers of the k-th 16,384 elements, one word each.
#include "common.h"

using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

namespace {

constexpr uint32_t kWords = 16;                       // of one ChaCha block
constexpr uint32_t kStreamBlocks = 16 * 1024 / kWords;
static_assert(kStreamBlocks * kWords == 16384, "rust: GRAIN");

__device__ __forceinline__ uint32_t rotated(uint32_t v, int bits) { return v << bits | v >> (32 - bits); }

__device__ __forceinline__ void quarter_round(uint32_t& a, uint32_t& b, uint32_t& c, uint32_t& d) {
    a += b;
    d = rotated(d ^ a, 16);
    c += d;
    b = rotated(b ^ c, 12);
    a += b;
    d = rotated(d ^ a, 8);
    c += d;
    b = rotated(b ^ c, 7);
}

}  // namespace

// A thread has the 16 elements of one ChaCha block. An element is kept where its word's upper 24 bits, as a fraction,
// are not below `rate`.
KAT_KERNEL dropout(float* __restrict__ x, uint64_t n, float rate, float scale, uint64_t key0, uint64_t key1,
                   uint64_t key2, uint64_t key3) {
    KAT_EACH(block, (n + kWords - 1) / kWords) {
        const uint64_t stream = block / kStreamBlocks;
        const uint64_t keys[4] = {key0, key1, key2, key3};
        uint32_t start[kWords] = {0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            start[4 + 2 * i] = static_cast<uint32_t>(keys[i]);
            start[5 + 2 * i] = static_cast<uint32_t>(keys[i] >> 32);
        }
        start[12] = block % kStreamBlocks;
        start[13] = 0;
        start[14] = static_cast<uint32_t>(stream);
        start[15] = static_cast<uint32_t>(stream >> 32);
        uint32_t v[kWords];
#pragma unroll
        for (uint32_t i = 0; i < kWords; ++i) v[i] = start[i];
#pragma unroll
        for (int round = 0; round < 8; round += 2) {
            quarter_round(v[0], v[4], v[8], v[12]);
            quarter_round(v[1], v[5], v[9], v[13]);
            quarter_round(v[2], v[6], v[10], v[14]);
            quarter_round(v[3], v[7], v[11], v[15]);
            quarter_round(v[0], v[5], v[10], v[15]);
            quarter_round(v[1], v[6], v[11], v[12]);
            quarter_round(v[2], v[7], v[8], v[13]);
            quarter_round(v[3], v[4], v[9], v[14]);
        }
        const uint64_t first = block * kWords;
#pragma unroll
        for (uint32_t i = 0; i < kWords; ++i) {
            if (first + i >= n) break;
            const float uniform = static_cast<float>((v[i] + start[i]) >> 8) * (1.0f / (1 << 24));
            x[first + i] = uniform < rate ? 0.0f : x[first + i] * scale;
        }
    }
}

// What the launches see to before they launch: the least values of each buffer.
// lengths dropout: x n
