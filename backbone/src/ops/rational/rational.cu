// The group rational of GR-KAN on CUDA: x (rows, channels), coefficients by group of neighboring channels.
//
// Bound by memory, so each element is read once and written once, 16 bytes a load. A block works on one group and a run
// of rows; a thread keeps one column of vectors, so that no index is divided inside the loop and the coefficients stay
// in registers. The gradients at the coefficients are summed in a thread over its elements, then over the warp, then
// over the block, and each block writes its ten numbers once: no atomics, the same bits run to run. A second, small
// kernel adds the blocks' numbers in a fixed order.
#include "column_totals.h"
#include "rational_load.h"
#include "storage.h"

namespace {

using kat::Coefficients;
using kat::Geometry;
using kat::kThreads;
using kat::Place;
using kat::Sums;

constexpr int kMaxCoefficients = 13;
static_assert(kMaxCoefficients == 13, "rust: MAX_COEFFICIENTS");
static_assert(kThreads == kat::kBlock, "the block sums are common.h's");

using kat::pack_at;

// The group and the run of rows of this block. Groups come first, so that blocks that run together read neighbors.
struct Block {
    uint32_t group, run;

    __device__ __forceinline__ explicit Block(const Geometry& g) {
        const uint32_t groups = g.channels / g.group_size;
        group = blockIdx.x % groups;
        run = blockIdx.x / groups;
    }
};

template <typename T, int M, int N, int V, bool Paper>
__device__ void forward(const T* __restrict__ x, const float* __restrict__ a, const float* __restrict__ b,
                        T* __restrict__ y, const Geometry& g) {
    const Block block(g);
    const Place place(g, V, block.group, blockIdx.z, threadIdx.x);
    if (place.idle) return;
    const Coefficients<M, N, Paper> c = kat::load<M, N, Paper>(a, b, g, block.group);
    const uint32_t end = min((block.run + 1) * g.rows_per_block, g.rows);
#pragma unroll(V > 1 ? 4 : 2)
    for (uint32_t row = block.run * g.rows_per_block + place.line; row < end; row += place.lines) {
        const size_t at = static_cast<size_t>(row) * g.channels + place.offset;
        float v[V];
        kat::widen(pack_at<V>(x, at), v);
#pragma unroll
        for (float& value : v) value = kat::rational_value(c, value);
        kat::put_pack<V>(y, at, kat::rounded<T>(v));
    }
}

// The block's sums of the columns of dx over its run of rows, from those of its threads, each over a pack: to `columns`,
// (runs, channels).
template <int V>
__device__ __forceinline__ void write_column_sums(const float (&sums)[V], const Place& place, const Geometry& g,
                                                  uint32_t run, float* __restrict__ columns) {
    __shared__ kat::Pack<float, V> threads[kThreads];
    memcpy(&threads[threadIdx.x], &sums, sizeof(sums));
    __syncthreads();
    const float* lines = threads[0].v;
    const uint32_t width = place.packs * V;
    float* out = columns + static_cast<size_t>(run) * g.channels + place.start;
    for (uint32_t k = threadIdx.x; k < width; k += kThreads) {
        float total = 0.0f;
        for (uint32_t line = 0; line < place.lines; ++line) total += lines[line * width + k];
        out[k] = total;
    }
}

// dx may be dy: each element is read before it is written, by the same thread. `partial` has M + N numbers a block.
// `columns` (runs, channels): dx summed over the rows of each run.
template <typename T, int M, int N, int V, bool Paper>
__device__ void backward(const T* __restrict__ x, const float* __restrict__ a, const float* __restrict__ b,
                         const T* dy, T* dx, float* __restrict__ partial, float* __restrict__ columns,
                         const Geometry& g) {
    const Block own(g);
    const Place place(g, V, own.group, blockIdx.z, threadIdx.x);
    Sums<M, N> sums = {};
    float column_sums[V] = {};
    if (!place.idle) {
        const Coefficients<M, N, Paper> c = kat::load<M, N, Paper>(a, b, g, own.group);
        const uint32_t end = min((own.run + 1) * g.rows_per_block, g.rows);
#pragma unroll 2
        for (uint32_t row = own.run * g.rows_per_block + place.line; row < end; row += place.lines) {
            const size_t at = static_cast<size_t>(row) * g.channels + place.offset;
            float in[V], slope[V];
            kat::widen(pack_at<V>(x, at), in);
            kat::widen(pack_at<V>(dy, at), slope);
#pragma unroll
            for (int i = 0; i < V; ++i) {
                slope[i] = kat::rational_gradient(c, in[i], slope[i], sums);
                column_sums[i] += slope[i];
            }
            kat::put_pack<V>(dx, at, kat::rounded<T>(slope));
        }
    }
    write_column_sums<V>(column_sums, place, g, own.run, columns);
    float values[M + N];
#pragma unroll
    for (int i = 0; i < M; ++i) values[i] = sums.a[i];
#pragma unroll
    for (int i = 0; i < N; ++i) values[M + i] = sums.b[i];
    const size_t block = static_cast<size_t>(blockIdx.z) * gridDim.x + blockIdx.x;
    kat::write_block_sums(values, partial + block * (M + N), 1);
}

}  // namespace

// The totals after backward: those of columns by the first blocks (column_totals.h), then a block for each coefficient, those
// of the numerator's rows first, which adds what the blocks of backward wrote, over their runs of rows and, where a table is
// shared, over groups. `absolute`: what they wrote is with respect to |b|, and b is wanted.
extern "C" __global__ void __launch_bounds__(1024)
    rational_totals(const float* __restrict__ sums, float* __restrict__ first, float* __restrict__ second,
                    float* __restrict__ third, uint32_t column_runs, uint32_t columns, uint32_t split,
                    uint32_t second_split, const float* __restrict__ partial, const float* __restrict__ denominator,
                    float* __restrict__ da, float* __restrict__ db, uint32_t runs, uint32_t groups, uint32_t width,
                    uint32_t first_b, uint32_t absolute, Geometry g) {
    const uint32_t before = (columns + 31) / 32;
    if (blockIdx.x < before) {
        kat::column_totals(sums, first, second, third, column_runs, columns, split, second_split);
        return;
    }
    const uint32_t above = g.numerator_groups * g.numerator_len, coefficient = blockIdx.x - before;
    const bool lower = coefficient >= above;
    const uint32_t at = lower ? coefficient - above : coefficient;
    const uint32_t len = lower ? g.denominator_len : g.numerator_len;
    const bool shared = (lower ? g.denominator_groups : g.numerator_groups) == 1;
    const uint32_t row = at / len, column = at % len + (lower ? first_b : 0);
    const uint32_t count = shared ? runs * groups : runs;
    double sum = 0.0;
    for (uint32_t k = threadIdx.x; k < count; k += 1024) {
        const size_t block = shared ? k : static_cast<size_t>(k) * groups + row;
        sum += partial[block * width + column];
    }
    sum = kat::block_sum<kat::kTotalWarps>(sum);
    if (threadIdx.x != 0) return;
    if (lower) {
        db[at] = static_cast<float>(absolute && denominator[at] < 0.0f ? -sum : sum);
    } else {
        da[at] = static_cast<float>(sum);
    }
}

// The compiled forms: the published orders (5, 4) with 16-byte packs where a group is a multiple of them, else one by
// one; any other order padded with zeros; each in the kernels' form of the denominator and in the paper's.
#define KAT_RATIONAL(name, T, M, N, V, P)                                                                            \
    extern "C" __global__ void __launch_bounds__(kThreads)                                                          \
        rational_forward_##name(const T* x, const float* a, const float* b, T* y, Geometry g) {                     \
        forward<T, M, N, V, P>(x, a, b, y, g);                                                                      \
    }                                                                                                               \
    extern "C" __global__ void __launch_bounds__(kThreads)                                                          \
        rational_backward_##name(const T* x, const float* a, const float* b, const T* dy, T* dx, float* partial,    \
                                 float* columns, Geometry g) {                                                      \
        backward<T, M, N, V, P>(x, a, b, dy, dx, partial, columns, g);                                              \
    }

KAT_RATIONAL(f32, float, 6, 4, 4, false)
KAT_RATIONAL(bf16, __nv_bfloat16, 6, 4, 8, false)
KAT_RATIONAL(f32_single, float, 6, 4, 1, false)
KAT_RATIONAL(bf16_single, __nv_bfloat16, 6, 4, 1, false)
KAT_RATIONAL(f32_any, float, kMaxCoefficients, kMaxCoefficients, 1, false)
KAT_RATIONAL(bf16_any, __nv_bfloat16, kMaxCoefficients, kMaxCoefficients, 1, false)
KAT_RATIONAL(paper_f32, float, 6, 4, 4, true)
KAT_RATIONAL(paper_bf16, __nv_bfloat16, 6, 4, 8, true)
KAT_RATIONAL(paper_f32_single, float, 6, 4, 1, true)
KAT_RATIONAL(paper_bf16_single, __nv_bfloat16, 6, 4, 1, true)
KAT_RATIONAL(paper_f32_any, float, kMaxCoefficients, kMaxCoefficients, 1, true)
KAT_RATIONAL(paper_bf16_any, __nv_bfloat16, kMaxCoefficients, kMaxCoefficients, 1, true)

// What the launches see to before they launch: the least values of each buffer.
// lengths rational_totals: sums column_runs * columns; first split; second second_split - split; third columns - second_split; partial runs * groups * width; denominator g.denominator(); da g.numerator(); db g.denominator()
// lengths rational_backward_*_any: x g.values(); a g.numerator(); b g.denominator(); dy g.values(); dx g.values(); columns g.runs() * g.channels(); partial grid.0.iter().product::<usize>() * 2 * mirrored::MAX_COEFFICIENTS
// lengths rational_*: x g.values(); a g.numerator(); b g.denominator(); y g.values(); dy g.values(); dx g.values(); columns g.runs() * g.channels(); partial grid.0.iter().product::<usize>() * 10
