// A row of channels in the registers of a warp: packs of four neighbors, so many a lane.
#pragma once

#include "common.h"
#include "storage.h"

namespace kat {

using Four = Pack<float, 4>;

// What a lane has of a row: every `stride`-th pack from `first` on, below `end`.
template <int kPacks>
struct Slots {
    uint32_t first, stride, end;

    __device__ __forceinline__ explicit Slots(uint32_t channels)
        : first(threadIdx.x % 32), stride(32), end(channels / 4) {}

    // The same where each lane is to have channels of one of `groups` neighboring ones: the lanes of a group are neighbors.
    __device__ __forceinline__ Slots(uint32_t channels, uint32_t groups) : stride(32 / groups) {
        const uint32_t lane = threadIdx.x % 32, group = lane / stride, packs = channels / 4 / groups;
        first = group * packs + lane % stride;
        end = (group + 1) * packs;
    }

    __device__ __forceinline__ uint32_t at(int j) const { return first + stride * j; }
    __device__ __forceinline__ bool there(int j) const { return at(j) < end; }
};

template <typename T>
__device__ __forceinline__ Four load_four(const T* row, uint32_t pack) {
    const Pack<T, 4> in = reinterpret_cast<const Pack<T, 4>*>(row)[pack];
    return {to_float(in.v[0]), to_float(in.v[1]), to_float(in.v[2]), to_float(in.v[3])};
}

// Mean and inverse deviation of a row.
struct Moments {
    float mean, inverse;
};

template <int kPacks>
__device__ __forceinline__ Moments moments(const Four (&v)[kPacks], const Slots<kPacks>& slots, uint32_t channels,
                                           float eps) {
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < kPacks; ++j) {
        if (slots.there(j)) sum += v[j].v[0] + v[j].v[1] + (v[j].v[2] + v[j].v[3]);
    }
    const float mean = warp_sum(sum) / channels;
    float squares = 0.0f;
#pragma unroll
    for (int j = 0; j < kPacks; ++j) {
        if (!slots.there(j)) break;
#pragma unroll
        for (int i = 0; i < 4; ++i) squares += (v[j].v[i] - mean) * (v[j].v[i] - mean);
    }
    return {mean, 1.0f / sqrtf(warp_sum(squares) / channels + eps)};
}

// Adds the sums by column that the warps have, in the warps' order: out (kinds, channels) of this block.
template <int kKinds, int kPacks>
__device__ __forceinline__ void write_column_sums(const Four (&sums)[kKinds][kPacks], const Slots<kPacks>& slots,
                                                  uint32_t channels, float* __restrict__ out) {
    __shared__ Four all[kKinds][kPacks * 32];
    const uint32_t warp = threadIdx.x / 32, packs = channels / 4;
    for (uint32_t turn = 0; turn < kBlockWarps; ++turn) {
        if (turn == warp) {
#pragma unroll
            for (int kind = 0; kind < kKinds; ++kind) {
#pragma unroll
                for (int j = 0; j < kPacks; ++j) {
                    if (!slots.there(j)) break;
                    Four* sum = &all[kind][slots.at(j)];
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        sum->v[i] = turn == 0 ? sums[kind][j].v[i] : sum->v[i] + sums[kind][j].v[i];
                    }
                }
            }
        }
        __syncthreads();
    }
    for (uint32_t i = threadIdx.x; i < kKinds * packs; i += kBlock) {
        reinterpret_cast<Four*>(out)[i] = all[i / packs][i % packs];
    }
}

}  // namespace kat
