//! Comparing a model with numbers that another implementation wrote: the check of a port.
//!
//! The file is safetensors with `image`, `labels`, `tokens`, `logits`, `loss`, `weight.<name>` and `grad.<name>`;
//! its metadata holds img_size, patch_size, embed_dim, num_heads, depth and num_classes. Groups, hidden width and
//! the order of the rationals are read off the weights' shapes.

use crate::checkpoint::model::{assign, expected};
use crate::checkpoint::{CheckpointError, TensorMap, safetensors};
use crate::config::{KatConfig, Size};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::init::Order;
use crate::kat::Kat;
use crate::nn::{MixerKind, Module as _, Sharing};
use crate::ops::softmax_cross_entropy::{Options, Targets, softmax_cross_entropy};
use crate::tensor::Graph;
use crate::tensor::Tensor;
use std::path::Path;

/// One compared tensor.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Comparison {
    /// `tokens`, `logits`, `loss` or `grad.<name>`.
    pub name: String,
    /// |found - expected| / |expected|, Euclidean norms.
    pub relative_error: f64,
    /// Largest absolute difference.
    pub max_difference: f64,
}

/// Why a file cannot be compared with.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The file cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The model cannot be built or run.
    #[error(transparent)]
    Model(#[from] Error),
    /// The file lacks something.
    #[error("{file}: {reason}")]
    File {
        /// The file.
        file: String,
        /// What is missing or wrong.
        reason: String,
    },
}

/// Rebuilds the model of `path` on `device` and compares tokens, logits, loss and every gradient.
///
/// # Errors
/// [`VerifyError`] naming the file and what is missing or does not fit.
pub fn verify<D: Device>(device: &D, path: &Path) -> Result<Vec<Comparison>, VerifyError> {
    let fail = |reason: String| VerifyError::File { file: path.display().to_string(), reason };
    let file = safetensors::load(path)?;
    let config = config_of(&file).map_err(fail)?;
    let mut model = Kat::new(device, &config, 0)?;
    let mut weights = TensorMap::default();
    for (name, tensor) in &file.tensors {
        if let Some(name) = name.strip_prefix("weight.") {
            weights.insert(name, tensor.clone());
        }
    }
    for (name, shape) in expected(&model) {
        match weights.get(&name) {
            None => return Err(fail(format!("weight.{name} is missing"))),
            Some(found) if found.shape != shape => {
                return Err(fail(format!(
                    "weight.{name} has shape {:?}, the metadata's model expects {shape:?}",
                    found.shape
                )));
            }
            Some(_) => {}
        }
    }
    assign(&mut model, &weights)?;
    let get = |name: &str| file.get(name).ok_or_else(|| fail(format!("the tensor {name} is missing")));
    let image = get("image")?;
    let image = Tensor::from_vec(device, image.data.clone(), crate::Shape::new(&image.shape)?)?;
    let labels: Vec<u32> = get("labels")?.data.iter().map(|label| *label as u32).collect();
    let smoothing = match file.metadata.get("label_smoothing").map(|text| text.parse::<f32>()) {
        None => 0.1,
        Some(Ok(value)) => value,
        Some(Err(_)) => return Err(fail("metadata label_smoothing is not a number".into())),
    };

    let mut graph = Graph::recording();
    let tokens = model.tokens(&mut graph, &image)?;
    let logits = model.classify(&mut graph, &tokens)?;
    let loss =
        softmax_cross_entropy(&mut graph, &logits, &Targets::hard(labels), &Options::smoothed(smoothing))?;
    let mut rows = Vec::new();
    let mut compare = |name: String, found: Vec<f32>, expected: &[f32]| match found.len() == expected.len() {
        true => {
            rows.push(comparison(name, &found, expected));
            Ok(())
        }
        false => Err(fail(format!("{name} has {} values, the model gives {}", expected.len(), found.len()))),
    };
    compare("tokens".into(), tokens.to_vec(), &get("tokens")?.data)?;
    compare("logits".into(), logits.to_vec(), &get("logits")?.data)?;
    compare("loss".into(), loss.to_vec(), &get("loss")?.data)?;
    let mut gradients = graph.backward(&loss)?;
    let mut named = Vec::new();
    model.for_each(|name, _, tensor| named.push((name.to_owned(), tensor.clone())));
    for (name, tensor) in named {
        let found = gradients.take_host(&tensor)?.unwrap_or_else(|| vec![0.0; tensor.numel()]);
        let name = format!("grad.{name}");
        let expected = &get(&name)?.data;
        compare(name, found, expected)?;
    }
    Ok(rows)
}

fn comparison(name: String, found: &[f32], expected: &[f32]) -> Comparison {
    let pairs = || found.iter().zip(expected).map(|(f, e)| (f64::from(*f), f64::from(*e)));
    let difference: f64 = pairs().map(|(f, e)| (f - e).powi(2)).sum();
    let norm: f64 = pairs().map(|(_, e)| e * e).sum();
    // a NaN on either side must not pass as equal
    let max =
        pairs().map(|(f, e)| (f - e).abs()).fold(0.0, |m: f64, d| if d > m || d.is_nan() { d } else { m });
    let relative_error = if difference == 0.0 { 0.0 } else { (difference / norm.max(1e-60)).sqrt() };
    Comparison { name, relative_error, max_difference: max }
}

/// The configuration from metadata and weights' shapes.
fn config_of(file: &TensorMap) -> std::result::Result<KatConfig, String> {
    let number = |key: &str| -> std::result::Result<usize, String> {
        let text = file.metadata.get(key).ok_or_else(|| format!("metadata {key} is missing"))?;
        text.trim().parse().map_err(|_| format!("metadata {key} = {text:?} is not a whole number"))
    };
    let shape = |name: &str| file.get(name).map(|t| t.shape.as_slice());
    let dim = number("embed_dim")?;
    let mut config = KatConfig {
        image_size: Size::square(number("img_size")?),
        patch_size: Size::square(number("patch_size")?),
        dim,
        heads: number("num_heads")?,
        depth: number("depth")?,
        classes: number("num_classes")?,
        class_token: file.get("weight.cls_token").is_some(),
        qkv_bias: file.get("weight.blocks.0.attn.qkv.bias").is_some(),
        mimetic: false,
        ..KatConfig::default()
    };
    if let Some([_, channels, _, _]) = shape("weight.patch_embed.proj.weight") {
        config.channels = *channels;
    }
    if let Some([hidden, _]) = shape("weight.blocks.0.mlp.fc1.weight") {
        config.mlp_ratio = *hidden as f32 / dim.max(1) as f32;
    }
    let numerator = shape("weight.blocks.0.mlp.act1.weight_numerator");
    let denominator = shape("weight.blocks.0.mlp.act1.weight_denominator");
    match (numerator, denominator) {
        (Some([rows, terms]), Some([groups, degree])) => {
            let sharing = |rows: usize| if rows == 1 { Sharing::Shared } else { Sharing::PerGroup };
            config.groups = match file.metadata.get("num_groups") {
                Some(_) => number("num_groups")?,
                None => (*rows).max(*groups),
            };
            config.numerator = sharing(*rows);
            config.denominator = sharing(*groups);
            config.order = Order { numerator: terms.saturating_sub(1), denominator: *degree };
        }
        _ => config.mixer = MixerKind::Mlp,
    }
    Ok(config)
}
