// Softmax cross entropy of logits (outer, classes, inner): Σ_c w_c t_c (log Σ_k e^{x_k} - x_c), t smoothed by ε.
//
// With one position behind the class axis a warp takes a position and its lanes the classes; with many a thread takes a
// position, so that neighbors read neighbors.
#include <math_constants.h>

#include "common.h"

using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

namespace {

constexpr uint32_t kIgnored = 0xffffffffu;
static_assert(kIgnored == 4294967295, "rust: IGNORED");

// What a position should be: a class, or a distribution laid out as the logits.
struct Target {
    const float* soft;
    const float* class_weights;
    uint32_t label;
    uint32_t classes;
    float smoothing;

    // w_c t_c; `at` is the logit's place.
    __device__ __forceinline__ float share(uint32_t c, uint64_t at) const {
        const float own = soft != nullptr ? soft[at] : c == label ? 1.0f : 0.0f;
        const float share = (1.0f - smoothing) * own + smoothing / classes;
        return class_weights != nullptr ? class_weights[c] * share : share;
    }
};

template <int kLanes>
__device__ __forceinline__ float sum_lanes(float v) {
    return kLanes == 32 ? kat::warp_sum(v) : v;
}

template <int kLanes>
__device__ __forceinline__ float max_lanes(float v) {
    return kLanes == 32 ? kat::warp_max(v) : v;
}

template <int kLanes>
__device__ void forward(const float* x, const uint32_t* labels, const float* soft, const float* class_weights,
                        float* losses, float* log_sums, uint64_t positions, uint32_t classes, uint64_t inner,
                        float smoothing) {
    const uint32_t lane = threadIdx.x % kLanes;
    const uint64_t step = static_cast<uint64_t>(gridDim.x) * (kBlock / kLanes);
    for (uint64_t i = (static_cast<uint64_t>(blockIdx.x) * kBlock + threadIdx.x) / kLanes; i < positions; i += step) {
        const uint64_t start = i / inner * classes * inner + i % inner;
        float greatest = -CUDART_INF_F;
        for (uint32_t c = lane; c < classes; c += kLanes) greatest = fmaxf(greatest, x[start + c * inner]);
        greatest = max_lanes<kLanes>(greatest);
        float sum = 0.0f;
        for (uint32_t c = lane; c < classes; c += kLanes) sum += expf(x[start + c * inner] - greatest);
        const float log_sum = greatest + logf(sum_lanes<kLanes>(sum));
        const Target target = {soft, class_weights, labels != nullptr ? labels[i] : 0, classes, smoothing};
        float loss = 0.0f;
        if (labels == nullptr || target.label != kIgnored) {
            for (uint32_t c = lane; c < classes; c += kLanes) {
                const uint64_t at = start + c * inner;
                const float share = target.share(c, at);
                if (share != 0.0f) loss += share * (log_sum - x[at]);
            }
        }
        loss = sum_lanes<kLanes>(loss);
        if (lane == 0) {
            losses[i] = loss;
            log_sums[i] = log_sum;
        }
    }
}

// dx_c = dloss (p_c Σ_k w_k t_k - w_c t_c).
template <int kLanes>
__device__ void backward(const float* x, const float* log_sums, const float* dlosses, const uint32_t* labels,
                         const float* soft, const float* class_weights, float* dx, uint64_t positions,
                         uint32_t classes, uint64_t inner, float smoothing) {
    const uint32_t lane = threadIdx.x % kLanes;
    const uint64_t step = static_cast<uint64_t>(gridDim.x) * (kBlock / kLanes);
    for (uint64_t i = (static_cast<uint64_t>(blockIdx.x) * kBlock + threadIdx.x) / kLanes; i < positions; i += step) {
        const uint64_t start = i / inner * classes * inner + i % inner;
        const Target target = {soft, class_weights, labels != nullptr ? labels[i] : 0, classes, smoothing};
        const bool counts = labels == nullptr || target.label != kIgnored;
        float mass = 0.0f;
        for (uint32_t c = lane; counts && c < classes; c += kLanes) mass += target.share(c, start + c * inner);
        mass = sum_lanes<kLanes>(mass);
        const float dloss = dlosses[i], log_sum = log_sums[i];
        for (uint32_t c = lane; c < classes; c += kLanes) {
            const uint64_t at = start + c * inner;
            dx[at] = counts ? dloss * (expf(x[at] - log_sum) * mass - target.share(c, at)) : 0.0f;
        }
    }
}

}  // namespace

KAT_KERNEL cross_entropy_forward(const float* x, const uint32_t* optional_labels, const float* optional_soft,
                                 const float* optional_weights, float* losses, float* log_sums, uint64_t positions,
                                 uint32_t classes, uint64_t inner, float smoothing) {
    const auto with = [&](auto run) {
        run(x, optional_labels, optional_soft, optional_weights, losses, log_sums, positions, classes, inner,
            smoothing);
    };
    inner == 1 ? with(forward<32>) : with(forward<1>);
}

KAT_KERNEL cross_entropy_backward(const float* x, const float* log_sums, const float* dlosses,
                                  const uint32_t* optional_labels, const float* optional_soft,
                                  const float* optional_weights, float* dx, uint64_t positions, uint32_t classes,
                                  uint64_t inner, float smoothing) {
    const auto with = [&](auto run) {
        run(x, log_sums, dlosses, optional_labels, optional_soft, optional_weights, dx, positions, classes, inner,
            smoothing);
    };
    inner == 1 ? with(backward<32>) : with(backward<1>);
}

// What the launches see to before they launch: the least values of each buffer.
// lengths cross_entropy_*: x positions * classes; log_sums positions; dlosses positions; losses positions; optional_labels positions; optional_soft positions * classes; optional_weights classes; dx positions * classes
