use super::*;
use crate::ops::check::Case;
use crate::{Cpu, Graph};

/// y in plain loops: every pixel of x stamps the kernel.
fn reference(
    t: &[Vec<f64>],
    x_shape: [usize; 4],
    w_shape: [usize; 4],
    size: [usize; 2],
    p: Placement,
) -> Vec<f64> {
    let ([b, c, h, w], [_, o, kh, kw]) = (x_shape, w_shape);
    let mut y: Vec<f64> = (0..b * o * size[0] * size[1]).map(|i| t[2][i / (size[0] * size[1]) % o]).collect();
    for i in 0..t[0].len() {
        let (n, ch, row, col) = (i / (c * h * w), i / (h * w) % c, i / w % h, i % w);
        for k in 0..o * kh * kw {
            let (out, u, v) = (k / (kh * kw), k / kw % kh, k % kw);
            let (r, q) = (row * p.stride[0] + u, col * p.stride[1] + v);
            if r >= p.padding[0] && q >= p.padding[1] {
                let (r, q) = (r - p.padding[0], q - p.padding[1]);
                if r < size[0] && q < size[1] {
                    y[((n * o + out) * size[0] + r) * size[1] + q] += t[0][i] * t[1][ch * o * kh * kw + k];
                }
            }
        }
    }
    y
}

#[test]
fn matches_plain_loops() {
    for (grid, kernel, placement) in [
        ([3, 4], [2, 2], Placement::new(2, 0)),
        ([3, 4], [3, 3], Placement::new(2, 1)),
        ([2, 5], [4, 4], Placement::new(2, 1)),
        ([4, 3], [3, 3], Placement::new(1, 1)),
        ([4, 3], [1, 1], Placement::default()),
        ([2, 3], [3, 3], Placement::new(3, 0)),
        ([2, 3], [2, 1], Placement { stride: [3, 2], padding: [0, 0] }),
        ([5, 5], [2, 2], Placement::new(1, 2)),
    ] {
        let (x, w) = ([2, 3, grid[0], grid[1]], [3, 2, kernel[0], kernel[1]]);
        let size = output_size("test", grid, kernel, placement).unwrap();
        Case::new().input(x, -1.0..1.0).input(w, -1.0..1.0).input([2], -1.0..1.0).gradients_match(
            |graph, t| conv_transpose2d(graph, &t[0], &t[1], Some(&t[2]), placement),
            |t| reference(t, x, w, size, placement),
            1e-5,
        );
    }
}

#[test]
fn wrong_shapes_are_named() {
    let dev = Cpu::default();
    let t = |shape: [usize; 4]| Tensor::zeros(&dev, shape).unwrap();
    let run = |w: [usize; 4], placement| {
        let x = t([1, 3, 2, 2]);
        conv_transpose2d(&mut Graph::inference(), &x, &t(w), None, placement).unwrap_err().to_string()
    };
    assert!(run([2, 3, 2, 2], Placement::new(2, 0)).contains("(3, O, KH, KW)"));
    assert!(run([3, 2, 2, 2], Placement::new(1, 2)).contains("empty output"));
}
