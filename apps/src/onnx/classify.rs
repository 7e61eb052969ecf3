//! A classifier: image → logits of its classes.

use kat_backbone::{Cpu, Kat, Pool};
use kat_images::transform::normalize::Normalize;

use super::encoder::Encoder;
use super::graph::{Axis, GraphBuilder, Value};
use super::layers::{layer_norm, linear};
use super::pixels::{BATCH, Input, center_of_any_image, planes};
use super::proto::{Attribute, ElementType};
use super::weights::Weights;

/// How images are prepared.
#[derive(Debug, Clone, Copy)]
pub struct Preparation {
    /// What the graph does of it.
    pub input: Input,
    /// The share of the short side that is kept.
    pub crop: f64,
    /// Mean and deviation.
    pub normalize: Normalize,
}

/// The graph of `model`, whose weights are `weights`.
///
/// # Errors
/// A model without a head or with parts that have no ONNX operator.
pub fn classifier(
    model: &Kat<Cpu>,
    weights: &Weights,
    preparation: &Preparation,
) -> anyhow::Result<GraphBuilder> {
    let c = model.config();
    anyhow::ensure!(c.classes > 0, "the model has no head to classify with");
    let mut builder = GraphBuilder::new("classify");
    let graph = &mut builder;
    let size = c.image_size;
    let encoder = Encoder::new(model, weights.clone(), size)?;
    let (batch, image) = match preparation.input {
        Input::Image => {
            anyhow::ensure!(
                size.height == size.width,
                "--input image needs a model of square images: use --input pixels"
            );
            let short = (size.height as f64 / preparation.crop).floor().max(1.0) as u32;
            let image = center_of_any_image(graph, short, size.height, &preparation.normalize);
            (Axis::Fixed(1), image)
        }
        input => (BATCH, planes(graph, input, size, BATCH, &preparation.normalize)),
    };
    let mut x = encoder.embed(graph, &image)?;
    for index in 0..c.depth {
        x = encoder.block(graph, &x, index)?;
    }
    let logits = head(graph, &x, weights, model)?;
    let axes = [batch, Axis::Fixed(c.classes)];
    graph.output(&logits, "logits", ElementType::Float, &axes, "scores; softmax makes probabilities of them");
    Ok(builder)
}

/// (B, N, C) → (B, classes).
fn head(graph: &mut GraphBuilder, x: &Value, weights: &Weights, model: &Kat<Cpu>) -> anyhow::Result<Value> {
    let c = model.config();
    let norm = |graph: &mut GraphBuilder, x: &Value, name: &str| match weights.at(name) {
        found if found.exists() => layer_norm(graph, x, &found, c.norm_eps),
        _ => Ok(x.clone()),
    };
    if c.pool == Pool::ClassToken {
        let read = |graph: &mut GraphBuilder, token: i64, head: &str| {
            let token = graph.pick(x, 1, token);
            // the norm goes row by row: of one token alone it is the same
            let token = norm(graph, &token, "norm")?;
            linear(graph, &token, &weights.at(head), None)
        };
        let class = read(graph, 0, "head")?;
        if !c.distilled {
            return Ok(class);
        }
        let distilled = read(graph, 1, "head_dist")?;
        let sum = graph.binary("Add", &class, &distilled);
        let half = graph.scalar(0.5);
        return Ok(graph.binary("Mul", &sum, &half));
    }
    let x = norm(graph, x, "norm")?;
    let patches = match c.prefix_tokens() {
        0 => x,
        prefix => graph.slice(&x, 1, prefix as i64, i64::MAX),
    };
    let axis = graph.ints(&[1]);
    let pooled = graph.node("ReduceMean", &[&patches, &axis], vec![Attribute::int("keepdims", 0)]);
    let pooled = norm(graph, &pooled, "fc_norm")?;
    linear(graph, &pooled, &weights.at("head"), None)
}
