use super::*;
use crate::ops::check::Case;
use crate::{Cpu, Graph};

/// The definition in f64: (t, w) give each position's distribution and each class's weight.
fn reference(x: &[f64], g: Geometry, t: impl Fn(usize, usize, usize) -> f64, w: &[f64]) -> Vec<f64> {
    let at = |o: usize, c: usize, i: usize| x[(o * g.classes + c) * g.inner + i];
    let loss = |p: usize| {
        let (o, i) = (p / g.inner, p % g.inner);
        let log_sum = (0..g.classes).map(|c| at(o, c, i).exp()).sum::<f64>().ln();
        (0..g.classes).map(|c| w[c] * t(o, c, i) * (log_sum - at(o, c, i))).sum()
    };
    (0..g.positions()).map(loss).collect()
}

fn shape(g: Geometry) -> Shape {
    if g.inner == 1 { [g.outer, g.classes].into() } else { [g.outer, g.classes, 3, g.inner / 3].into() }
}

const GEOMETRIES: [Geometry; 3] = [
    Geometry { outer: 5, classes: 23, inner: 1 },
    Geometry { outer: 2, classes: 4, inner: 15 },
    Geometry { outer: 1, classes: 1, inner: 1 },
];

#[test]
fn hard_targets_match_the_definition() {
    for g in GEOMETRIES {
        for (smoothing, weighted) in [(0.0, false), (0.1, false), (0.0, true), (0.2, true)] {
            let weights: Vec<f32> = (0..g.classes).map(|c| 0.5 + c as f32 / 8.0).collect();
            let w: Vec<f64> = weights.iter().map(|w| if weighted { f64::from(*w) } else { 1.0 }).collect();
            let classes: Vec<u32> = (0..g.positions())
                .map(|i| if i % 4 == 1 { 255 } else { (i * 7 % g.classes) as u32 })
                .collect();
            let options = Options {
                label_smoothing: smoothing,
                class_weights: weighted.then_some(weights),
                ..Options::default()
            };
            let targets = Targets::Hard { classes: classes.clone(), ignore: Some(255) };
            Case::new().input(shape(g), -3.0..3.0).gradients_match(
                |graph, t| softmax_cross_entropy(graph, &t[0], &targets, &options),
                |x| {
                    let eps = f64::from(smoothing);
                    let distribution = |o: usize, c: usize, i: usize| match classes[o * g.inner + i] {
                        255 => 0.0,
                        y => eps / g.classes as f64 + if y as usize == c { 1.0 - eps } else { 0.0 },
                    };
                    let total: f64 = reference(&x[0], g, distribution, &w).iter().sum();
                    let valid: f64 = classes.iter().filter(|c| **c != 255).map(|c| w[*c as usize]).sum();
                    vec![total / valid]
                },
                2e-5,
            );
        }
    }
}

#[test]
fn soft_targets_match_the_definition_at_every_position() {
    for g in GEOMETRIES {
        for smoothing in [0.0, 0.1] {
            let values: Vec<f32> = (0..shape(g).numel()).map(|i| (i * 5 % 11) as f32 / 20.0).collect();
            let targets = Targets::Soft(values.clone());
            let options = Options::smoothed(smoothing);
            Case::new().input(shape(g), -3.0..3.0).gradients_match(
                |graph, t| softmax_cross_entropy_each(graph, &t[0], &targets, &options),
                |x| {
                    let eps = f64::from(smoothing);
                    let t = |o: usize, c: usize, i: usize| {
                        f64::from(values[(o * g.classes + c) * g.inner + i]) * (1.0 - eps)
                            + eps / g.classes as f64
                    };
                    reference(&x[0], g, t, &vec![1.0; g.classes])
                },
                2e-5,
            );
        }
    }
}

#[test]
fn nothing_valid_is_zero_and_large_logits_stay_finite() {
    let dev = Cpu::default();
    let logits = Tensor::from_vec(&dev, vec![1e4, -1e4, 0.0, 5.0], [2, 2]).unwrap().parameter().unwrap();
    let none = Targets::Hard { classes: vec![9, 9], ignore: Some(9) };
    let mut graph = Graph::recording();
    let loss = softmax_cross_entropy(&mut graph, &logits, &none, &Options::default()).unwrap();
    assert_eq!(loss.scalar().unwrap(), 0.0);
    assert_eq!(graph.backward(&loss).unwrap().take_host(&logits).unwrap().unwrap(), [0.0; 4]);
    let hard = Targets::hard(vec![1, 1]);
    let sum = Options { normalizer: Normalizer::Value(1.0), ..Options::default() };
    let loss = softmax_cross_entropy(&mut Graph::inference(), &logits, &hard, &sum).unwrap();
    assert!((loss.scalar().unwrap() - 20_000.006).abs() < 0.01);
}

#[test]
fn hard_examples_are_kept_by_threshold_and_by_rank() {
    let dev = Cpu::default();
    // probabilities of class 0: 0.5, 0.731, 0.881, 0.953, 0.982; the last position is ignored
    let x = vec![0.0, 1.0, 2.0, 3.0, 4.0, -9.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let logits = Tensor::from_vec(&dev, x, [1, 2, 6]).unwrap();
    let targets = Targets::Hard { classes: vec![0, 0, 0, 0, 0, 255], ignore: Some(255) };
    let kept = |threshold, min_kept| OhemSampler { threshold, min_kept }.sample(&logits, &targets).unwrap();
    assert_eq!(kept(Some(0.8), 1), [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(kept(Some(0.8), 4), [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    assert_eq!(kept(None, 3), [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    let options =
        Options { position_weights: Some(kept(None, 1)), normalizer: Normalizer::All, ..Options::default() };
    let loss = softmax_cross_entropy(&mut Graph::inference(), &logits, &targets, &options).unwrap();
    assert!((loss.scalar().unwrap() - std::f32::consts::LN_2 / 6.0).abs() < 1e-6);
}

#[test]
fn bad_targets_are_named() {
    let dev = Cpu::default();
    let logits = Tensor::zeros(&dev, [2, 3]).unwrap();
    let fails = |targets: &Targets, options: &Options| {
        softmax_cross_entropy(&mut Graph::inference(), &logits, targets, options).unwrap_err().to_string()
    };
    let defaults = Options::default();
    assert!(fails(&Targets::hard(vec![0, 3]), &defaults).contains("target 3 at position 1"));
    assert!(fails(&Targets::hard(vec![0]), &defaults).contains("1 target classes"));
    assert!(fails(&Targets::Soft(vec![0.0; 5]), &defaults).contains("expected 6"));
    assert!(fails(&Targets::hard(vec![0, 1]), &Options::smoothed(1.5)).contains("1.5"));
}

#[test]
fn gradients_are_the_same_on_any_number_of_threads() {
    let g = Geometry { outer: 2, classes: 19, inner: 3000 };
    let x: Vec<f32> = (0..2 * 19 * 3000).map(|i| ((i * 37 % 1001) as f32 - 500.0) / 200.0).collect();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let dev = Cpu::default();
            let logits = Tensor::from_vec(&dev, x.clone(), [2, 19, 3, 1000]).unwrap().parameter().unwrap();
            let targets = Targets::hard((0..g.positions()).map(|i| (i % 19) as u32).collect());
            let mut graph = Graph::recording();
            let loss = softmax_cross_entropy(&mut graph, &logits, &targets, &Options::smoothed(0.1)).unwrap();
            let value = loss.scalar().unwrap();
            (value, graph.backward(&loss).unwrap().take_host(&logits).unwrap().unwrap())
        })
    };
    assert_eq!(run(1), run(3));
}
