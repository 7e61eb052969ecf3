//! Ops and a whole model in lower precision, against f32 and against golden numbers.

use crate::config::Size;
use crate::ops::conv2d::{Placement, conv2d};
use crate::ops::{self, RelativePositions};
use crate::tensor::Backend as _;
use crate::verify::verify;
use crate::{Cpu, Graph, Precision, Result, Tensor};
use rand::{RngExt as _, SeedableRng as _};
use std::path::PathBuf;

/// Relative norm that a layer may be off: a factor of 8 bits is off by up to 2⁻⁹, a product of two by about 1.6e-3 (both signs
/// occur), and attention's gradients pass through three products.
const BF16: f64 = 6e-3;
/// As [`BF16`], of factors of 16 bits: a product is off by about 4e-6.
const TF32: f64 = 1e-5;

/// Uniform in [-1, 1): a sum of them has the size of its errors' sum over the error of one.
fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut generator = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| generator.random_range(-1.0..1.0)).collect()
}

fn relative(found: &[f32], expected: &[f32]) -> f64 {
    let exact: Vec<f64> = expected.iter().map(|v| f64::from(*v)).collect();
    crate::ops::check::relative_error(found, &exact)
}

/// Output of an op and its gradient at each input, of the given shapes.
fn outcomes(
    device: &Cpu,
    shapes: &[&[usize]],
    op: impl Fn(&mut Graph<Cpu>, &[Tensor]) -> Result<Tensor>,
) -> Vec<Vec<f32>> {
    let inputs: Vec<Tensor> = shapes
        .iter()
        .enumerate()
        .map(|(i, shape)| {
            let values = values(shape.iter().product(), i as u64);
            Tensor::from_vec(device, values, crate::Shape::new(shape).unwrap()).unwrap().parameter().unwrap()
        })
        .collect();
    let mut graph = Graph::recording();
    let y = op(&mut graph, &inputs).unwrap();
    let slopes = device.upload_buf(values(y.numel(), 9)).unwrap();
    let mut gradients = graph.backward_from(&y, slopes).unwrap();
    let at_inputs = inputs.iter().map(|x| gradients.take_host(x).unwrap().unwrap());
    std::iter::once(y.to_vec()).chain(at_inputs).collect()
}

fn agrees(name: &str, shapes: &[&[usize]], op: impl Fn(&mut Graph<Cpu>, &[Tensor]) -> Result<Tensor>) {
    let expected = outcomes(&Cpu::default(), shapes, &op);
    for (precision, tolerance) in [(Precision::Bf16, BF16), (Precision::Tf32, TF32)] {
        let found = outcomes(&Cpu::with_precision(precision).unwrap(), shapes, &op);
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let error = relative(found, expected);
            assert!(error <= tolerance, "{name} in {precision:?}, result {i}: {error:.1e} off");
        }
        let error = relative(&found[0], &expected[0]);
        assert!(
            precision == Precision::Tf32 || error > 1e-4,
            "{name} is not in {precision:?}: {error:.1e} off"
        );
    }
}

#[test]
fn layers_agree_with_f32() {
    agrees("linear", &[&[3, 37, 50], &[70, 50], &[70]], |graph, t| {
        ops::linear(graph, &t[0], &t[1], Some(&t[2]))
    });
    agrees("attention", &[&[2, 70, 3 * 32]], |graph, t| ops::attention(graph, &t[0], 2, None));
    agrees("relative positions", &[&[1, 72, 3 * 16], &[17, 8], &[15, 8]], |graph, t| {
        let (height, width) = (t[1].clone(), t[2].clone());
        let relative = RelativePositions { height, width, grid: Size::new(9, 8) };
        ops::attention(graph, &t[0], 2, Some(&relative))
    });
    for (kernel, stride, padding) in [(3, 1, 1), (1, 1, 0), (3, 2, 1)] {
        let placement = Placement { stride: [stride; 2], padding: [padding; 2] };
        agrees("convolution", &[&[2, 40, 11, 13], &[36, 40, kernel, kernel], &[36]], |graph, t| {
            conv2d(graph, &t[0], &t[1], Some(&t[2]), placement)
        });
    }
    // whole steps of channels at stride 1: one and several parts of the inner length, one and several tasks of positions
    for (channels, outputs, [rows, columns], kernel, padding) in
        [(64, 36, [19, 23], 3, 1), (32, 64, [7, 5], 1, 0), (192, 32, [6, 5], 3, 1), (32, 33, [9, 40], 5, 0)]
    {
        let placement = Placement { stride: [1; 2], padding: [padding; 2] };
        let weight = [outputs, channels, kernel, kernel];
        agrees("convolution by tiles", &[&[2, channels, rows, columns], &weight, &[outputs]], |graph, t| {
            conv2d(graph, &t[0], &t[1], Some(&t[2]), placement)
        });
    }
}

/// Weights are packed once a change, and the change is seen; another shape of the same values is not mistaken.
#[test]
fn a_changed_weight_is_packed_anew() {
    let device = Cpu::with_precision(Precision::Bf16).unwrap();
    let x = Tensor::from_vec(&device, vec![1.0; 6], [1, 6]).unwrap();
    let mut weight = Tensor::from_vec(&device, vec![1.0; 12], [2, 6]).unwrap();
    let y = |weight: &Tensor| ops::linear(&mut Graph::inference(), &x, weight, None).unwrap().to_vec();
    assert_eq!(y(&weight), [6.0; 2]);
    weight.view_mut()[0] = 3.0;
    assert_eq!(y(&weight), [8.0, 6.0]);
    weight.set(vec![2.0; 12]).unwrap();
    assert_eq!(y(&weight), [12.0; 2]);
    let turned = weight.reshape([4, 3]).unwrap();
    let short = Tensor::from_vec(&device, vec![1.0; 3], [1, 3]).unwrap();
    assert_eq!(ops::linear(&mut Graph::inference(), &short, &turned, None).unwrap().to_vec(), [6.0; 4]);
}

/// The model of the golden file: the worst of tokens, logits, loss and all gradients, whose errors add up over the layers.
#[test]
fn a_model_agrees_with_golden_numbers() {
    let folder = match std::env::var_os("KAT_GOLDEN_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden"),
    };
    let path = folder.join("kat_small_model.safetensors");
    // A product is off by 4e-6 (1.6e-3), with either sign; a gradient has behind it the products of the pass forward, about ten,
    // and as many of its own: twice √20 times that is allowed to the worst of them.
    for (precision, forward, backward) in [(Precision::Tf32, 1e-5, 3.5e-5), (Precision::Bf16, 1e-2, 2e-2)] {
        // two models at once, each on threads that configure their tiles themselves
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let device = Cpu::with_precision(precision).unwrap();
                    for row in verify(&device, &path).unwrap() {
                        let error = row.relative_error;
                        let tolerance = if row.name.starts_with("grad.") { backward } else { forward };
                        assert!(error <= tolerance, "{precision:?}, {}: {error:.1e} off", row.name);
                    }
                });
            }
        });
    }
}
