// AdamW and the moving average of weights, over all parameters in one launch each.
#include "../watch/places.h"
#include "pointer_table.h"
#include "storage.h"

using kat::bf16;
using kat::each_of_chunk;
using kat::kBlock;
using kat::own_row;
using kat::pack_at;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

// Rows: addresses of p, of p in bfloat16 or 0, of g, m, v, the length, the first block, keep and step size as two f32.
// Coefficients as in ops/adamw. After a failure nothing changes.
KAT_KERNEL adamw_listed(const uint64_t* list, uint32_t rows, const float* watch, float beta1, float rest1, float beta2,
                        float rest2, float eps, float root_scale) {
    if (watch[kFailed] != 0.0f) return;
    const float scale = watch[kScale];
    const uint64_t* row = own_row(list, rows, 8, 6);
    float* p = reinterpret_cast<float*>(row[0]);
    bf16* narrow = reinterpret_cast<bf16*>(row[1]);
    const float* g = reinterpret_cast<const float*>(row[2]);
    float* m = reinterpret_cast<float*>(row[3]);
    float* v = reinterpret_cast<float*>(row[4]);
    const float keep = __uint_as_float(static_cast<uint32_t>(row[7] >> 32));
    const float step_size = __uint_as_float(static_cast<uint32_t>(row[7]));
    each_of_chunk(row[6], row[5], [&](uint64_t i, auto width) {
        constexpr int V = decltype(width)::value;
        const auto slopes = pack_at<V>(g, i);
        auto weights = pack_at<V>(p, i), first = pack_at<V>(m, i), second = pack_at<V>(v, i);
#pragma unroll
        for (int k = 0; k < V; ++k) {
            const float slope = slopes.v[k] * scale;
            first.v[k] = beta1 * first.v[k] + rest1 * slope;
            second.v[k] = beta2 * second.v[k] + rest2 * (slope * slope);
            weights.v[k] = keep * weights.v[k] - step_size * first.v[k] / (sqrtf(second.v[k]) * root_scale + eps);
        }
        kat::put_pack<V>(m, i, first);
        kat::put_pack<V>(v, i, second);
        kat::put_pack<V>(p, i, weights);
        if (narrow != nullptr) kat::put_pack<V>(narrow, i, kat::rounded<bf16>(weights.v));
    });
}

// Rows: addresses of the average and of x, the length, the first block.
KAT_KERNEL average_listed(const uint64_t* list, uint32_t rows, float weight) {
    const uint64_t* row = own_row(list, rows, 4, 3);
    float* average = reinterpret_cast<float*>(row[0]);
    const float* x = reinterpret_cast<const float*>(row[1]);
    each_of_chunk(row[3], row[2], [&](uint64_t i, auto width) {
        constexpr int V = decltype(width)::value;
        const auto values = pack_at<V>(x, i);
        auto averages = pack_at<V>(average, i);
#pragma unroll
        for (int k = 0; k < V; ++k) averages.v[k] += weight * (values.v[k] - averages.v[k]);
        kat::put_pack<V>(average, i, averages);
    });
}

// What the launches see to before they launch: the least values of each buffer.
// lengths adamw_listed: list 8 * rows; watch 8
// lengths average_listed: list 4 * rows
