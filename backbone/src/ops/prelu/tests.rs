use super::*;
use crate::Cpu;
use crate::ops::check::Case;

#[test]
fn values_and_gradients_match_the_definition() {
    for range in [0.1..0.4, -0.5..-0.1] {
        Case::new().input([7, 50], -3.0..3.0).input([1], range).gradients_match(
            |graph, t| prelu(graph, &t[0], &t[1]),
            |t| t[0].iter().map(|x| if *x > 0.0 { *x } else { t[1][0] * x }).collect(),
            2e-6,
        );
    }
}

#[test]
fn one_slope_is_wanted_and_the_same_bits_on_any_number_of_threads() {
    let dev = Cpu::default();
    let zeros = |shape: [usize; 1]| Tensor::zeros(&dev, shape).unwrap();
    let error = prelu(&mut Graph::inference(), &zeros([4]), &zeros([2])).unwrap_err().to_string();
    assert!(error.contains("one value"), "{error}");
    let x: Vec<f32> = (0..100_000).map(|i| ((i * 37 % 1001) as f32 - 500.0) / 200.0).collect();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let out = pool.install(|| dev.prelu_backward(&x, &[0.25], x.clone())).unwrap();
        (out.dx, out.slope)
    };
    assert_eq!(run(1), run(3));
}
