//! The group rational function P/Q by Horner's rule: products and sums alone, so that any runtime has its operators.

use kat_backbone::ops::rational::Denominator;

use super::graph::{GraphBuilder, Value};
use super::weights::Weights;

/// P(x) / Q(x) of (B, N, channels), coefficients by groups of channels; Q = 1 + |b1||x| + … + |bn||x|^n, or in the
/// paper's form 1 + |b1 x + … + bn x^n|.
///
/// # Errors
/// Coefficients that are not there, or of another number of groups.
pub fn group_rational(
    graph: &mut GraphBuilder,
    x: &Value,
    weights: &Weights,
    (channels, groups): (usize, usize),
    form: Denominator,
) -> anyhow::Result<Value> {
    let grouped = graph.reshape(x, &[0, 0, groups as i64, (channels / groups) as i64]);
    let upper = coefficients(graph, weights, "weight_numerator", groups, |value| value)?;
    let numerator = horner(graph, &grouped, &upper, None);
    let one = graph.scalar(1.0);
    let denominator = match form {
        Denominator::Kernel => {
            let lower = coefficients(graph, weights, "weight_denominator", groups, f32::abs)?;
            let magnitude = graph.unary("Abs", &grouped);
            horner(graph, &magnitude, &lower, Some(&one))
        }
        Denominator::Paper => {
            let lower = coefficients(graph, weights, "weight_denominator", groups, |value| value)?;
            let zero = graph.scalar(0.0);
            let polynomial = horner(graph, &grouped, &lower, Some(&zero));
            let magnitude = graph.unary("Abs", &polynomial);
            graph.binary("Add", &magnitude, &one)
        }
    };
    let y = graph.binary("Div", &numerator, &denominator);
    Ok(graph.reshape(&y, &[0, 0, channels as i64]))
}

/// Each power's coefficients, (groups, 1) or, shared by all groups, (1, 1).
fn coefficients(
    graph: &mut GraphBuilder,
    weights: &Weights,
    name: &str,
    groups: usize,
    of: impl Fn(f32) -> f32,
) -> anyhow::Result<Vec<Value>> {
    let table = weights.get(name)?;
    let &[rows, powers] = &table.shape[..] else {
        anyhow::bail!("{}: shape {:?}, expected two axes", weights.name(name), table.shape)
    };
    anyhow::ensure!(
        rows == 1 || rows == groups,
        "{}: {rows} rows of coefficients, expected 1 or {groups}",
        weights.name(name)
    );
    Ok((0..powers)
        .map(|power| {
            let column = || (0..rows).map(|row| of(table.data[row * powers + power])).collect();
            graph.floats(&weights.name(&format!("{name}_{power}")), &[rows, 1], column)
        })
        .collect())
}

/// c0 + c1 x + … + cm x^m, or with `constant` before them constant + c0 x + … + cm x^(m + 1).
fn horner(graph: &mut GraphBuilder, x: &Value, coefficients: &[Value], constant: Option<&Value>) -> Value {
    let mut powers = constant.into_iter().chain(coefficients).rev();
    let mut sum = powers.next().cloned().unwrap_or_else(|| graph.scalar(0.0));
    for coefficient in powers {
        let product = graph.binary("Mul", &sum, x);
        sum = graph.binary("Add", &product, coefficient);
    }
    sum
}
