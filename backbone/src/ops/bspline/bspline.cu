// The functions of a B-spline KAN's edges: cubic B-splines on equal knots, and a factor for each row.
#include "maps.h"

using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

namespace {

// The cardinal cubic B-spline, support (-2, 2).
__device__ __forceinline__ float spline(float t) {
    t = fabsf(t);
    const float rest = fmaxf(2.0f - t, 0.0f);
    return t < 1.0f ? (4.0f - 6.0f * t * t + 3.0f * t * t * t) / 6.0f : rest * rest * rest / 6.0f;
}

// Its derivative.
__device__ __forceinline__ float spline_slope(float t) {
    const float a = fabsf(t), rest = fmaxf(2.0f - a, 0.0f);
    const float slope = a < 1.0f ? -2.0f * a + 1.5f * a * a : -0.5f * rest * rest;
    return t < 0.0f ? -slope : slope;
}

}  // namespace

// y (n, basis): the splines of each element; centers at `first` + k · `step`. Neighbors write neighbors.
KAT_KERNEL spline_forward(const float* __restrict__ x, float* __restrict__ y, uint64_t n, uint32_t basis, float first,
                          float step) {
    KAT_EACH_PLANE(i, n, basis) {
        const float at = (x[i] - first) / step;
        KAT_EACH_PIXEL(k, basis) y[i * basis + k] = spline(at - k);
    }
}

KAT_KERNEL spline_backward(const float* __restrict__ x, const float* __restrict__ dy, float* __restrict__ dx,
                           uint64_t n, uint32_t basis, float first, float step) {
    KAT_EACH(i, n) {
        const float at = (x[i] - first) / step;
        float sum = 0.0f;
        for (uint32_t k = 0; k < basis; ++k) sum += dy[i * basis + k] * spline_slope(at - k) / step;
        dx[i] = sum;
    }
}

KAT_KERNEL scale_rows(const float* __restrict__ a, const float* __restrict__ factors, float* __restrict__ y,
                      uint64_t rows, uint32_t width) {
    KAT_EACH_PLANE(row, rows, width) {
        const float factor = factors[row];
        KAT_EACH_PIXEL(k, width) y[row * width + k] = a[row * width + k] * factor;
    }
}

// Σ_k a[row, k] b[row, k]; a power of two of lanes a row, at most a warp.
KAT_KERNEL dot_rows(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ y, uint64_t rows,
                    uint32_t width, uint32_t lanes) {
    const uint32_t lane = threadIdx.x % lanes, together = kBlock / lanes;
    // all lanes of a warp go round together, for the exchange
    for (uint64_t first = static_cast<uint64_t>(blockIdx.x) * together; first < rows;
         first += static_cast<uint64_t>(gridDim.x) * together) {
        const uint64_t row = first + threadIdx.x / lanes;
        float sum = 0.0f;
        for (uint32_t k = lane; row < rows && k < width; k += lanes) {
            sum = fmaf(a[row * width + k], b[row * width + k], sum);
        }
        for (uint32_t step = lanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
        if (lane == 0 && row < rows) y[row] = sum;
    }
}

// What the launches see to before they launch: the least values of each buffer.
// lengths spline_forward: x n; y n * basis
// lengths spline_backward: x n; dy n * basis; dx n
// lengths scale_rows: a rows * width; factors rows; y rows * width
// lengths dot_rows: a rows * width; b rows * width; y rows
