//! For tests: an op against a reference in f64, values directly and gradients by central differences of the
//! reference.

use crate::cpu::Cpu;
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::Backend;
use crate::tensor::Graph;
use crate::tensor::Tensor;
use rand::{RngExt as _, SeedableRng as _};
use std::ops::Range;

/// |found - expected| / |expected|, as Euclidean norms.
pub fn relative_error(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |v: f64| v * v;
    let difference: f64 = found.iter().zip(expected).map(|(f, e)| square(f64::from(*f) - e)).sum();
    let norm: f64 = expected.iter().map(|e| square(*e)).sum();
    if difference == 0.0 { 0.0 } else { (difference / norm.max(1e-30)).sqrt() }
}

/// Seeded random inputs of an op.
pub struct Case {
    inputs: Vec<(Shape, Vec<f32>)>,
    generator: rand_chacha::ChaCha8Rng,
}

impl Case {
    /// No inputs yet.
    pub fn new() -> Self {
        Self { inputs: Vec::new(), generator: rand_chacha::ChaCha8Rng::seed_from_u64(7) }
    }

    /// One more input, uniform in `range`.
    pub fn input(mut self, shape: impl Into<Shape>, range: Range<f32>) -> Self {
        let shape = shape.into();
        let values = (0..shape.numel()).map(|_| self.generator.random_range(range.clone())).collect();
        self.inputs.push((shape, values));
        self
    }

    /// Asserts that `op`'s output and its gradient at every input, for a random upstream gradient, are within
    /// `tolerance` (relative norm) of the reference.
    pub fn gradients_match(
        mut self,
        op: impl Fn(&mut Graph<Cpu>, &[Tensor<Cpu>]) -> Result<Tensor<Cpu>>,
        reference: impl Fn(&[Vec<f64>]) -> Vec<f64>,
        tolerance: f64,
    ) {
        let dev = Cpu::default();
        let tensors: Vec<_> = self
            .inputs
            .iter()
            .map(|(shape, values)| {
                Tensor::from_vec(&dev, values.clone(), *shape).unwrap().parameter().unwrap()
            })
            .collect();
        let mut graph = Graph::recording();
        let y = op(&mut graph, &tensors).unwrap();
        let mut exact: Vec<Vec<f64>> =
            self.inputs.iter().map(|(_, v)| v.iter().map(|v| f64::from(*v)).collect()).collect();
        let expected = reference(&exact);
        let error = relative_error(&y.to_vec(), &expected);
        assert!(error <= tolerance, "value: relative error {error:e} > {tolerance:e}");

        let dy: Vec<f32> = (0..y.numel()).map(|_| self.generator.random_range(-1.0..1.0)).collect();
        let mut gradients = graph.backward_from(&y, dev.upload_buf(dy.clone()).unwrap()).unwrap();
        for (i, tensor) in tensors.iter().enumerate() {
            let found = gradients.take_host(tensor).unwrap().unwrap_or_else(|| vec![0.0; tensor.numel()]);
            let mut numeric = vec![0.0; found.len()];
            for (j, slot) in numeric.iter_mut().enumerate() {
                let (value, step) = (exact[i][j], 1e-5);
                let mut side = |offset: f64| {
                    exact[i][j] = value + offset;
                    let y = reference(&exact);
                    y.iter().zip(&dy).map(|(y, d)| y * f64::from(*d)).sum::<f64>()
                };
                *slot = (side(step) - side(-step)) / (2.0 * step);
                exact[i][j] = value;
            }
            let error = relative_error(&found, &numeric);
            assert!(error <= tolerance, "gradient at input {i}: relative error {error:e} > {tolerance:e}");
        }
    }
}
