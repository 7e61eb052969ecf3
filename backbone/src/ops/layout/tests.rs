use super::*;
use crate::ops::check::Case;
use crate::{Cpu, Graph};

fn take(x: &[f64], places: impl Iterator<Item = usize>) -> Vec<f64> {
    places.map(|i| x[i]).collect()
}

#[test]
fn tokens_and_maps_are_transposed() {
    for [batch, rows, columns] in [[2, 6, 5], [1, 36, 40]] {
        let at = move |i: usize| {
            let (b, c, r) = (i / (rows * columns), i / rows % columns, i % rows);
            (b * rows + r) * columns + c
        };
        let n = batch * rows * columns;
        Case::new().input([batch, rows, columns], -1.0..1.0).gradients_match(
            |graph, t| tokens_to_map(graph, &t[0], [rows / 3, 3]),
            |t| take(&t[0], (0..n).map(at)),
            1e-6,
        );
        Case::new().input([batch, rows, 1, columns], -1.0..1.0).gradients_match(
            |graph, t| map_to_tokens(graph, &t[0]),
            |t| take(&t[0], (0..n).map(at)),
            1e-6,
        );
    }
}

#[test]
fn parts_are_joined_and_cut_along_any_axis() {
    for axis in 0..3 {
        let shape = |size: usize| {
            let mut axes = [2, 3, 4];
            axes[axis] = size;
            axes
        };
        let index = |axes: [usize; 3], [a, b, c]: [usize; 3]| (a * axes[1] + b) * axes[2] + c;
        let all = |axes: [usize; 3]| {
            (0..axes.iter().product::<usize>())
                .map(move |i| [i / (axes[1] * axes[2]), i / axes[2] % axes[1], i % axes[2]])
        };
        Case::new().input(shape(2), -1.0..1.0).input(shape(5), -1.0..1.0).gradients_match(
            |graph, t| concat(graph, &[&t[0], &t[1], &t[0]], axis),
            |t| {
                let value = |mut at: [usize; 3]| match at[axis] {
                    i if i < 2 => t[0][index(shape(2), at)],
                    i if i < 7 => {
                        at[axis] = i - 2;
                        t[1][index(shape(5), at)]
                    }
                    i => {
                        at[axis] = i - 7;
                        t[0][index(shape(2), at)]
                    }
                };
                all(shape(9)).map(value).collect()
            },
            1e-6,
        );
        Case::new().input(shape(6), -1.0..1.0).gradients_match(
            |graph, t| narrow(graph, &t[0], axis, 1..4),
            |t| {
                let value = |mut at: [usize; 3]| {
                    at[axis] += 1;
                    t[0][index(shape(6), at)]
                };
                all(shape(3)).map(value).collect()
            },
            1e-6,
        );
    }
}

#[test]
fn gathered_rows_send_their_gradients_back() {
    let indices = [3, 0, 3, 3, 1];
    Case::new().input([4, 2, 3], -1.0..1.0).gradients_match(
        |graph, t| gather_rows(graph, &t[0], &indices),
        |t| indices.iter().flat_map(|i| t[0][i * 6..(i + 1) * 6].to_vec()).collect(),
        1e-6,
    );
}

#[test]
fn wrong_shapes_are_named() {
    let dev = Cpu::default();
    let t = |shape: [usize; 3]| Tensor::zeros(&dev, shape).unwrap();
    let mut graph = Graph::inference();
    let error = |r: Result<Tensor>| r.unwrap_err().to_string();
    assert!(error(tokens_to_map(&mut graph, &t([1, 5, 2]), [2, 3])).contains("grid 2×3"));
    assert!(error(concat(&mut graph, &[&t([1, 5, 2]), &t([2, 5, 2])], 1)).contains("but for axis 1"));
    assert!(error(concat(&mut graph, &[], 1)).contains("nothing to join"));
    assert!(error(narrow(&mut graph, &t([1, 5, 2]), 1, 4..6)).contains("4..6"));
    assert!(error(gather_rows(&mut graph, &t([1, 5, 2]), &[1])).contains("a row 1"));
    assert_eq!(gather_rows(&mut graph, &t([1, 5, 2]), &[]).unwrap().shape().axes(), [0, 5, 2]);
}
