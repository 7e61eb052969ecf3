// Batch norm of (B, C, plane). Sums go by blocks (channel, run of positions), then over each channel's runs in order.
#include "maps.h"

using kat::kBlock;

#define KAT_KERNEL extern "C" __global__ void __launch_bounds__(kBlock)

// (runs, 2, C): Σ d and Σ d² of d = x - the channel's first value, so that one read gives both without loss of digits.
KAT_KERNEL channel_moment_runs(const float* __restrict__ x, double* __restrict__ sums, uint64_t positions,
                               uint32_t channels, uint32_t plane, uint64_t run) {
    const uint32_t channel = blockIdx.x;
    const uint64_t first = blockIdx.y * run, end = min(first + run, positions);
    const double origin = x[static_cast<uint64_t>(channel) * plane];
    double v[2] = {0.0, 0.0};
    kat::for_channel(channel, channels, plane, first, end, [&](uint64_t at, uint64_t) {
        const double d = x[at] - origin;
        v[0] += d;
        v[1] += d * d;
    });
    kat::write_block_sums(v, sums + static_cast<uint64_t>(blockIdx.y) * 2 * channels + channel, channels);
}

// moments (3, C): the mean, what f32 rounded off it, and the sum of squared deviations.
KAT_KERNEL channel_moments(const float* __restrict__ x, const double* __restrict__ sums, float* __restrict__ moments,
                           uint64_t positions, uint32_t channels, uint32_t plane, uint32_t runs) {
    KAT_EACH(c, channels) {
        double sum = 0.0, squares = 0.0;
        for (uint32_t run = 0; run < runs; ++run) {
            const double* at = sums + static_cast<uint64_t>(run) * 2 * channels + c;
            sum += at[0];
            squares += at[channels];
        }
        const double off = sum / positions, mean = x[c * plane] + off;
        const float rounded = static_cast<float>(mean);
        moments[c] = rounded;
        moments[channels + c] = static_cast<float>(mean - rounded);
        moments[2 * static_cast<uint64_t>(channels) + c] = static_cast<float>(fmax(squares - sum * off, 0.0));
    }
}

// Mean and variance (divided by n) of the moments of `count` values, and the running ones (divided by n - 1) moved
// towards them by `momentum`.
KAT_KERNEL batch_statistics(const float* __restrict__ moments, const float* __restrict__ running_mean,
                            const float* __restrict__ running_variance, float* __restrict__ mean,
                            float* __restrict__ variance, float* __restrict__ new_mean,
                            float* __restrict__ new_variance, uint32_t channels, double count, float momentum) {
    KAT_EACH(c, channels) {
        const double rounded = moments[c], rest = moments[channels + c], squares = moments[2 * channels + c];
        const double towards = momentum;
        mean[c] = moments[c];
        variance[c] = static_cast<float>(squares / count);
        new_mean[c] = static_cast<float>(running_mean[c] * (1.0 - towards) + towards * (rounded + rest));
        new_variance[c] = static_cast<float>(running_variance[c] * (1.0 - towards) + towards * (squares / (count - 1.0)));
    }
}

KAT_KERNEL batch_norm_forward(const float* __restrict__ x, const float* __restrict__ mean,
                              const float* __restrict__ variance, const float* __restrict__ weight,
                              const float* __restrict__ bias, float* __restrict__ y, uint32_t planes,
                              uint32_t channels, uint32_t plane, float eps) {
    KAT_EACH_PLANE(p, planes, plane) {
        const uint32_t c = static_cast<uint32_t>(p) % channels;
        const float center = mean[c], scale = weight[c] / sqrtf(variance[c] + eps), shift = bias[c];
        const float* in = x + p * plane;
        float* out = y + p * plane;
        KAT_EACH_PIXEL(i, plane) out[i] = fmaf(in[i] - center, scale, shift);
    }
}

// (runs, 2, C): Σ dy and Σ dy (x - mean).
KAT_KERNEL batch_norm_gradient_runs(const float* __restrict__ x, const float* __restrict__ dy,
                                    const float* __restrict__ mean, double* __restrict__ sums, uint64_t positions,
                                    uint32_t channels, uint32_t plane, uint64_t run) {
    const uint32_t channel = blockIdx.x;
    const uint64_t first = blockIdx.y * run, end = min(first + run, positions);
    const float center = mean[channel];
    double v[2] = {0.0, 0.0};
    kat::for_channel(channel, channels, plane, first, end, [&](uint64_t at, uint64_t) {
        const float slope = dy[at];
        v[0] += slope;
        v[1] += static_cast<double>(slope) * (x[at] - center);
    });
    kat::write_block_sums(v, sums + static_cast<uint64_t>(blockIdx.y) * 2 * channels + channel, channels);
}

// The gradients at bias, Σ dy, and at weight, Σ dy x̂.
KAT_KERNEL batch_norm_parameter_gradients(const double* __restrict__ sums, const float* __restrict__ variance,
                                          float* __restrict__ dweight, float* __restrict__ dbias, uint32_t runs,
                                          uint32_t channels, float eps) {
    KAT_EACH(c, channels) {
        double sum = 0.0, along = 0.0;
        for (uint32_t run = 0; run < runs; ++run) {
            const double* at = sums + static_cast<uint64_t>(run) * 2 * channels + c;
            sum += at[0];
            along += at[channels];
        }
        dbias[c] = static_cast<float>(sum);
        dweight[c] = static_cast<float>(along / sqrt(static_cast<double>(variance[c]) + eps));
    }
}

// In place of dy: weight/√(variance + eps) · (dy - share (Σ dy + x̂ Σ dy x̂)); share is 1/n, or 0 where the statistics
// are constants.
KAT_KERNEL batch_norm_input_gradient(const float* __restrict__ x, float* __restrict__ dy,
                                     const float* __restrict__ mean, const float* __restrict__ variance,
                                     const float* __restrict__ weight, const float* __restrict__ dweight,
                                     const float* __restrict__ dbias, uint32_t planes, uint32_t channels,
                                     uint32_t plane, float eps, float share) {
    KAT_EACH_PLANE(p, planes, plane) {
        const uint32_t c = static_cast<uint32_t>(p) % channels;
        const float inverse = 1.0f / sqrtf(variance[c] + eps), scale = inverse * weight[c], center = mean[c];
        const float along = scale * inverse * share * dweight[c], shift = scale * share * dbias[c];
        const float* in = x + p * plane;
        float* slope = dy + p * plane;
        KAT_EACH_PIXEL(i, plane) slope[i] = fmaf(slope[i], scale, -fmaf(in[i] - center, along, shift));
    }
}

// What the launches see to before they launch: the least values of each buffer.
// lengths channel_moment_runs batch_norm_gradient_runs: x positions * channels; dy positions * channels; mean channels; sums 2 * channels * grid.0[1]
// lengths channel_moments: x positions * channels; sums 2 * channels * runs; moments 3 * channels
// lengths batch_statistics: moments 3 * channels; running_mean channels; running_variance channels; mean channels; variance channels; new_mean channels; new_variance channels
// lengths batch_norm_forward batch_norm_input_gradient: x planes * plane; y planes * plane; dy planes * plane; mean channels; variance channels; weight channels; bias channels; dweight channels; dbias channels
// lengths batch_norm_parameter_gradients: sums 2 * channels * runs; variance channels; dweight channels; dbias channels
