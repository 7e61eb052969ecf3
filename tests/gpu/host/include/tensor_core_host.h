// The instructions of tensor_core.h on the fibers: the same layouts over the lanes of a warp, written down
// once more from PTX's documentation. Addresses that the GPU would refuse end the program, and copies are made at the
// wait for them and not before.
#pragma once

namespace kat {

inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    const auto words = [](uint32_t low, uint32_t high) { return static_cast<uint64_t>(high) << 32 | low; };
    kat_host::mine(0) = words(a[0], a[2]);
    kat_host::mine(1) = words(a[1], a[3]);
    kat_host::mine(2) = words(b0, b1);
    kat_host::warp_barrier(0xffffffffu);
    const uint32_t g = kat_host::lane() / 4, t = kat_host::lane() % 4;
    // Value k of a row or a column that four neighbouring lanes hold, two in each half of their words.
    const auto spread = [](float (&out)[16], uint32_t owner, uint32_t word) {
        for (uint32_t i = 0; i < 4; ++i) {
            const uint64_t both = kat_host::theirs(4 * owner + i, word);
            for (uint32_t k = 0; k < 4; ++k) {
                out[2 * i + k % 2 + k / 2 * 8] = __uint_as_float(static_cast<uint32_t>(both >> 16 * k & 0xffff) << 16);
            }
        }
    };
    float rows[2][16], columns[2][16];
    for (uint32_t i = 0; i < 2; ++i) {
        spread(rows[i], g, i);
        spread(columns[i], 2 * t + i, 2);
    }
    for (uint32_t i = 0; i < 4; ++i) {
        float sum = 0.0f;
        for (uint32_t k = 0; k < 16; ++k) sum += rows[i / 2][k] * columns[i % 2][k];
        c[i] += sum;
    }
}

inline void load_matrices(uint32_t (&r)[4], const bf16* row) {
    const uint32_t g = kat_host::lane() / 4, t = kat_host::lane() % 4;
    kat_host::mine() = kat_host::aligned(row, 16);
    kat_host::warp_barrier(0xffffffffu);
    for (uint32_t i = 0; i < 4; ++i) memcpy(&r[i], reinterpret_cast<bf16*>(kat_host::theirs(8 * i + g)) + 2 * t, 4);
}

inline void load_transposed(uint32_t (&r)[4], const bf16* row) {
    const uint32_t g = kat_host::lane() / 4, t = kat_host::lane() % 4;
    kat_host::mine() = kat_host::aligned(row, 16);
    kat_host::warp_barrier(0xffffffffu);
    for (uint32_t i = 0; i < 4; ++i) {
        const auto value = [&](uint32_t from) {
            return static_cast<uint32_t>(reinterpret_cast<bf16*>(kat_host::theirs(8 * i + from))[g].bits);
        };
        r[i] = value(2 * t) | value(2 * t + 1) << 16;
    }
}

inline void copy_pack(void* shared, const void* global, bool there) {
    kat_host::copy_later(shared, global, 16, there);
}
inline void copy_number(float* shared, const float* global, bool there) {
    kat_host::copy_later(shared, global, 4, there);
}
inline void wait_for_copies() { kat_host::make_copies(); }

inline uint32_t pack(float low, float high) {
    return static_cast<uint32_t>(__float2bfloat16_rn(high).bits) << 16 | __float2bfloat16_rn(low).bits;
}
inline float power_of_two(float v) { return exp2f(v); }

}  // namespace kat
