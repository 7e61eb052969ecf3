// The bias of a linear layer where cuBLAS does not add it.
#include "common.h"
#include "storage.h"

using kat::bf16;
using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

// Every row the same.
KAT_KERNEL repeat_row(const float* __restrict__ row, float* __restrict__ y, uint64_t n, uint32_t width) {
    KAT_EACH(i, n) y[i] = row[i % width];
}

KAT_KERNEL repeat_row_bf16(const float* __restrict__ row, bf16* __restrict__ y, uint64_t n, uint32_t width) {
    KAT_EACH(i, n) y[i] = kat::from_float<bf16>(row[i % width]);
}

// What the launches see to before they launch: the least values of each buffer.
// lengths repeat_row*: row width.min(n); y n
