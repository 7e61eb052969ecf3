use super::*;
use crate::ops::check::Case;
use crate::{Cpu, Graph};

/// Applies `f` to the values of every window of every plane.
fn windows(
    x: &[f64],
    input: [usize; 2],
    ranges: [&[Range<usize>]; 2],
    f: impl Fn(&[f64]) -> f64,
) -> Vec<f64> {
    let mut y = Vec::new();
    for plane in x.chunks(input[0] * input[1]) {
        for rows in ranges[0] {
            for columns in ranges[1] {
                let pixels = rows.clone().flat_map(|r| columns.clone().map(move |c| plane[r * input[1] + c]));
                y.push(f(&pixels.collect::<Vec<_>>()));
            }
        }
    }
    y
}

fn sliding(size: usize, kernel: usize, stride: usize, padding: usize) -> Vec<Range<usize>> {
    let starts = (0..).map(|i| i * stride).take_while(|s| s + kernel <= size + 2 * padding);
    starts.map(|s| s.saturating_sub(padding)..(s + kernel - padding).min(size)).collect()
}

const POOLS: [(usize, usize, usize); 6] = [(2, 2, 0), (3, 1, 1), (3, 2, 1), (1, 2, 0), (2, 1, 1), (3, 3, 0)];

#[test]
fn max_pool_matches_plain_loops() {
    for (kernel, stride, padding) in POOLS {
        let input = [5, 8];
        let ranges = input.map(|size| sliding(size, kernel, stride, padding));
        Case::new().input([2, 3, 5, 8], -1.0..1.0).gradients_match(
            |graph, t| max_pool(graph, &t[0], [kernel; 2], Placement::new(stride, padding)),
            |t| {
                windows(&t[0], input, [&ranges[0], &ranges[1]], |v| {
                    v.iter().copied().fold(f64::NEG_INFINITY, f64::max)
                })
            },
            1e-5,
        );
    }
}

#[test]
fn average_pool_matches_plain_loops() {
    for (kernel, stride, padding) in POOLS {
        for counts in [PaddingCounts::AsZeros, PaddingCounts::NotAtAll] {
            let input = [5, 8];
            let ranges = input.map(|size| sliding(size, kernel, stride, padding));
            let area = (kernel * kernel) as f64;
            Case::new().input([2, 3, 5, 8], -1.0..1.0).gradients_match(
                |graph, t| average_pool(graph, &t[0], [kernel; 2], Placement::new(stride, padding), counts),
                |t| {
                    windows(&t[0], input, [&ranges[0], &ranges[1]], |v| {
                        let n = if counts == PaddingCounts::AsZeros { area } else { v.len() as f64 };
                        v.iter().sum::<f64>() / n
                    })
                },
                1e-5,
            );
        }
    }
}

#[test]
fn adaptive_pool_covers_the_map() {
    for output in [[1, 1], [2, 3], [5, 8], [7, 9]] {
        let input = [5, 8];
        let ranges = [0, 1].map(|axis| {
            let (n, size) = (output[axis] as f64, input[axis] as f64);
            let edge = |i: usize| i as f64 * size / n;
            (0..output[axis])
                .map(|i| edge(i).floor() as usize..edge(i + 1).ceil() as usize)
                .collect::<Vec<_>>()
        });
        Case::new().input([2, 3, 5, 8], -1.0..1.0).gradients_match(
            |graph, t| adaptive_average_pool(graph, &t[0], output),
            |t| {
                let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
                windows(&t[0], input, [&ranges[0], &ranges[1]], mean)
            },
            1e-5,
        );
    }
    Case::new().input([2, 3, 5, 8], -1.0..1.0).gradients_match(
        |graph, t| global_average_pool(graph, &t[0]),
        |t| t[0].chunks(40).map(|plane| plane.iter().sum::<f64>() / 40.0).collect(),
        1e-5,
    );
}

#[test]
fn a_nan_shows_and_bad_windows_are_named() {
    let dev = Cpu::default();
    let x = Tensor::from_vec(&dev, vec![1.0, f32::NAN, 3.0, 4.0], [1, 1, 2, 2]).unwrap();
    let y = max_pool(&mut Graph::inference(), &x, [2, 2], Placement::new(2, 0)).unwrap();
    assert!(y.to_vec()[0].is_nan());
    let error = max_pool(&mut Graph::inference(), &x, [2, 2], Placement::new(2, 2)).unwrap_err();
    assert!(error.to_string().contains("padding 2"), "{error}");
    let error = adaptive_average_pool(&mut Graph::inference(), &x, [0, 1]).unwrap_err();
    assert!(error.to_string().contains("[0, 1]"), "{error}");
}
