use super::*;
use crate::ops::check::Case;
use crate::{Cpu, Graph};

const FILTERS: [Interpolation; 7] = [
    Interpolation::Nearest,
    Interpolation::Bilinear,
    Interpolation::BilinearAligned,
    Interpolation::BilinearAntialias,
    Interpolation::Bicubic,
    Interpolation::BicubicAligned,
    Interpolation::BicubicAntialias,
];

/// y by the matrix of an axis, made from the definition: pixel `at` clamped to the border, each with a weight.
fn matrix(filter: Interpolation, input: usize, output: usize) -> Vec<f64> {
    let mut m = vec![0.0; input * output];
    let scale = input as f64 / output as f64;
    for i in 0..output {
        let aligned = if output == 1 { 0.0 } else { i as f64 * (input - 1) as f64 / (output - 1) as f64 };
        let centred = (i as f64 + 0.5) * scale - 0.5;
        let tent = |x: f64| (1.0 - x.abs()).max(0.0);
        let keys = |a: f64| {
            move |x: f64| match x.abs() {
                x if x <= 1.0 => (a + 2.0) * x.powi(3) - (a + 3.0) * x.powi(2) + 1.0,
                x if x < 2.0 => a * x.powi(3) - 5.0 * a * x.powi(2) + 8.0 * a * x - 4.0 * a,
                _ => 0.0,
            }
        };
        let mut add = |at: f64, kernel: &dyn Fn(f64) -> f64| {
            for k in -4..input as isize + 4 {
                m[i * input + k.clamp(0, input as isize - 1) as usize] += kernel(k as f64 - at);
            }
        };
        match filter {
            Interpolation::Nearest => m[i * input + (i * input) / output] = 1.0,
            Interpolation::Bilinear => add(centred, &tent),
            Interpolation::BilinearAligned => add(aligned, &tent),
            Interpolation::Bicubic => add(centred, &keys(-0.75)),
            Interpolation::BicubicAligned => add(aligned, &keys(-0.75)),
            Interpolation::BilinearAntialias | Interpolation::BicubicAntialias => {
                let wide = scale.max(1.0);
                let row: Vec<f64> = (0..input)
                    .map(|k| {
                        let x = (k as f64 - centred) / wide;
                        if filter == Interpolation::BilinearAntialias { tent(x) } else { keys(-0.5)(x) }
                    })
                    .collect();
                let total: f64 = row.iter().sum();
                m[i * input..(i + 1) * input].iter_mut().zip(row).for_each(|(m, r)| *m = r / total);
            }
        }
    }
    m
}

#[test]
fn every_filter_matches_its_definition_larger_and_smaller() {
    for filter in FILTERS {
        for (input, output) in [([4, 5], [8, 10]), ([6, 7], [4, 3]), ([5, 4], [7, 1]), ([1, 2], [3, 3])] {
            let rows = matrix(filter, input[0], output[0]);
            let columns = matrix(filter, input[1], output[1]);
            Case::new().input([2, 2, input[0], input[1]], -1.0..1.0).gradients_match(
                |graph, t| resize(graph, &t[0], output, filter),
                |t| {
                    let mut y = Vec::new();
                    for plane in t[0].chunks(input[0] * input[1]) {
                        for row in rows.chunks(input[0]) {
                            for column in columns.chunks(input[1]) {
                                let term = |i: usize| row[i / input[1]] * column[i % input[1]] * plane[i];
                                y.push((0..plane.len()).map(term).sum());
                            }
                        }
                    }
                    y
                },
                1e-5,
            );
        }
    }
}

#[test]
fn the_same_size_is_the_same_map_and_empty_sizes_are_named() {
    let dev = Cpu::default();
    let x = Tensor::from_vec(&dev, vec![1.0, 2.0, 3.0, 4.0], [1, 1, 2, 2]).unwrap();
    for filter in FILTERS {
        assert_eq!(resize(&mut Graph::inference(), &x, [2, 2], filter).unwrap().to_vec(), x.to_vec());
    }
    let error = resize(&mut Graph::inference(), &x, [0, 2], Interpolation::Bilinear).unwrap_err();
    assert!(error.to_string().contains("2×2 pixels to 0×2"), "{error}");
}
