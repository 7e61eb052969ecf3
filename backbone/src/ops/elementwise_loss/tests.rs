use super::*;
use crate::ops::check::Case;
use crate::{Cpu, Graph};

fn goal(weighted: bool) -> Goal {
    Goal {
        targets: (0..60).map(|i| (i % 7) as f32 / 6.0).collect(),
        weights: weighted.then(|| (0..60).map(|i| (i % 3) as f32).collect()),
        normalizer: 4.0,
    }
}

fn check(
    op: impl Fn(&mut Graph<Cpu>, &Tensor<Cpu>, Goal) -> Result<Tensor<Cpu>>,
    loss: impl Fn(f64, f64) -> f64,
) {
    for weighted in [false, true] {
        let goal = goal(weighted);
        Case::new().input([3, 20], -4.0..4.0).gradients_match(
            |graph, t| op(graph, &t[0], goal.clone()),
            |t| {
                let weight = |i: usize| goal.weights.as_ref().map_or(1.0, |w| f64::from(w[i]));
                let term = |i: usize| weight(i) * loss(t[0][i], f64::from(goal.targets[i]));
                vec![(0..60).map(term).sum::<f64>() / 4.0]
            },
            1e-5,
        );
    }
}

#[test]
fn losses_match_their_definitions() {
    check(binary_cross_entropy, |x, t| {
        let p = 1.0 / (1.0 + (-x).exp());
        -t * p.ln() - (1.0 - t) * (1.0 - p).ln()
    });
    for beta in [0.0f32, 0.5, 2.0] {
        check(
            |graph, x, goal| smooth_l1(graph, x, goal, beta),
            |x, t| {
                let (d, beta) = ((x - t).abs(), f64::from(beta));
                if d < beta { d * d / (2.0 * beta) } else { d - beta / 2.0 }
            },
        );
    }
}

#[test]
fn large_logits_are_finite_and_equal_values_have_no_slope() {
    let dev = Cpu::default();
    let x = Tensor::from_vec(&dev, vec![300.0, -300.0], [2]).unwrap();
    let loss = binary_cross_entropy(&mut Graph::inference(), &x, Goal::mean(vec![0.0, 1.0])).unwrap();
    assert_eq!(loss.scalar().unwrap(), 300.0);
    assert_eq!(Kind::SmoothL1 { beta: 0.0 }.slope(2.0, 2.0), 0.0);
}

#[test]
fn bad_goals_are_named() {
    let dev = Cpu::default();
    let x = Tensor::zeros(&dev, [2]).unwrap();
    let run = |goal, beta| smooth_l1(&mut Graph::inference(), &x, goal, beta).unwrap_err().to_string();
    assert!(run(Goal::mean(vec![0.0; 3]), 1.0).contains("3 targets"));
    assert!(run(Goal::sum(vec![0.0; 2], 0.0), 1.0).contains("normalizer is 0"));
    assert!(run(Goal::mean(vec![0.0; 2]), f32::NAN).contains("beta is NaN"));
}
