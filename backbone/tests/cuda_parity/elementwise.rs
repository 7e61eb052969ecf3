//! Ops that go element by element or row by row.

use super::*;
use kat_backbone::ops::activation::Function;

#[test]
fn elementwise_ops() {
    let Some(gpu) = gpu() else { return };
    same!(gpu, "gelu", [[300, 33]], |graph, t| ops::gelu(graph, &t[0]));
    same!(gpu, "relu", [[300, 33]], |graph, t| ops::relu(graph, &t[0]));
    same!(gpu, "sigmoid", [[300, 33]], |graph, t| ops::sigmoid(graph, &t[0]));
    same!(gpu, "add", [[4, 6, 5], [4, 6, 5]], |graph, t| ops::add(graph, &t[0], &t[1]));
    same!(gpu, "add, repeated", [[4, 6, 5], [6, 5]], |graph, t| ops::add(graph, &t[0], &t[1]));
    same!(gpu, "add_drop_path", [[40, 6], [40, 6]], |graph, t| {
        ops::add_drop_path(graph, &t[0], &t[1], 0.3)
    });
    same!(gpu, "scale", [[40, 6]], |graph, t| ops::scale(graph, &t[0], 0.3));
    same!(gpu, "mean", [[400, 61]], |graph, t| ops::mean(graph, &t[0]));
}

#[test]
fn dropout_draws_what_the_host_draws() {
    let Some(gpu) = gpu() else { return };
    // part of a ChaCha block, several streams
    for len in [1, 15, 16, 17, 3 * 16 * 1024 + 5] {
        for rate in [0.1, 0.75] {
            same!(gpu, "dropout", [[len]], |graph, t| ops::dropout(graph, &t[0], rate));
        }
    }
    same!(gpu, "channel_dropout", [[5, 7, 3, 2]], |graph, t| ops::channel_dropout(graph, &t[0], 0.4));
}

#[test]
fn edges_of_a_kan() {
    let Some(gpu) = gpu() else { return };
    same!(gpu, "silu", [[300, 33]], |graph, t| ops::silu(graph, &t[0]));
    for function in [Function::GeluTanh, Function::QuickGelu] {
        same!(gpu, "approximate gelu", [[300, 33]], |graph, t| ops::activate(graph, &t[0], function));
    }
    for (inputs, basis) in [(1, 1), (700, 8), (77, 5), (9, 300)] {
        same!(gpu, "spline_basis", [[inputs]], |graph, t| {
            let x = ops::scale(graph, &t[0], 1.5)?;
            ops::spline_basis(graph, &x, basis)
        });
    }
    for shape in [[1, 1], [1000, 8], [30, 7], [5, 33], [3, 5000]] {
        same!(gpu, "scale_rows", [shape, [shape[0]]], |graph, t| ops::scale_rows(graph, &t[0], &t[1]));
    }
}

#[test]
fn elementwise_losses() {
    let Some(gpu) = gpu() else { return };
    // more than 512 blocks of 256 values
    for len in [1, 50, 300_001] {
        let shares: Vec<f32> = random(len, 5).iter().map(|v| v.abs()).collect();
        let weighted = |targets| Goal { weights: Some(random(len, 6)), ..Goal::sum(targets, 3.5) };
        same!(gpu, "binary_cross_entropy", [[len]], |graph, t| {
            ops::binary_cross_entropy(graph, &t[0], Goal::mean(shares.clone()))
        });
        same!(gpu, "binary_cross_entropy", [[len]], |graph, t| {
            ops::binary_cross_entropy(graph, &t[0], weighted(shares.clone()))
        });
        for beta in [0.0, 0.3] {
            same!(gpu, "smooth_l1", [[len]], |graph, t| {
                // every fifth is met exactly
                let targets = t[0].to_vec().into_iter().zip(random(len, 8)).enumerate();
                let targets = targets.map(|(i, (x, t))| if i % 5 == 0 { x } else { t });
                ops::smooth_l1(graph, &t[0], weighted(targets.collect()), beta)
            });
        }
    }
}
