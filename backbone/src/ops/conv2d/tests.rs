use super::*;
use crate::ops::check::{Case, relative_error};
use crate::{Cpu, Graph};

fn geometry(
    [batch, in_channels, out_channels]: [usize; 3],
    input: [usize; 2],
    kernel: [usize; 2],
    placement: Placement,
) -> Geometry {
    let output = placement.windows("test", input, kernel).unwrap();
    Geometry { batch, in_channels, out_channels, input, output, kernel, placement }
}

fn check(g: Geometry) {
    Case::new()
        .input([g.batch, g.in_channels, g.input[0], g.input[1]], -1.0..1.0)
        .input([g.out_channels, g.in_channels, g.kernel[0], g.kernel[1]], -1.0..1.0)
        .input([g.out_channels], -1.0..1.0)
        .gradients_match(
            |graph, t| conv2d(graph, &t[0], &t[1], Some(&t[2]), g.placement),
            |t| {
                let y = reference::forward(&t[0], &t[1], &g);
                let channel = |i: usize| i / g.output_plane() % g.out_channels;
                y.iter().enumerate().map(|(i, y)| y + t[2][channel(i)]).collect()
            },
            1e-5,
        );
}

#[test]
fn matches_plain_loops_for_every_kind_of_window() {
    let placement = |stride, padding| Placement { stride, padding };
    for (input, kernel, placement) in [
        ([5, 6], [3, 3], Placement::new(1, 1)),
        ([5, 6], [1, 1], Placement::default()),
        ([5, 6], [1, 1], Placement::new(2, 0)),
        ([1, 1], [3, 3], Placement::new(1, 1)),
        ([4, 3], [5, 5], Placement::new(1, 2)),
        ([5, 6], [3, 2], placement([1, 1], [0, 1])),
        ([6, 7], [3, 3], Placement::new(2, 1)),
        ([4, 6], [2, 2], Placement::new(2, 0)),
        ([5, 7], [2, 2], Placement::new(2, 0)),
        ([7, 7], [2, 1], Placement::new(3, 1)),
        ([4, 18], [2, 9], placement([2, 9], [0, 0])),
        ([3, 10], [2, 8], placement([1, 3], [1, 5])),
        ([2, 3], [1, 1], Placement::new(1, 1)),
    ] {
        check(geometry([2, 3, 4], input, kernel, placement));
    }
}

/// Sizes past one tile and one block of channels, with small maps that share a tile, against plain loops.
#[test]
fn tiles_and_channel_blocks_meet() {
    for (sizes, input, kernel, placement) in [
        ([1, 40, 3], [37, 41], [3, 3], Placement::new(1, 1)),
        ([30, 37, 4], [7, 7], [3, 3], Placement::new(1, 1)),
        ([5, 300, 4], [9, 13], [1, 1], Placement::default()),
        ([2, 4, 5], [64, 70], [8, 8], Placement::new(4, 2)),
        ([2, 80, 3], [52, 50], [2, 2], Placement::new(2, 0)),
    ] {
        let g = geometry(sizes, input, kernel, placement);
        let values = |len: usize, seed: usize| -> Vec<f32> {
            (0..len).map(|i| ((i * 7919 + seed) % 2003) as f32 / 1000.0 - 1.0).collect()
        };
        let exact = |v: &[f32]| v.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
        let (x, w, dy) =
            (values(g.input_len(), 1), values(g.out_channels * g.depth(), 2), values(g.output_len(), 3));
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let cpu = Cpu::default();
                (
                    cpu.conv2d_forward(&x, &w, None, &g).unwrap(),
                    cpu.conv2d_input_gradient(&dy, &w, None, &g).unwrap(),
                    cpu.conv2d_weight_gradient(&dy, &x, &g).unwrap(),
                    cpu.channel_sums(&dy, g.out_channels, g.output_plane()).unwrap(),
                )
            })
        };
        let found = run(1);
        assert!(found == run(3), "the same bits on one thread and on three: {g:?}");
        let (x, w, dy) = (exact(&x), exact(&w), exact(&dy));
        assert!(relative_error(&found.0, &reference::forward(&x, &w, &g)) < 1e-5, "{g:?}");
        assert!(relative_error(&found.1, &reference::transposed(&dy, &w, &g)) < 1e-5, "{g:?}");
        let mut dw = vec![0.0; w.len()];
        for (o, dw) in dw.chunks_mut(g.depth()).enumerate() {
            // the gradient at one weight is y of the kernel that is 1 there, times dy
            for (tap, dw) in dw.iter_mut().enumerate().step_by(g.depth() / 3) {
                let mut one = vec![0.0; g.depth()];
                one[tap] = 1.0;
                let single = Geometry { out_channels: 1, ..g };
                let y = reference::forward(&x, &one, &single);
                let dy = |i: usize| {
                    dy[(i / g.output_plane() * g.out_channels + o) * g.output_plane() + i % g.output_plane()]
                };
                *dw = y.iter().enumerate().map(|(i, y)| y * dy(i)).sum();
            }
        }
        let kept: Vec<(f32, f64)> =
            found.2.iter().copied().zip(dw).filter(|(_, exact)| *exact != 0.0).collect();
        let (found, exact): (Vec<f32>, Vec<f64>) = kept.into_iter().unzip();
        assert!(relative_error(&found, &exact) < 1e-5, "{g:?}");
    }
}

#[test]
fn wrong_shapes_are_named() {
    let dev = Cpu::default();
    let t = |shape: &[usize]| Tensor::zeros(&dev, crate::Shape::new(shape).unwrap()).unwrap();
    let run = |x: &[usize], w: &[usize], placement| {
        conv2d(&mut Graph::inference(), &t(x), &t(w), None, placement).unwrap_err().to_string()
    };
    assert!(run(&[2, 3, 4], &[1, 3, 1, 1], Placement::default()).contains("(B, C, H, W)"));
    assert!(run(&[2, 3, 4, 4], &[1, 2, 1, 1], Placement::default()).contains("(O, 3, KH, KW)"));
    assert!(run(&[2, 3, 4, 4], &[1, 3, 5, 5], Placement::default()).contains("kernel of 5"));
    assert!(run(&[2, 3, 4, 4], &[1, 3, 1, 1], Placement::new(0, 0)).contains("stride 0"));
}
