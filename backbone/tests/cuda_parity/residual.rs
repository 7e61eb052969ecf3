//! The residual stream's step in one pass.

use super::*;
use kat_backbone::ops::residual_norm::{Norm, Rational};

/// Values of which bfloat16 loses nothing: both devices add the same, and a norm's sign, at which the slope of a rational
/// jumps, is the same.
fn exact(len: usize, seed: u64) -> Vec<f32> {
    random(len, seed).into_iter().map(|v| (v * 128.0).round() / 128.0).collect()
}

/// What the step gives, of one or both of its outputs, with a branch that a layer made.
fn step<D: Device>(
    graph: &mut Graph<D>,
    t: &[Tensor<D>],
    (groups, rate, outputs): (usize, f32, [bool; 2]),
) -> Result<Tensor<D>> {
    let branch = ops::linear(graph, &t[1], &identity(&t[1])?, Some(&t[6]))?;
    let norm = Norm { weight: &t[2], bias: &t[3], eps: 1e-6 };
    let activation = (groups > 0).then(|| Rational {
        numerator: &t[4],
        denominator: &t[5],
        groups,
        form: Denominator::Kernel,
    });
    let [sum, y] = ops::residual_norm(graph, &t[0], &branch, rate, norm, activation)?;
    match outputs {
        [true, true] => ops::add(graph, &sum, &y),
        [true, false] => Ok(sum),
        [false, _] => Ok(y),
    }
}

fn compare_step(gpu: &Cuda, bound: f32) {
    for (samples, channels, groups) in [
        (3, 8, 0),
        (5, 64, 8),
        (40, 128, 1),
        (7, 192, 8),
        (3, 384, 8),
        (2, 384, 0),
        (2, 512, 16),
        (2, 768, 8),
        (2, 1024, 32),
        // in parts: groups that do not divide a warp, rows that don't fit it
        (2, 96, 3),
        (2, 1032, 2),
    ] {
        for (rate, outputs) in
            [(0.0, [true, true]), (0.4, [true, true]), (0.0, [false, true]), (0.4, [true, false])]
        {
            let x = [samples, 9, channels];
            let shapes: &[&[usize]] =
                &[&x, &x, &[channels], &[channels], &[1, 6], &[groups.max(1), 4], &[channels]];
            let settings = (groups, rate, outputs);
            let on_gpu = || run_on(gpu, exact, shapes, |graph, t| step(graph, t, settings));
            let on_cpu = run_on(&Cpu::default(), exact, shapes, |graph, t| step(graph, t, settings));
            compare_within(bound, "residual_norm", [on_gpu(), on_gpu()], on_cpu);
        }
    }
}

#[test]
fn the_sum_and_its_norm_and_rational() {
    let Some(gpu) = gpu() else { return };
    compare_step(&gpu, 1e-5);
}

#[test]
fn the_same_between_layers_of_bfloat16() {
    let Some(gpu) = gpu_in(Precision::Bf16) else { return };
    compare_step(&gpu, 6.0 * ROUNDING);
}
