use super::*;
use crate::ops::check::{Case, relative_error};
use crate::{Cpu, Graph};

fn geometry(channels: usize, groups: usize, shared: (bool, bool), orders: (usize, usize)) -> Geometry {
    Geometry {
        channels,
        groups,
        numerator_groups: if shared.0 { 1 } else { groups },
        numerator_len: orders.0,
        denominator_groups: if shared.1 { 1 } else { groups },
        denominator_len: orders.1,
        form: Denominator::Kernel,
    }
}

fn check(geometry: Geometry, rows: usize) {
    Case::new()
        .input([rows, geometry.channels], -3.0..3.0)
        .input([geometry.numerator_groups, geometry.numerator_len], -1.0..1.0)
        .input([geometry.denominator_groups, geometry.denominator_len], -1.0..1.0)
        .gradients_match(
            |graph, t| rational(graph, &t[0], &t[1], &t[2], geometry.groups, geometry.form),
            |t| reference::forward(&t[0], &t[1], &t[2], &geometry),
            2e-5,
        );
}

#[test]
fn values_and_gradients_match_the_reference_for_every_form() {
    for orders in [(6, 4), (4, 3), (1, 1), (12, 12)] {
        for shared in [(true, false), (false, false), (true, true)] {
            for (channels, groups) in [(64, 4), (24, 3), (10, 2), (7, 1)] {
                let kernel = geometry(channels, groups, shared, orders);
                check(kernel, 5);
                check(Geometry { form: Denominator::Paper, ..kernel }, 5);
            }
        }
    }
}

#[test]
fn zero_denominators_still_learn() {
    let dev = Cpu::default();
    let x = Tensor::from_vec(&dev, vec![0.0, -2.0, 3.0, 0.5], [2, 2]).unwrap();
    let a = Tensor::from_vec(&dev, vec![0.0, 1.0], [1, 2]).unwrap();
    let b = Tensor::from_vec(&dev, vec![0.0], [1, 1]).unwrap().parameter().unwrap();
    let mut graph = Graph::recording();
    let y = rational(&mut graph, &x, &a, &b, 1, Denominator::Kernel).unwrap();
    assert_eq!(y.to_vec(), [0.0, -2.0, 3.0, 0.5], "b = 0 and a = x is the identity");
    let loss = crate::ops::mean(&mut graph, &y).unwrap();
    let db = graph.backward(&loss).unwrap().take_host(&b).unwrap().unwrap();
    // d/d|b| of x/(1 + |b||x|) at 0 is -x|x|: (4 - 9 - 0.25) / 4
    assert_eq!(db, [-1.3125]);
}

#[test]
fn the_papers_denominator_takes_signed_terms_and_no_slope_at_zero() {
    let dev = Cpu::default();
    let x = Tensor::from_vec(&dev, vec![0.0, -2.0, -1.0], [1, 3]).unwrap().parameter().unwrap();
    let a = Tensor::from_vec(&dev, vec![0.0, 1.0], [1, 2]).unwrap();
    // x + x²: 0, 2 and 0 at these points, where the kernels' form has 0, 6 and 2.
    let b = Tensor::from_vec(&dev, vec![1.0, 1.0], [1, 2]).unwrap().parameter().unwrap();
    let mut graph = Graph::recording();
    let y = rational(&mut graph, &x, &a, &b, 1, Denominator::Paper).unwrap();
    assert_eq!(y.to_vec(), [0.0, -2.0 / 3.0, -1.0]);
    let loss = crate::ops::mean(&mut graph, &y).unwrap();
    let mut gradients = graph.backward(&loss).unwrap();
    let third = |values: [f64; 3]| values.map(|v| v / 3.0).to_vec();
    // At -2: P = -2, Q = 3, Q' = 1 + 2x = -3, so (Q - P Q')/Q² = -1/3; at the zeros of the polynomial 1/Q.
    let dx = gradients.take_host(&x).unwrap().unwrap();
    assert!(relative_error(&dx, &third([1.0, -1.0 / 3.0, 1.0])) < 1e-6, "{dx:?}");
    // -P/Q² x^j at -2 alone.
    let db = gradients.take_host(&b).unwrap().unwrap();
    assert!(relative_error(&db, &[2.0 / 9.0 * -2.0 / 3.0, 2.0 / 9.0 * 4.0 / 3.0]) < 1e-6, "{db:?}");
}

#[test]
fn sums_are_the_same_on_any_number_of_threads() {
    let geometry = geometry(48, 3, (true, false), (6, 4));
    let x: Vec<f32> = (0..48 * 5000).map(|i| ((i * 37 % 1001) as f32 - 500.0) / 200.0).collect();
    let (a, b) = (vec![0.1, 1.0, 0.3, -0.2, 0.05, 0.01], vec![0.3; 12]);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let out = pool.install(|| Cpu::default().rational_backward(&x, &a, &b, x.clone(), &geometry));
        let out = out.unwrap();
        (out.dx, out.numerator, out.denominator)
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn wrong_shapes_are_named() {
    let dev = Cpu::default();
    let zeros = |shape: [usize; 2]| Tensor::zeros(&dev, shape).unwrap();
    let mut graph = Graph::inference();
    let error = rational(&mut graph, &zeros([2, 10]), &zeros([1, 6]), &zeros([4, 4]), 4, Denominator::Kernel)
        .unwrap_err();
    assert!(error.to_string().contains("[2, 10]") && error.to_string().contains("4 groups"), "{error}");
    let error = rational(&mut graph, &zeros([2, 8]), &zeros([3, 6]), &zeros([4, 4]), 4, Denominator::Kernel)
        .unwrap_err();
    assert!(error.to_string().contains("numerator"), "{error}");
    assert!(relative_error(&[1.0], &[1.0]) == 0.0);
}
