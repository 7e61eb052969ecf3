//! Convolution in plain loops and f64, to compare the kernels with.

use super::Geometry;

/// y of x and w, without a bias.
pub fn forward(x: &[f64], w: &[f64], g: &Geometry) -> Vec<f64> {
    let mut y = vec![0.0; g.output_len()];
    for_each_product(g, |at_x, at_w, at_y| y[at_y] += x[at_x] * w[at_w]);
    y
}

/// wᵀ applied to y: a transposed convolution.
pub fn transposed(y: &[f64], w: &[f64], g: &Geometry) -> Vec<f64> {
    let mut x = vec![0.0; g.input_len()];
    for_each_product(g, |at_x, at_w, at_y| x[at_x] += y[at_y] * w[at_w]);
    x
}

fn for_each_product(g: &Geometry, mut f: impl FnMut(usize, usize, usize)) {
    let ([kh, kw], [sy, sx], [py, px]) = (g.kernel, g.placement.stride, g.placement.padding);
    for at_y in 0..g.output_len() {
        let (j, i) = (at_y % g.output[1], at_y / g.output[1] % g.output[0]);
        let (b, o) = (at_y / g.output_plane() / g.out_channels, at_y / g.output_plane() % g.out_channels);
        for tap in 0..g.depth() {
            let (c, u, v) = (tap / g.taps(), tap % g.taps() / kw, tap % kw);
            debug_assert!(u < kh);
            let (Some(y), Some(x)) = ((i * sy + u).checked_sub(py), (j * sx + v).checked_sub(px)) else {
                continue;
            };
            if y < g.input[0] && x < g.input[1] {
                f(((b * g.in_channels + c) * g.input[0] + y) * g.input[1] + x, o * g.depth() + tap, at_y);
            }
        }
    }
}
