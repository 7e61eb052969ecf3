// Runs what the kernels share with the host, for tests.
//
// rational_host math|paper: from stdin m + 1, n and the number of elements as int32, then a, |b| (of the paper's form b),
// x and dy as f32; to stdout y, dx, and the sums at a and |b| (b).
// rational_host place ROWS GROUPS GROUP_SIZE PACK ROWS_PER_BLOCK: exits with 0 if the threads of a launch meet every
// element once, else names the first that they do not.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "rational_math.h"
#include "rational_place.h"

static std::vector<float> read(size_t count) {
    std::vector<float> values(count);
    if (std::fread(values.data(), sizeof(float), count, stdin) != count) std::exit(1);
    return values;
}

static void write(const float* values, size_t count) {
    if (std::fwrite(values, sizeof(float), count, stdout) != count) std::exit(1);
}

template <int M, int N, bool Paper>
static void math(int m, int n, int count) {
    const std::vector<float> a = read(m), b = read(n), x = read(count), dy = read(count);
    kat::Coefficients<M, N, Paper> c = {};
    for (int i = 0; i < m; ++i) c.a[i] = a[i];
    for (int i = 0; i < n; ++i) c.b[i] = b[i];
    kat::Sums<M, N> sums = {};
    std::vector<float> y(count), dx(count);
    for (int i = 0; i < count; ++i) {
        y[i] = kat::rational_value(c, x[i]);
        dx[i] = kat::rational_gradient(c, x[i], dy[i], sums);
    }
    write(y.data(), count);
    write(dx.data(), count);
    write(sums.a, m);
    write(sums.b, n);
}

static int place(const kat::Geometry& g, uint32_t groups, uint32_t pack) {
    std::vector<int> met(static_cast<size_t>(g.rows) * g.channels);
    const uint32_t slices = (g.group_size / pack + kat::kThreads - 1) / kat::kThreads;
    for (uint32_t slice = 0; slice < slices; ++slice)
        for (uint32_t group = 0; group < groups; ++group)
            for (uint32_t first = 0; first < g.rows; first += g.rows_per_block)
                for (uint32_t thread = 0; thread < kat::kThreads; ++thread) {
                    const kat::Place at(g, pack, group, slice, thread);
                    if (at.idle) continue;
                    for (uint32_t row = first + at.line; row < first + g.rows_per_block && row < g.rows; row += at.lines)
                        for (uint32_t i = 0; i < pack; ++i)
                            ++met[static_cast<size_t>(row) * g.channels + at.offset + i];
                }
    for (size_t i = 0; i < met.size(); ++i)
        if (met[i] != 1) {
            std::printf("element %zu is met %d times\n", i, met[i]);
            return 1;
        }
    return 0;
}

template <bool Paper>
static int math_of() {
    int32_t sizes[3];
    if (std::fread(sizes, sizeof(int32_t), 3, stdin) != 3) return 1;
    if (sizes[0] == 6 && sizes[1] == 4) {
        math<6, 4, Paper>(sizes[0], sizes[1], sizes[2]);
    } else if (sizes[0] <= 13 && sizes[1] <= 13) {
        math<13, 13, Paper>(sizes[0], sizes[1], sizes[2]);
    } else {
        return 1;
    }
    return 0;
}

int main(int count, char** words) {
    if (count == 7 && !std::strcmp(words[1], "place")) {
        const auto number = [&](int i) { return static_cast<uint32_t>(std::atoi(words[i])); };
        const kat::Geometry g = {number(2), number(3) * number(4), number(4), 1, 6, number(3), 4, number(6)};
        return place(g, number(3), number(5));
    }
    return count == 2 && !std::strcmp(words[1], "paper") ? math_of<true>() : math_of<false>();
}
