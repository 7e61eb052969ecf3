//! Every op on the GPU against the CPU, on the same random inputs: values, gradients, and the same bits run to run.
//!
//! Skipped, with a line that says so, where no GPU can be opened; a failure there if KAT_REQUIRE_CUDA is set.
#![cfg(feature = "cuda")]

use kat_backbone::nn::Module as _;
use kat_backbone::ops::adamw::AdamWConfig;
use kat_backbone::ops::elementwise_loss::Goal;
use kat_backbone::ops::pool::PaddingCounts;
use kat_backbone::ops::rational::Denominator;
use kat_backbone::ops::roi_align::{Options as RoiOptions, Roi};
use kat_backbone::ops::softmax_cross_entropy::{Options, Targets};
use kat_backbone::ops::window::Placement;
use kat_backbone::ops::{self, RelativePositions, batch_norm, resize};
use kat_backbone::optim::{AdamW, GradientSet, ParameterOptions, average_weights};
use kat_backbone::step_monitor::{Clip, StepMonitor};
use kat_backbone::{Cpu, Cuda, Device, Graph, Kat, KatConfig, Precision, Result, Size, Tensor, variants};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

mod attention;

/// The GPU, or none with a line that says why.
fn gpu() -> Option<Cuda> {
    gpu_in(Precision::F32)
}

fn gpu_in(precision: Precision) -> Option<Cuda> {
    match Cuda::open(0, precision) {
        Ok(device) => Some(device),
        Err(error) if std::env::var_os("KAT_REQUIRE_CUDA").is_some() => panic!("no GPU: {error}"),
        Err(error) => {
            eprintln!("skipped: no GPU: {error}");
            None
        }
    }
}

fn random(len: usize, seed: u64) -> Vec<f32> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| generator.random::<f32>() * 2.0 - 1.0).collect()
}

/// The output of `op` and the gradients at its inputs of Σ (y - t)²/2, t random, while training.
fn run<D: Device>(
    device: &D,
    shapes: &[&[usize]],
    op: impl Fn(&mut Graph<D>, &[Tensor<D>]) -> Result<Tensor<D>>,
) -> Result<Vec<Vec<f32>>> {
    run_on(device, random, shapes, op)
}

/// As [`run`], on inputs by `values` (length, number of the input).
fn run_on<D: Device>(
    device: &D,
    values: impl Fn(usize, u64) -> Vec<f32>,
    shapes: &[&[usize]],
    op: impl Fn(&mut Graph<D>, &[Tensor<D>]) -> Result<Tensor<D>>,
) -> Result<Vec<Vec<f32>>> {
    let input = |(i, shape): (usize, &&[usize])| {
        let values = values(shape.iter().product(), i as u64);
        Tensor::from_vec(device, values, kat_backbone::Shape::new(shape)?)?.parameter()
    };
    let inputs: Vec<Tensor<D>> = shapes.iter().enumerate().map(input).collect::<Result<_>>()?;
    let mut graph = Graph::training(7);
    let y = op(&mut graph, &inputs)?;
    let mut results = vec![y.to_vec()];
    const BETA: f32 = 4096.0;
    let goal = Goal::sum(random(y.numel(), 99), 1.0 / BETA);
    let loss = ops::smooth_l1(&mut graph, &y, goal, BETA)?;
    let mut gradients = graph.backward(&loss)?;
    for input in &inputs {
        results.push(gradients.take_host(input)?.unwrap_or_default());
    }
    Ok(results)
}

/// The greatest difference, relative to the greatest value.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    let worst = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |m: f32, d| if d.is_nan() { f32::INFINITY } else { m.max(d) });
    worst / scale
}

/// f32 on both sides: what differs is the order of sums and the last bits of functions. Each of K terms of a sum is rounded
/// by at most 2^-24 of the sum so far; the errors have no common sign, so that they grow as √K: 1.3e-5 of a typical term for
/// the longest sums here (K = 49,152, a chunk of a convolution's gradient), and a third of that or less of the greatest
/// value, by which [`difference`] divides. Through two blocks of a model such errors add up to a few times 1e-6. On an H100
/// the greatest was 2.8e-6 of a model and 9.6e-6 of one op (a gradient of 3e-6, held against the floor of `difference`).
fn compare(name: &str, gpu: [Result<Vec<Vec<f32>>>; 2], cpu: Result<Vec<Vec<f32>>>) {
    compare_within(1e-5, name, gpu, cpu);
}

fn compare_within(bound: f32, name: &str, gpu: [Result<Vec<Vec<f32>>>; 2], cpu: Result<Vec<Vec<f32>>>) {
    let [first, second] = gpu.map(|run| run.unwrap_or_else(|error| panic!("{name}: {error}")));
    let cpu = cpu.unwrap_or_else(|error| panic!("{name}, CPU: {error}"));
    assert!(first == second, "{name}: two runs differ");
    for (i, (found, expected)) in first.iter().zip(&cpu).enumerate() {
        let what = if i == 0 { "output".to_owned() } else { format!("gradient of input {}", i - 1) };
        let worst = difference(found, expected);
        println!("{name:<28} {what:<22} {worst:.1e}");
        assert!(worst <= bound, "{name}: {what} is off by {worst:e}");
    }
}

/// One op on both devices: its name, the shapes of its inputs, the call.
macro_rules! same {
    ($gpu:ident, $name:expr, [$($shape:expr),*], |$graph:ident, $t:ident| $call:expr) => {{
        let shapes: &[&[usize]] = &[$(&$shape),*];
        let on_gpu = || run(&$gpu, shapes, |$graph: &mut Graph<Cuda>, $t: &[Tensor<Cuda>]| $call);
        let on_cpu = run(&Cpu::default(), shapes, |$graph: &mut Graph<Cpu>, $t: &[Tensor<Cpu>]| $call);
        compare($name, [on_gpu(), on_gpu()], on_cpu);
    }};
}

/// One rounding to bfloat16: 8 bits.
const ROUNDING: f32 = 1.0 / 256.0;

/// An op between two that keep bfloat16: its input and the gradient at its output are in that type.
macro_rules! same_mixed {
    ($gpu:ident, $name:expr, [$($shape:expr),*], |$graph:ident, $t:ident| $call:expr) => {{
        let shapes: &[&[usize]] = &[$(&$shape),*];
        let on_gpu = || run(&$gpu, shapes, |$graph: &mut Graph<Cuda>, $t: &[Tensor<Cuda>]| $call);
        let on_cpu = run(&Cpu::default(), shapes, |$graph: &mut Graph<Cpu>, $t: &[Tensor<Cpu>]| $call);
        compare_within(6.0 * ROUNDING, $name, [on_gpu(), on_gpu()], on_cpu);
    }};
}

mod convolutions;
mod elementwise;
mod maps;
mod residual;
mod steps;

#[test]
fn ops_of_the_backbone() {
    let Some(gpu) = gpu() else { return };
    for [rows, inputs, outputs] in [[1, 1, 1], [7, 5, 3], [394, 192, 576]] {
        same!(gpu, "linear", [[rows, inputs], [outputs, inputs], [outputs]], |graph, t| {
            ops::linear(graph, &t[0], &t[1], Some(&t[2]))
        });
    }
    // packs of 4, single values, groups wider than a block of packs; shared and own coefficients; other orders
    for (shape, groups, rows, orders) in [
        ([50, 64], 8, [1, 8], [6, 4]),
        ([197, 1536], 8, [8, 8], [6, 4]),
        ([33, 24], 8, [8, 1], [6, 4]),
        ([9, 8192], 2, [1, 2], [6, 4]),
        ([20, 16], 4, [4, 4], [4, 2]),
    ] {
        for form in [Denominator::Kernel, Denominator::Paper] {
            same!(gpu, "rational", [shape, [rows[0], orders[0]], [rows[1], orders[1]]], |graph, t| {
                ops::rational(graph, &t[0], &t[1], &t[2], groups, form)
            });
        }
    }
    same!(gpu, "prelu", [[197, 33], [1]], |graph, t| ops::prelu(graph, &t[0], &t[1]));
    for shape in [[3, 5], [700, 192], [2, 1030]] {
        same!(gpu, "layer_norm", [shape, [shape[1]], [shape[1]]], |graph, t| {
            ops::layer_norm(graph, &t[0], &t[1], &t[2], 1e-6)
        });
    }
    for (batch, tokens, heads, dim) in [(1, 1, 1, 4), (3, 50, 3, 16), (2, 197, 6, 64)] {
        same!(gpu, "attention", [[batch, tokens, 3 * heads * dim]], |graph, t| {
            ops::attention(graph, &t[0], heads, None)
        });
    }
    same!(gpu, "attention, relative", [[2, 12, 3 * 2 * 8], [5, 8], [7, 8]], |graph, t| {
        let relative = RelativePositions { height: t[1].clone(), width: t[2].clone(), grid: Size::new(3, 4) };
        ops::attention(graph, &t[0], 2, Some(&relative))
    });
    same!(gpu, "patchify", [[2, 3, 8, 12]], |graph, t| ops::patchify(graph, &t[0], Size::new(2, 3)));
    same!(gpu, "prepend_tokens", [[1, 2, 5], [3, 4, 5]], |graph, t| ops::prepend_tokens(graph, &t[0], &t[1]));
    same!(gpu, "take_tokens", [[3, 7, 5]], |graph, t| ops::take_tokens(graph, &t[0], 2..5));
    same!(gpu, "mean_tokens", [[3, 7, 5]], |graph, t| ops::mean_tokens(graph, &t[0]));
}

#[test]
fn losses() {
    let Some(gpu) = gpu() else { return };
    let classes: Vec<u32> = (0..40).map(|i| if i % 7 == 0 { 255 } else { i % 5 }).collect();
    let hard = Targets::Hard { classes, ignore: Some(255) };
    let soft = Targets::Soft(random(200, 3).iter().map(|v| v.abs()).collect());
    let weighted = Options { class_weights: Some(vec![0.5, 1.0, 2.0, 0.0, 1.5]), ..Options::smoothed(0.1) };
    for targets in [&hard, &soft] {
        for options in [&Options::default(), &Options::smoothed(0.1), &weighted] {
            same!(gpu, "cross entropy, rows", [[40, 5]], |graph, t| {
                ops::softmax_cross_entropy(graph, &t[0], targets, options)
            });
            same!(gpu, "cross entropy, planes", [[2, 5, 4, 5]], |graph, t| {
                ops::softmax_cross_entropy(graph, &t[0], targets, options)
            });
        }
    }
}

#[test]
fn layout_ops() {
    let Some(gpu) = gpu() else { return };
    same!(gpu, "window_partition", [[2, 15, 4]], |graph, t| ops::window_partition(
        graph,
        &t[0],
        Size::new(3, 5),
        2
    ));
    same!(gpu, "tokens_to_map", [[2, 12, 5]], |graph, t| ops::tokens_to_map(graph, &t[0], [3, 4]));
    same!(gpu, "concat", [[2, 3, 4], [2, 5, 4]], |graph, t| ops::concat(graph, &[&t[0], &t[1]], 1));
    same!(gpu, "narrow", [[2, 7, 4]], |graph, t| ops::narrow(graph, &t[0], 1, 2..5));
    same!(gpu, "gather_rows", [[6, 5]], |graph, t| ops::gather_rows(graph, &t[0], &[4, 0, 4, 2]));
}

#[test]
fn mixed_precision() {
    let Some(gpu) = gpu_in(Precision::Bf16) else { return };
    for shape in [[37, 64], [9, 24], [50, 193]] {
        let (rows, channels) = (shape[0], shape[1]);
        let weights = [channels, channels];
        same_mixed!(gpu, "linear twice", [[rows, channels], weights, [channels], weights], |graph, t| {
            let hidden = ops::linear(graph, &t[0], &t[1], Some(&t[2]))?;
            let y = ops::linear(graph, &hidden, &t[3], None)?;
            ops::scale(graph, &y, 1.0 / channels as f32)
        });
        same_mixed!(gpu, "norm, linear", [[rows, channels], [channels], [channels], weights], |graph, t| {
            let x = ops::layer_norm(graph, &t[0], &t[1], &t[2], 1e-6)?;
            ops::linear(graph, &x, &t[3], None)
        });
        same_mixed!(gpu, "linear, gelu, linear", [[rows, channels], weights, weights], |graph, t| {
            let x = ops::linear(graph, &t[0], &t[1], None)?;
            let x = ops::gelu(graph, &x)?;
            ops::linear(graph, &x, &t[2], None)
        });
        same_mixed!(gpu, "branch", [[rows, channels], [rows, channels], weights], |graph, t| {
            let branch = ops::linear(graph, &t[1], &t[2], None)?;
            let once = ops::add(graph, &t[0], &branch)?;
            ops::add_drop_path(graph, &once, &branch, 0.4)
        });
    }
    // x itself as columns, and not; several images
    for (x, weight) in
        [([3, 7, 5, 9], [4, 7, 1, 1]), ([1, 7, 9, 9], [3, 7, 5, 7]), ([3, 5, 9, 8], [2, 5, 3, 3])]
    {
        let placement = Placement::new(1, weight[3] / 2);
        same_mixed!(gpu, "conv2d", [x, weight, [weight[0]]], |graph, t| {
            ops::conv2d(graph, &t[0], &t[1], Some(&t[2]), placement)
        });
    }
    same_mixed!(gpu, "conv_transpose2d", [[3, 5, 4, 3], [5, 3, 2, 2], [3]], |graph, t| {
        ops::conv_transpose2d(graph, &t[0], &t[1], Some(&t[2]), Placement::new(2, 0))
    });
    same_mixed!(gpu, "prelu", [[50, 24], [1]], |graph, t| {
        let x = ops::linear(graph, &t[0], &identity(&t[0])?, None)?;
        let y = ops::prelu(graph, &x, &t[1])?;
        ops::linear(graph, &y, &identity(&t[0])?, None)
    });
    // bfloat16 packs of 8, single values, other orders
    for (channels, groups, orders) in [(64, 8, [6, 4]), (24, 2, [6, 4]), (24, 8, [6, 4]), (16, 4, [4, 2])] {
        let shapes = [[50, channels], [1, orders[0]], [groups, orders[1]]];
        for form in [Denominator::Kernel, Denominator::Paper] {
            same_mixed!(gpu, "rational", [shapes[0], shapes[1], shapes[2]], |graph, t| {
                // Rounds x, and keeps its sign: the slope jumps at 0.
                let x = ops::linear(graph, &t[0], &identity(&t[0])?, None)?;
                let y = ops::rational(graph, &x, &t[1], &t[2], groups, form)?;
                ops::linear(graph, &y, &identity(&t[0])?, None)
            });
        }
    }
}

/// The unit matrix of x's channels.
fn identity<D: Device>(x: &Tensor<D>) -> Result<Tensor<D>> {
    let n = x.shape().last();
    let values = (0..n * n).map(|i| if i % (n + 1) == 0 { 1.0 } else { 0.0 }).collect();
    Tensor::from_vec(x.device(), values, [n, n])
}
