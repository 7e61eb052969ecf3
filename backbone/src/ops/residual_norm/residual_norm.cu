// The residual stream's sum with a branch, its layer norm and, where one follows, the group rational of that, in one
// pass each way. A warp has a row in its registers, as in layer_norm.cu; the channels of a lane are of one group.
#include "../layer_norm/row_slots.h"
#include "../rational/rational_load.h"

using kat::bf16;
using kat::Four;
using kat::Geometry;
using kat::kBlock;
using kat::load_four;
using kat::Slots;

namespace {

// Of the published orders, in the kernels' form.
constexpr int kM = 6, kN = 4;
using Coefficients = kat::Coefficients<kM, kN>;

// The groups of a call, 1 where no rational follows, and the one of this lane's channels.
struct Groups {
    uint32_t count, own;

    __device__ __forceinline__ explicit Groups(const Geometry& g) : count(g.channels / g.group_size) {
        own = threadIdx.x % 32 / (32 / count);
    }

    __device__ __forceinline__ Coefficients load(const float* a, const float* b, const Geometry& g) const {
        return a == nullptr ? Coefficients{} : kat::load<kM, kN, false>(a, b, g, own);
    }
};

// sum = x + factors[sample] branch, y = its norm or the rational of its norm; statistics: mean and inverse deviation of
// each row of the sum.
template <int kPacks, typename T>
__device__ __forceinline__ void forward(const float* __restrict__ x, const T* __restrict__ branch,
                                        const float* __restrict__ factors, const float* __restrict__ weight,
                                        const float* __restrict__ bias, const float* __restrict__ a,
                                        const float* __restrict__ b, float* __restrict__ sum, T* __restrict__ y,
                                        float* __restrict__ statistics, uint32_t rows_per_sample, float eps,
                                        const Geometry& g) {
    const uint32_t channels = g.channels;
    const Groups groups(g);
    const Slots<kPacks> slots(channels, groups.count);
    const Coefficients c = groups.load(a, b, g);
    KAT_EACH_WARP(row, g.rows) {
        const uint64_t start = row * channels;
        const float factor = factors == nullptr ? 1.0f : factors[static_cast<uint32_t>(row) / rows_per_sample];
        // all loads before the first use
        Four v[kPacks], added[kPacks];
#pragma unroll
        for (int j = 0; j < kPacks; ++j) {
            v[j] = slots.there(j) ? load_four(x + start, slots.at(j)) : Four{};
            added[j] = slots.there(j) ? load_four(branch + start, slots.at(j)) : Four{};
        }
#pragma unroll
        for (int j = 0; j < kPacks; ++j) {
            if (!slots.there(j)) break;
#pragma unroll
            for (int i = 0; i < 4; ++i) v[j].v[i] += factor * added[j].v[i];
            kat::put_pack<4>(sum + start, slots.at(j) * 4, v[j]);
        }
        const auto [mean, inverse] = kat::moments(v, slots, channels, eps);
#pragma unroll
        for (int j = 0; j < kPacks; ++j) {
            if (!slots.there(j)) break;
            const Four w = load_four(weight, slots.at(j)), shift = load_four(bias, slots.at(j));
            float out[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                out[i] = (v[j].v[i] - mean) * inverse * w.v[i] + shift.v[i];
                if (a != nullptr) out[i] = kat::rational_value(c, out[i]);
            }
            kat::put_pack<4>(y + start, slots.at(j) * 4, kat::rounded<T>(out));
        }
        if (threadIdx.x % 32 == 0) {
            statistics[2 * row] = mean;
            statistics[2 * row + 1] = inverse;
        }
    }
}

// The block's sums of the gradients at the coefficients: partial (blocks, groups, kM + kN).
__device__ __forceinline__ void write_coefficient_sums(const kat::Sums<kM, kN>& sums, const Groups& groups,
                                                       float* __restrict__ partial) {
    constexpr int kWidth = kM + kN;
    __shared__ float all[kat::kBlockWarps][32][kWidth];
    const uint32_t warp = threadIdx.x / 32, lanes = 32 / groups.count;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
        float v = i < kM ? sums.a[i < kM ? i : 0] : sums.b[i < kM ? 0 : i - kM];
        for (uint32_t step = lanes / 2; step > 0; step /= 2) v += __shfl_xor_sync(0xffffffffu, v, step);
        if (threadIdx.x % lanes == 0) all[warp][groups.own][i] = v;
    }
    __syncthreads();
    for (uint32_t k = threadIdx.x; k < groups.count * kWidth; k += kBlock) {
        float total = 0.0f;
        for (uint32_t w = 0; w < kat::kBlockWarps; ++w) total += all[w][k / kWidth][k % kWidth];
        partial[static_cast<size_t>(blockIdx.x) * groups.count * kWidth + k] = total;
    }
}

// Takes the gradient dy at y, and that at the sum, which dx holds if it `accumulates`, to dx, that at x, and dbranch.
// sums (blocks, 3, channels): over each block's rows of the gradients at the norm's weight, at its bias, and of dbranch.
template <int kPacks, typename T>
__device__ __forceinline__ void backward(const float* __restrict__ sum, const float* __restrict__ factors,
                                         const float* __restrict__ weight, const float* __restrict__ bias,
                                         const float* __restrict__ a, const float* __restrict__ b,
                                         const float* __restrict__ statistics, const T* __restrict__ dy,
                                         float* __restrict__ dx, T* __restrict__ dbranch, float* __restrict__ sums,
                                         float* __restrict__ partial, uint32_t rows_per_sample, uint32_t accumulates,
                                         const Geometry& g) {
    const uint32_t channels = g.channels;
    const Groups groups(g);
    const Slots<kPacks> slots(channels, groups.count);
    const Coefficients c = groups.load(a, b, g);
    __shared__ Four weights[kPacks * 32], shifts[kPacks * 32];
    for (uint32_t p = threadIdx.x; p < channels / 4; p += kBlock) {
        weights[p] = load_four(weight, p);
        shifts[p] = load_four(bias, p);
    }
    __syncthreads();
    // Of the widest rows the registers do not hold the sum's gradient too; it is loaded when it is added to.
    constexpr bool kLate = kPacks > 6;
    kat::Sums<kM, kN> coefficient_sums = {};
    Four column_sums[3][kPacks] = {};
    KAT_EACH_WARP(row, g.rows) {
        const uint64_t start = row * channels;
        const float mean = statistics[2 * row], inverse = statistics[2 * row + 1];
        const float factor = factors == nullptr ? 1.0f : factors[static_cast<uint32_t>(row) / rows_per_sample];
        // all loads before the first use
        Four normal[kPacks], slope[kPacks], earlier[kLate ? 1 : kPacks];
#pragma unroll
        for (int j = 0; j < kPacks; ++j) {
            const bool there = slots.there(j);
            slope[j] = there ? load_four(dy + start, slots.at(j)) : Four{};
            normal[j] = there ? load_four(sum + start, slots.at(j)) : Four{};
            if (!kLate) earlier[kLate ? 0 : j] = there && accumulates != 0 ? load_four(dx + start, slots.at(j)) : Four{};
        }
        float plain = 0.0f, along = 0.0f;
#pragma unroll
        for (int j = 0; j < kPacks; ++j) {
            if (!slots.there(j)) break;
            const Four w = weights[slots.at(j)], shift = shifts[slots.at(j)];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float n = (normal[j].v[i] - mean) * inverse;
                float s = slope[j].v[i];
                if (a != nullptr) s = kat::rational_gradient(c, n * w.v[i] + shift.v[i], s, coefficient_sums);
                column_sums[0][j].v[i] += s * n;
                column_sums[1][j].v[i] += s;
                s *= w.v[i];
                plain += s;
                along += s * n;
                normal[j].v[i] = n;
                slope[j].v[i] = s;
            }
        }
        plain = kat::warp_sum(plain) / channels;
        along = kat::warp_sum(along) / channels;
#pragma unroll
        for (int j = 0; j < kPacks; ++j) {
            if (!slots.there(j)) break;
            Four out = earlier[kLate ? 0 : j];
            if (kLate) out = accumulates != 0 ? load_four(dx + start, slots.at(j)) : Four{};
            float to_branch[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                out.v[i] += inverse * (slope[j].v[i] - plain - normal[j].v[i] * along);
                to_branch[i] = factor * out.v[i];
                column_sums[2][j].v[i] += to_branch[i];
            }
            kat::put_pack<4>(dx + start, slots.at(j) * 4, out);
            kat::put_pack<4>(dbranch + start, slots.at(j) * 4, kat::rounded<T>(to_branch));
        }
    }
    kat::write_column_sums(column_sums, slots, channels, sums + static_cast<size_t>(blockIdx.x) * 3 * channels);
    if (a != nullptr) write_coefficient_sums(coefficient_sums, groups, partial);
}

}  // namespace

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

#define KAT_RESIDUAL_NORM(name, T, packs)                                                                              \
    KAT_KERNEL residual_norm_forward_##name##_##packs(                                                                 \
        const float* x, const T* branch, const float* optional_factors, const float* weight, const float* bias,        \
        const float* optional_a, const float* optional_b, float* sum, T* y, float* statistics,                         \
        uint32_t rows_per_sample, float eps, Geometry g) {                                                             \
        forward<packs>(x, branch, optional_factors, weight, bias, optional_a, optional_b, sum, y, statistics,          \
                       rows_per_sample, eps, g);                                                                       \
    }                                                                                                                  \
    KAT_KERNEL residual_norm_backward_##name##_##packs(                                                                \
        const float* sum, const float* optional_factors, const float* weight, const float* bias,                       \
        const float* optional_a, const float* optional_b, const float* statistics, const T* dy, float* dx, T* dbranch, \
        float* sums, float* partial, uint32_t rows_per_sample, uint32_t accumulates, Geometry g) {                     \
        backward<packs>(sum, optional_factors, weight, bias, optional_a, optional_b, statistics, dy, dx, dbranch,      \
                        sums, partial, rows_per_sample, accumulates, g);                                               \
    }

#define KAT_RESIDUAL_NORMS(packs)         \
    KAT_RESIDUAL_NORM(f32, float, packs)  \
    KAT_RESIDUAL_NORM(bf16, bf16, packs)

// Up to 128 packs channels, as in layer_norm.cu.
KAT_RESIDUAL_NORMS(1)
KAT_RESIDUAL_NORMS(2)
KAT_RESIDUAL_NORMS(3)
KAT_RESIDUAL_NORMS(4)
KAT_RESIDUAL_NORMS(6)
KAT_RESIDUAL_NORMS(8)

// What the launches see to before they launch: the least values of each buffer.
// lengths residual_norm_*: x g.values(); branch g.values(); optional_factors g.rows().div_ceil(rows_per_sample.max(1)); weight g.channels(); bias g.channels(); optional_a g.numerator(); optional_b g.denominator(); sum g.values(); y g.values(); statistics 2 * g.rows(); dy g.values(); dx g.values(); dbranch g.values(); sums grid.0[0] * 3 * g.channels(); partial if optional_a.is_some() { grid.0[0] * g.groups() * 10 } else { 0 }
