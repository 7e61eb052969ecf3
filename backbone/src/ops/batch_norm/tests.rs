use super::*;
use crate::collective::Collective;
use crate::collective::tests::on_each;
use crate::ops::check::{Case, relative_error};
use crate::{Cpu, Graph};
use std::cell::RefCell;
use std::rc::Rc;

const SHAPE: [usize; 4] = [3, 4, 2, 5];

fn normalized(t: &[Vec<f64>], statistics: impl Fn(usize) -> (f64, f64), eps: f64) -> Vec<f64> {
    let value = |(i, x): (usize, &f64)| {
        let c = i / 10 % 4;
        let (mean, variance) = statistics(c);
        (x - mean) / (variance + eps).sqrt() * t[1][c] + t[2][c]
    };
    t[0].iter().enumerate().map(value).collect()
}

fn moments(x: &[f64], c: usize) -> (f64, f64) {
    let values: Vec<f64> = (0..x.len()).filter(|i| i / 10 % 4 == c).map(|i| x[i]).collect();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n)
}

#[test]
fn evaluation_uses_the_running_statistics() {
    let (means, variances) = ([0.1, -0.2, 0.3, 0.0], [0.5, 1.0, 2.0, 0.1]);
    let tensor = |values: [f32; 4]| Tensor::from_vec(&Cpu::default(), values.to_vec(), [4]).unwrap();
    let running = Running { mean: tensor(means), variance: tensor(variances) };
    let options = Options { eps: 1e-3, ..Options::default() };
    Case::new().input(SHAPE, -2.0..3.0).input([4], -1.0..1.0).input([4], -1.0..1.0).gradients_match(
        |graph, t| Ok(batch_norm(graph, &t[0], &t[1], &t[2], &running, &options)?.0),
        |t| {
            let of = |c: usize| (f64::from(means[c]), f64::from(variances[c]));
            normalized(t, of, 1e-3)
        },
        1e-5,
    );
}

#[test]
fn training_uses_the_batch_and_moves_the_running_statistics() {
    let options = Options { eps: 1e-3, ..Options::default() };
    let updated = RefCell::new(None);
    Case::new().input(SHAPE, -2.0..3.0).input([4], -1.0..1.0).input([4], -1.0..1.0).gradients_match(
        |graph, t| {
            *graph = Graph::training(0);
            let start = Running::new(t[0].device(), 4)?;
            let (y, running) = batch_norm(graph, &t[0], &t[1], &t[2], &start, &options)?;
            *updated.borrow_mut() = Some((running.unwrap(), t[0].to_vec()));
            Ok(y)
        },
        |t| normalized(t, |c| moments(&t[0], c), 1e-3),
        2e-5,
    );
    let (running, x) = updated.take().unwrap();
    let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
    let expected: Vec<(f64, f64)> = (0..4).map(|c| moments(&x, c)).collect();
    let means: Vec<f64> = expected.iter().map(|m| 0.1 * m.0).collect();
    let variances: Vec<f64> = expected.iter().map(|m| 0.9 + 0.1 * m.1 * 30.0 / 29.0).collect();
    assert!(relative_error(&running.mean.to_vec(), &means) < 1e-6);
    assert!(relative_error(&running.variance.to_vec(), &variances) < 1e-6);
}

#[test]
fn a_batch_split_over_processes_has_the_statistics_of_the_whole() {
    let whole: Vec<f32> = (0..240).map(|i| ((i * 37 % 101) as f32 - 40.0) / 20.0).collect();
    let run = |x: &[f32], batch: usize, processes: Option<Rc<dyn Collective>>| {
        let dev = Cpu::default();
        let x = Tensor::from_vec(&dev, x.to_vec(), [batch, 4, 2, 5]).unwrap().parameter().unwrap();
        let weight = Tensor::from_vec(&dev, vec![0.5, 1.0, -2.0, 3.0], [4]).unwrap();
        let bias = Tensor::zeros(&dev, [4]).unwrap();
        let graph = Graph::training(0);
        let mut graph = processes.iter().fold(graph, |graph, processes| graph.over(processes));
        let start = Running::new(&dev, 4).unwrap();
        let (y, running) = batch_norm(&mut graph, &x, &weight, &bias, &start, &Options::default()).unwrap();
        let z = crate::ops::gelu(&mut graph, &y).unwrap();
        let loss = crate::ops::weighted_sum(&mut graph, &z, 1.0).unwrap();
        let dx = graph.backward(&loss).unwrap().take_host(&x).unwrap().unwrap();
        let running = running.unwrap();
        [y.to_vec(), dx, running.mean.to_vec(), running.variance.to_vec()]
    };
    let one = run(&whole, 6, None);
    let parts = on_each(2, |rank| {
        let half = &whole[120 * rank.rank()..120 * (rank.rank() + 1)];
        run(half, 3, Some(Rc::new(rank)))
    });
    let exact = |v: &[f32]| v.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
    for (rank, part) in parts.iter().enumerate() {
        let own = 120 * rank..120 * (rank + 1);
        assert!(relative_error(&part[0], &exact(&one[0][own.clone()])) < 1e-6);
        assert!(relative_error(&part[1], &exact(&one[1][own])) < 1e-5);
        assert!(relative_error(&part[2], &exact(&one[2])) < 1e-6);
        assert!(relative_error(&part[3], &exact(&one[3])) < 1e-6);
    }
}

#[test]
fn one_value_and_wrong_sizes_are_named() {
    let dev = Cpu::default();
    let t = |shape: &[usize]| Tensor::zeros(&dev, crate::Shape::new(shape).unwrap()).unwrap();
    let run = |x: &[usize], running: usize| {
        let (mut graph, running) = (Graph::training(0), Running::new(&dev, running).unwrap());
        batch_norm(&mut graph, &t(x), &t(&[3]), &t(&[3]), &running, &Options::default()).map(|_| ())
    };
    assert!(run(&[1, 3, 1, 1], 3).unwrap_err().to_string().contains("1 values a channel"));
    assert!(run(&[2, 3, 1, 1], 2).unwrap_err().to_string().contains("the running mean"));
    assert!(run(&[2, 4, 1, 1], 4).unwrap_err().to_string().contains("the weight"));
}
