use super::*;
use crate::ops::check::Case;
use crate::{Cpu, Graph};

#[test]
fn matches_plain_loops() {
    for [batch, channels, height, width] in [[1, 1, 1, 1], [2, 5, 3, 4], [2, 7, 1, 530]] {
        let plane = height * width;
        // the wide map spans two blocks of columns
        Case::new()
            .input([batch, channels, height, width], -2.0..3.0)
            .input([channels], -1.0..1.0)
            .input([channels], -1.0..1.0)
            .gradients_match(
                |graph, t| channel_norm(graph, &t[0], &t[1], &t[2], 1e-3),
                |t| {
                    let n = channels as f64;
                    let mut y = t[0].clone();
                    for b in 0..batch {
                        for p in 0..plane {
                            let at = |c: usize| (b * channels + c) * plane + p;
                            let mean = (0..channels).map(|c| t[0][at(c)]).sum::<f64>() / n;
                            let variance =
                                (0..channels).map(|c| (t[0][at(c)] - mean).powi(2)).sum::<f64>() / n;
                            for c in 0..channels {
                                let normal = (t[0][at(c)] - mean) / (variance + 1e-3).sqrt();
                                y[at(c)] = normal * t[1][c] + t[2][c];
                            }
                        }
                    }
                    y
                },
                2e-5,
            );
    }
}

#[test]
fn wrong_shapes_are_named() {
    let dev = Cpu::default();
    let x = Tensor::zeros(&dev, [1, 3, 2, 2]).unwrap();
    let (right, wrong) = (Tensor::zeros(&dev, [3]).unwrap(), Tensor::zeros(&dev, [2]).unwrap());
    let error = channel_norm(&mut Graph::inference(), &x, &right, &wrong, 1e-6).unwrap_err();
    assert!(error.to_string().contains("the bias has shape [2], expected [3]"), "{error}");
}
