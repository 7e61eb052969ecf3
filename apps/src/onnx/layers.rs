//! Layers of ONNX operators: what the encoder and the heads are made of.

use kat_backbone::init::Activation;
use kat_backbone::ops::batch_norm;

use super::graph::{GraphBuilder, Value};
use super::proto::Attribute;
use super::weights::Weights;

/// x Wᵀ + b of (…, inputs), the outputs multiplied by LayerScale's factors `scale` where there are any.
///
/// # Errors
/// A weight that is not there.
pub fn linear(
    graph: &mut GraphBuilder,
    x: &Value,
    weights: &Weights,
    scale: Option<&Weights>,
) -> anyhow::Result<Value> {
    let weight = weights.get("weight")?;
    let &[outputs, inputs] = &weight.shape[..] else {
        anyhow::bail!("{}: shape {:?}, expected two axes", weights.name("weight"), weight.shape)
    };
    let gamma = scale.map(|scale| scale.get("gamma")).transpose()?;
    let factor = |output: usize| gamma.map_or(1.0, |gamma| gamma.data[output]);
    // MatMul takes (inputs, outputs)
    let transposed = graph.floats(&weights.name("weight_transposed"), &[inputs, outputs], || {
        let at = |i: usize| weight.data[i % outputs * inputs + i / outputs] * factor(i % outputs);
        (0..inputs * outputs).map(at).collect()
    });
    let product = graph.binary("MatMul", x, &transposed);
    let Some(bias) = weights.find("bias") else { return Ok(product) };
    let bias = graph.floats(&weights.name("bias"), &[outputs], || {
        bias.data.iter().enumerate().map(|(i, value)| value * factor(i)).collect()
    });
    Ok(graph.binary("Add", &product, &bias))
}

/// A tensor of the model as it is.
///
/// # Errors
/// A weight that is not there.
pub fn stored(graph: &mut GraphBuilder, weights: &Weights, name: &str) -> anyhow::Result<Value> {
    let tensor = weights.get(name)?;
    Ok(graph.floats(&weights.name(name), &tensor.shape, || tensor.data.clone()))
}

/// Layer norm over the last axis.
///
/// # Errors
/// A weight that is not there.
pub fn layer_norm(graph: &mut GraphBuilder, x: &Value, weights: &Weights, eps: f32) -> anyhow::Result<Value> {
    let (weight, bias) = (stored(graph, weights, "weight")?, stored(graph, weights, "bias")?);
    let attributes = vec![Attribute::int("axis", -1), Attribute::float("epsilon", eps)];
    Ok(graph.node("LayerNormalization", &[x, &weight, &bias], attributes))
}

/// Layer norm over the channels of each pixel of (B, C, H, W).
///
/// # Errors
/// A weight that is not there.
pub fn channel_norm(
    graph: &mut GraphBuilder,
    x: &Value,
    weights: &Weights,
    eps: f32,
) -> anyhow::Result<Value> {
    let x = graph.transpose(x, &[0, 2, 3, 1]);
    let x = layer_norm(graph, &x, weights, eps)?;
    Ok(graph.transpose(&x, &[0, 3, 1, 2]))
}

/// A convolution: stride, and zeros on each side.
///
/// # Errors
/// A weight that is not there.
pub fn conv(
    graph: &mut GraphBuilder,
    x: &Value,
    weights: &Weights,
    stride: i64,
    padding: i64,
) -> anyhow::Result<Value> {
    convolved(graph, "Conv", x, weights, stride, padding)
}

/// A transposed convolution whose windows tile.
///
/// # Errors
/// A weight that is not there.
pub fn conv_transpose(
    graph: &mut GraphBuilder,
    x: &Value,
    weights: &Weights,
    stride: i64,
) -> anyhow::Result<Value> {
    convolved(graph, "ConvTranspose", x, weights, stride, 0)
}

fn convolved(
    graph: &mut GraphBuilder,
    op: &str,
    x: &Value,
    weights: &Weights,
    stride: i64,
    padding: i64,
) -> anyhow::Result<Value> {
    let mut inputs = vec![x.clone(), stored(graph, weights, "weight")?];
    if weights.find("bias").is_some() {
        inputs.push(stored(graph, weights, "bias")?);
    }
    let attributes = vec![Attribute::ints("strides", &[stride; 2]), Attribute::ints("pads", &[padding; 4])];
    Ok(graph.node(op, &inputs.iter().collect::<Vec<_>>(), attributes))
}

/// Convolution of one output pixel for each input pixel, batch norm and ReLU.
///
/// # Errors
/// A weight that is not there.
pub fn conv_norm_act(graph: &mut GraphBuilder, x: &Value, weights: &Weights) -> anyhow::Result<Value> {
    let conv_weights = weights.at("conv");
    let kernel = conv_weights.get("weight")?.shape.last().copied().unwrap_or(1);
    let x = conv(graph, x, &conv_weights, 1, kernel as i64 / 2)?;
    let norm = weights.at("bn");
    let mut inputs = vec![x];
    for name in ["weight", "bias", "running_mean", "running_var"] {
        inputs.push(stored(graph, &norm, name)?);
    }
    let attributes = vec![Attribute::float("epsilon", batch_norm::Options::default().eps)];
    let x = graph.node("BatchNormalization", &inputs.iter().collect::<Vec<_>>(), attributes);
    Ok(graph.unary("Relu", &x))
}

/// (B, C, H, W) at another size, bilinear, sample centers at half pixels.
pub fn resize(graph: &mut GraphBuilder, x: &Value, size: [usize; 2]) -> Value {
    let none = Value::none();
    let size = graph.ints(&size.map(|side| side as i64));
    let attributes = vec![
        Attribute::text("mode", "linear"),
        Attribute::text("coordinate_transformation_mode", "half_pixel"),
        Attribute::ints("axes", &[2, 3]),
    ];
    graph.node("Resize", &[x, &none, &none, &size], attributes)
}

/// The activation of an MLP.
///
/// # Errors
/// One that no MLP has.
pub fn activation(graph: &mut GraphBuilder, x: &Value, kind: Activation) -> anyhow::Result<Value> {
    // x/2 (1 + gate)
    let halved = |graph: &mut GraphBuilder, gate: &Value| {
        let (half, one) = (graph.scalar(0.5), graph.scalar(1.0));
        let gate = graph.binary("Add", gate, &one);
        let x = graph.binary("Mul", x, &half);
        graph.binary("Mul", &x, &gate)
    };
    Ok(match kind {
        Activation::Relu => graph.unary("Relu", x),
        Activation::Swish => {
            let gate = graph.unary("Sigmoid", x);
            graph.binary("Mul", x, &gate)
        }
        Activation::QuickGelu => {
            let factor = graph.scalar(1.702);
            let gate = graph.binary("Mul", x, &factor);
            let gate = graph.unary("Sigmoid", &gate);
            graph.binary("Mul", x, &gate)
        }
        Activation::Gelu => {
            let factor = graph.scalar(std::f32::consts::FRAC_1_SQRT_2);
            let scaled = graph.binary("Mul", x, &factor);
            let erf = graph.unary("Erf", &scaled);
            halved(graph, &erf)
        }
        Activation::GeluTanh => {
            // x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))
            let (cubic, factor, one) = (graph.scalar(0.044715), graph.scalar(0.797_884_6), graph.scalar(1.0));
            let square = graph.binary("Mul", x, x);
            let inner = graph.binary("Mul", &square, &cubic);
            let inner = graph.binary("Add", &inner, &one);
            let inner = graph.binary("Mul", &inner, x);
            let inner = graph.binary("Mul", &inner, &factor);
            let gate = graph.unary("Tanh", &inner);
            halved(graph, &gate)
        }
        other => anyhow::bail!("the activation {other} of an MLP cannot be exported"),
    })
}
