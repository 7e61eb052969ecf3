use super::*;
use crate::Cpu;
use crate::cpu::simd::logistic;
use crate::ops::check::Case;

#[test]
fn gelu_matches_its_definition() {
    Case::new().input([3, 50], -5.0..5.0).gradients_match(
        |graph, t| gelu(graph, &t[0]),
        |t| t[0].iter().map(|x| x / 2.0 * (1.0 + libm::erf(x / 2f64.sqrt()))).collect(),
        1e-6,
    );
}

#[test]
fn match_their_definitions() {
    Case::new().input([3, 50], -5.0..5.0).gradients_match(
        |graph, t| relu(graph, &t[0]),
        |t| t[0].iter().map(|x| x.max(0.0)).collect(),
        1e-6,
    );
    Case::new().input([3, 50], -9.0..9.0).gradients_match(
        |graph, t| sigmoid(graph, &t[0]),
        |t| t[0].iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect(),
        1e-6,
    );
    Case::new().input([3, 50], -5.0..5.0).gradients_match(
        |graph, t| activate(graph, &t[0], Function::GeluTanh),
        |t| {
            let inner = |x: f64| (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            t[0].iter().map(|x| x / 2.0 * (1.0 + inner(*x).tanh())).collect()
        },
        1e-6,
    );
    Case::new().input([3, 50], -5.0..5.0).gradients_match(
        |graph, t| activate(graph, &t[0], Function::QuickGelu),
        |t| t[0].iter().map(|x| x / (1.0 + (-1.702 * x).exp())).collect(),
        1e-6,
    );
    assert_eq!((logistic(200.0), logistic(-200.0) < 1e-37), (1.0, true));
    assert!(Cpu::default().activation_forward(Function::Relu, &[f32::NAN]).unwrap()[0].is_nan());
}
