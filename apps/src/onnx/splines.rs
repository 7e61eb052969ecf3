//! A layer of B-spline edges: cubic B-splines as sums of truncated powers, so that any runtime has their operators.

use kat_backbone::init::Activation;
use kat_backbone::ops::bspline::knots;

use super::graph::{GraphBuilder, Value};
use super::layers::activation;
use super::weights::Weights;

/// Σ over inputs of base · silu(x) + scaler · Σ_k spline_k B_k(x), of (B, N, inputs).
///
/// # Errors
/// Weights that are not there, or of other shapes than one spline for each edge.
pub fn kan_layer(graph: &mut GraphBuilder, x: &Value, weights: &Weights) -> anyhow::Result<Value> {
    let (base, splines) = (weights.get("base_weight")?, weights.get("spline_weight")?);
    let (scaler, bias) = (weights.get("spline_scaler")?, weights.get("bias")?);
    let (&[outputs, inputs], &[edges, basis]) = (&base.shape[..], &splines.shape[..]) else {
        anyhow::bail!("{}: shape {:?}, expected two axes", weights.name("spline_weight"), splines.shape)
    };
    anyhow::ensure!(
        edges == outputs * inputs && scaler.data.len() == edges,
        "{}: {edges} splines, expected one for each of {outputs} x {inputs} edges",
        weights.name("spline_weight")
    );
    let gate = activation(graph, x, Activation::Swish)?;
    // MatMul takes (inputs, outputs)
    let base = graph.floats(&weights.name("base_weight_transposed"), &[inputs, outputs], || {
        (0..inputs * outputs).map(|i| base.data[i % outputs * inputs + i / outputs]).collect()
    });
    let base = graph.binary("MatMul", &gate, &base);
    let bias = graph.floats(&weights.name("bias"), &[outputs], || bias.data.clone());
    let base = graph.binary("Add", &base, &bias);

    let columns = inputs * basis;
    let values = spline_basis(graph, x, (inputs, basis));
    let splines = graph.floats(&weights.name("spline_weight_scaled"), &[columns, outputs], || {
        let at = |i: usize| {
            let (column, output) = (i / outputs, i % outputs);
            let edge = output * inputs + column / basis;
            splines.data[edge * basis + column % basis] * scaler.data[edge]
        };
        (0..columns * outputs).map(at).collect()
    });
    let splines = graph.binary("MatMul", &values, &splines);
    Ok(graph.binary("Add", &base, &splines))
}

/// (B, N, inputs) → (B, N, inputs · basis): B(t) = (max(2 - |t|, 0)³ - 4 max(1 - |t|, 0)³) / 6 at the distance t of each knot.
fn spline_basis(graph: &mut GraphBuilder, x: &Value, (inputs, basis): (usize, usize)) -> Value {
    let (first, step) = knots(basis);
    let (first, step) = (graph.scalar(first), graph.scalar(step));
    let centers =
        graph.floats(&format!("knots_{basis}"), &[basis], || (0..basis).map(|k| k as f32).collect());
    let x = graph.reshape(x, &[0, 0, inputs as i64, 1]);
    let x = graph.binary("Sub", &x, &first);
    let x = graph.binary("Div", &x, &step);
    let t = graph.binary("Sub", &x, &centers);
    let t = graph.unary("Abs", &t);
    let power = |graph: &mut GraphBuilder, reach: f32| {
        let reach = graph.scalar(reach);
        let rest = graph.binary("Sub", &reach, &t);
        let rest = graph.unary("Relu", &rest);
        let square = graph.binary("Mul", &rest, &rest);
        graph.binary("Mul", &square, &rest)
    };
    let (outer, inner) = (power(graph, 2.0), power(graph, 1.0));
    let (four, sixth) = (graph.scalar(4.0), graph.scalar(1.0 / 6.0));
    let inner = graph.binary("Mul", &inner, &four);
    let sum = graph.binary("Sub", &outer, &inner);
    let values = graph.binary("Mul", &sum, &sixth);
    graph.reshape(&values, &[0, 0, (inputs * basis) as i64])
}
