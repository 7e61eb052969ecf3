use super::*;
use crate::ops::check::Case;

/// Published coefficients' shape: a0 … a5 shared, b1 … b4 for each of two groups.
fn step(graph: &mut Graph<Cpu>, t: &[Tensor<Cpu>], rational: bool) -> Result<[Tensor<Cpu>; 2]> {
    let activation = rational.then(|| Rational {
        numerator: &t[4],
        denominator: &t[5],
        groups: 2,
        form: Denominator::Kernel,
    });
    residual_norm(graph, &t[0], &t[1], 0.0, Norm { weight: &t[2], bias: &t[3], eps: 1e-6 }, activation)
}

/// (sum, norm or the rational of the norm) of 5 rows of 8 channels.
fn reference(t: &[Vec<f64>], rational: bool) -> [Vec<f64>; 2] {
    let sum: Vec<f64> = t[0].iter().zip(&t[1]).map(|(a, b)| a + b).collect();
    let mut y = Vec::new();
    for row in sum.chunks(8) {
        let mean = row.iter().sum::<f64>() / 8.0;
        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 8.0;
        for (c, v) in row.iter().enumerate() {
            let n = (v - mean) / (variance + 1e-6).sqrt() * t[2][c] + t[3][c];
            y.push(match rational {
                true => {
                    let p = t[4].iter().rev().fold(0.0, |p, a| p * n + a);
                    p / Denominator::Kernel.at(t[5][c / 4 * 4..][..4].iter().copied(), n)
                }
                false => n,
            });
        }
    }
    [sum, y]
}

#[test]
fn both_outputs_pass_their_gradients_on() {
    for rational in [false, true] {
        Case::new()
            .input([5, 8], -1.0..1.0)
            .input([5, 8], -1.0..1.0)
            .input([8], 0.5..1.5)
            .input([8], -0.5..0.5)
            .input([1, 6], -0.5..0.5)
            .input([2, 4], 0.1..0.5)
            .gradients_match(
                |graph, t| {
                    let [sum, y] = step(graph, t, rational)?;
                    crate::ops::add(graph, &sum, &y)
                },
                |t| {
                    let [sum, y] = reference(t, rational);
                    sum.iter().zip(&y).map(|(a, b)| a + b).collect()
                },
                2e-5,
            );
    }
}

#[test]
fn a_branch_of_another_shape_is_named() {
    let device = Cpu::default();
    let zeros = |shape: &[usize]| Tensor::zeros(&device, crate::Shape::new(shape).unwrap()).unwrap();
    let norm = (zeros(&[8]), zeros(&[8]));
    let norm = Norm { weight: &norm.0, bias: &norm.1, eps: 1e-6 };
    let error = residual_norm(&mut Graph::inference(), &zeros(&[5, 8]), &zeros(&[4, 8]), 0.0, norm, None)
        .unwrap_err();
    assert!(error.to_string().contains("[4, 8]"), "{error}");
}
