//! Convolutions, as they are and transposed.

use super::*;

fn placed(stride: [usize; 2], padding: [usize; 2]) -> Placement {
    Placement { stride, padding }
}

#[test]
fn convolutions() {
    let Some(gpu) = gpu() else { return };
    for (x, weight, placement) in [
        ([1, 1, 1, 1], [1, 1, 1, 1], Placement::default()),
        ([2, 3, 9, 8], [4, 3, 3, 3], Placement::new(1, 1)),
        ([2, 3, 9, 8], [4, 3, 3, 3], Placement::new(2, 1)),
        // x itself as columns, and not
        ([3, 70, 7, 5], [33, 70, 1, 1], Placement::default()),
        ([1, 70, 7, 5], [33, 70, 1, 1], Placement::default()),
        ([2, 5, 7, 5], [3, 5, 1, 1], Placement::new(2, 0)),
        ([2, 5, 7, 5], [3, 5, 1, 1], Placement::new(1, 2)),
        // windows in the padding altogether, windows larger than x, gaps between windows
        ([2, 2, 3, 4], [3, 2, 3, 3], Placement::new(1, 4)),
        ([1, 2, 2, 3], [2, 2, 5, 4], Placement::new(2, 2)),
        ([2, 3, 11, 13], [2, 3, 2, 2], Placement::new(5, 0)),
        // tall and wide
        ([2, 4, 1, 300], [5, 4, 1, 7], placed([1, 2], [0, 3])),
        ([2, 4, 290, 1], [5, 4, 5, 1], placed([3, 1], [1, 0])),
        ([1, 3, 32, 32], [6, 3, 16, 16], Placement::new(16, 0)),
        // several blocks a plane
        ([2, 6, 65, 33], [9, 6, 3, 3], Placement::new(1, 1)),
        ([1, 2, 80, 81], [3, 2, 3, 5], placed([1, 2], [1, 2])),
        // a product an image, and one of all: 1024 positions and below
        ([3, 5, 32, 32], [7, 5, 3, 3], Placement::new(1, 1)),
        ([3, 5, 31, 33], [7, 5, 3, 3], Placement::new(1, 1)),
    ] {
        same!(gpu, "conv2d", [x, weight, [weight[0]]], |graph, t| {
            ops::conv2d(graph, &t[0], &t[1], Some(&t[2]), placement)
        });
        same!(gpu, "conv2d, no bias", [x, weight], |graph, t| {
            ops::conv2d(graph, &t[0], &t[1], None, placement)
        });
    }
}

#[test]
fn convolutions_in_chunks() {
    let Some(gpu) = gpu() else { return };
    // columns of 77 million values: two images of three at a time; 85 of 96 channels
    for x in [[3, 32, 128, 128], [1, 96, 128, 128]] {
        same!(gpu, "conv2d, chunks", [x, [1, x[1], 7, 7], [1]], |graph, t| {
            ops::conv2d(graph, &t[0], &t[1], Some(&t[2]), Placement::new(1, 3))
        });
    }
    // 49 weights a channel: in bfloat16 those of the second chunk begin within a word
    let Some(gpu) = gpu_in(Precision::Bf16) else { return };
    same_mixed!(gpu, "conv2d, chunks", [[1, 96, 128, 128], [1, 96, 7, 7], [1]], |graph, t| {
        ops::conv2d(graph, &t[0], &t[1], Some(&t[2]), Placement::new(1, 3))
    });
}

#[test]
fn transposed_convolutions() {
    let Some(gpu) = gpu() else { return };
    for (x, weight, placement) in [
        ([1, 1, 1, 1], [1, 1, 1, 1], Placement::default()),
        ([2, 3, 4, 5], [3, 4, 2, 2], Placement::new(2, 0)),
        ([2, 3, 4, 5], [3, 4, 3, 3], Placement::new(2, 1)),
        ([2, 40, 6, 5], [40, 7, 1, 1], Placement::default()),
        ([2, 2, 5, 4], [2, 3, 2, 3], placed([3, 1], [0, 1])),
        ([1, 5, 40, 37], [5, 6, 4, 4], Placement::new(2, 1)),
    ] {
        same!(gpu, "conv_transpose2d", [x, weight, [weight[1]]], |graph, t| {
            ops::conv_transpose2d(graph, &t[0], &t[1], Some(&t[2]), placement)
        });
        same!(gpu, "conv_transpose2d, no bias", [x, weight], |graph, t| {
            ops::conv_transpose2d(graph, &t[0], &t[1], None, placement)
        });
    }
}
