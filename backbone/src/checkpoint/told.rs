//! What stands beside the weights: what their tensors cannot tell (heads, activation, ε), how images were prepared, and the
//! names of classes. From the file's own metadata, or from timm's or Hugging Face's `config.json` in the same folder.

use super::{TensorMap, model};
use crate::init::Activation;
use crate::nn::MixerKind;
use crate::ops::rational::Denominator;
use crate::variants;
use serde_json::Value;
use std::path::Path;

/// The file beside the weights that describes the model; its text stands in [`TensorMap::metadata`] under this key.
pub const CONFIG_FILE: &str = "config.json";
/// The file beside the weights that says how images are prepared (Hugging Face).
pub const PREPROCESSOR_FILE: &str = "preprocessor_config.json";
/// The metadata key of class names that a training program kept beside the weights, a JSON list.
pub const CLASSES_KEY: &str = "classes";
/// The metadata key of the program whose names the file had.
pub const PROGRAM_KEY: &str = "names of";
/// Bytes of the longest such file that is read; one with 21,843 class names has under one million.
const LONGEST: u64 = 8 << 20;

/// How images are prepared for a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preparation {
    /// Mean of each channel, in [0, 1].
    pub mean: [f64; 3],
    /// Standard deviation of each channel.
    pub std: [f64; 3],
    /// Share of the resized image that the center crop keeps.
    pub crop: Option<f64>,
}

/// What is told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Told {
    /// The model's name.
    pub architecture: Option<String>,
    /// Attention heads.
    pub heads: Option<usize>,
    /// The activation of the MLPs.
    pub activation: Option<Activation>,
    /// The denominator of the rational functions.
    pub denominator: Option<Denominator>,
    /// Of the layer norms.
    pub norm_eps: Option<f32>,
    /// How images were prepared.
    pub preparation: Option<Preparation>,
    /// Names of the classes.
    pub classes: Option<Vec<String>>,
    /// Where it is told.
    pub source: &'static str,
    /// What is told and not known: an activation of another name.
    pub unknown: Option<String>,
}

/// Puts the texts of the description beside `path` into the metadata of a file that has none of ours.
pub(super) fn read_beside(path: &Path, map: &mut TensorMap) {
    if [model::CONFIG_KEY, model::DETECTOR_KEY].iter().any(|key| map.metadata.contains_key(*key)) {
        return;
    }
    let Some(folder) = path.parent() else { return };
    for name in [CONFIG_FILE, PREPROCESSOR_FILE] {
        let beside = folder.join(name);
        let short = std::fs::metadata(&beside).is_ok_and(|found| found.is_file() && found.len() <= LONGEST);
        if let Some(text) = short.then(|| std::fs::read_to_string(&beside).ok()).flatten() {
            map.metadata.insert(name.to_owned(), text);
        }
    }
}

impl Told {
    /// What is told of the encoder of `map`, which has `depth` blocks of `dim` channels; a description of another model is
    /// left aside.
    pub fn of(map: &TensorMap, dim: usize, depth: usize) -> Self {
        if let Some(config) = model::stored_encoder(map) {
            let mlp = config.mixer == MixerKind::Mlp;
            return Self {
                heads: Some(config.heads),
                activation: mlp.then_some(config.activation),
                denominator: (config.mixer == MixerKind::GrKan).then_some(config.denominator_form),
                norm_eps: Some(config.norm_eps),
                source: "the file's own configuration",
                ..Self::default()
            };
        }
        let json = |name: &str| serde_json::from_str::<Value>(map.metadata.get(name)?).ok();
        let mut told = match json(CONFIG_FILE) {
            Some(config) if config["architecture"].is_string() => timm(&config, dim, depth),
            Some(config) => transformers(&config, dim, depth),
            None => None,
        }
        .unwrap_or_default();
        if told.architecture.is_none() {
            told.architecture = map.metadata.get("architecture").cloned();
            if told.architecture.is_some() {
                told.source = "the file's metadata";
            }
        }
        if let Some(variant) = told.architecture.as_deref().and_then(|name| variants::named(name).ok()) {
            // A description may change the sizes of the model it names.
            if (variant.config.dim, variant.config.depth) == (dim, depth) {
                told.heads = told.heads.or(Some(variant.config.heads));
            }
            told.norm_eps = told.norm_eps.or(Some(variant.config.norm_eps));
            if variant.config.mixer == MixerKind::Mlp {
                told.activation = told.activation.or(Some(variant.config.activation));
            }
            told.preparation = told.preparation.or(variant.preparation);
        }
        if told.preparation.is_none() {
            told.preparation = json(PREPROCESSOR_FILE).and_then(|config| preprocessor(&config));
        }
        if told.preparation.is_none() && map.notes.iter().any(|note| note.starts_with("original ViT (npz)")) {
            told.preparation = Some(Preparation { mean: [0.5; 3], std: [0.5; 3], crop: Some(0.9) });
        }
        told
    }
}

fn number(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|value| value.try_into().ok())
}

fn triple(value: &Value) -> Option<[f64; 3]> {
    let values: Vec<f64> = value.as_array()?.iter().map(Value::as_f64).collect::<Option<_>>()?;
    values.try_into().ok()
}

/// timm's description of a model on the Hugging Face hub.
fn timm(config: &Value, dim: usize, depth: usize) -> Option<Told> {
    let architecture = config["architecture"].as_str()?.to_owned();
    let variant = variants::named(&architecture).ok();
    let width = number(&config["num_features"]).or(variant.as_ref().map(|variant| variant.config.dim));
    let blocks =
        number(&config["model_args"]["depth"]).or(variant.as_ref().map(|variant| variant.config.depth));
    if width.is_some_and(|width| width != dim) || blocks.is_some_and(|blocks| blocks != depth) {
        return None;
    }
    let pretrained = &config["pretrained_cfg"];
    let preparation = triple(&pretrained["mean"])
        .zip(triple(&pretrained["std"]))
        .map(|(mean, std)| Preparation { mean, std, crop: pretrained["crop_pct"].as_f64() });
    let names = config["label_names"].as_array().or(pretrained["label_names"].as_array());
    let classes = names.and_then(|names| {
        names.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
    });
    let heads = number(&config["model_args"]["num_heads"]);
    Some(Told {
        architecture: Some(architecture),
        heads,
        preparation,
        classes,
        source: CONFIG_FILE,
        ..Told::default()
    })
}

/// Hugging Face transformers' description, or the part of it that is about images.
fn transformers(config: &Value, dim: usize, depth: usize) -> Option<Told> {
    let own = if config["vision_config"].is_object() { &config["vision_config"] } else { config };
    if number(&own["hidden_size"]) != Some(dim) || number(&own["num_hidden_layers"]) != Some(depth) {
        return None;
    }
    let named = own["hidden_act"].as_str();
    let activation = named.and_then(|name| match name {
        "gelu" | "gelu_python" => Some(Activation::Gelu),
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Some(Activation::GeluTanh),
        "quick_gelu" => Some(Activation::QuickGelu),
        "silu" | "swish" => Some(Activation::Swish),
        "relu" => Some(Activation::Relu),
        _ => None,
    });
    let unknown = match (named, activation) {
        (Some(name), None) => Some(format!("the activation {name:?}")),
        _ => None,
    };
    let classes = config["id2label"].as_object().and_then(|names| {
        let count = names.len();
        let name = |i: usize| Some(names.get(&i.to_string())?.as_str()?.to_owned());
        (0..count).map(name).collect::<Option<Vec<_>>>()
    });
    Some(Told {
        heads: number(&own["num_attention_heads"]),
        activation,
        norm_eps: own["layer_norm_eps"].as_f64().map(|eps| eps as f32),
        classes,
        source: CONFIG_FILE,
        unknown,
        ..Told::default()
    })
}

fn preprocessor(config: &Value) -> Option<Preparation> {
    let (mean, std) = (triple(&config["image_mean"])?, triple(&config["image_std"])?);
    let side = |value: &Value| {
        let named = ["height", "shortest_edge"].iter().find_map(|key| value[key].as_f64());
        named.or(value.as_f64())
    };
    let cropped = config["do_center_crop"].as_bool().unwrap_or(false);
    let crop = match (side(&config["crop_size"]), side(&config["size"])) {
        (Some(crop), Some(size)) if cropped && crop <= size => Some(crop / size),
        // The whole image, squeezed: nothing is cut off.
        _ => Some(1.0),
    };
    Some(Preparation { mean, std, crop })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, text: &str) -> TensorMap {
        let mut map = TensorMap::default();
        map.metadata.insert(name.to_owned(), text.to_owned());
        map
    }

    #[test]
    fn both_kinds_of_description_are_read_and_those_of_other_models_left_aside() {
        let timm = r#"{"architecture": "vit_small_patch14_dinov2", "num_features": 384,
            "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1], "crop_pct": 0.95}}"#;
        let told = Told::of(&with(CONFIG_FILE, timm), 384, 12);
        assert_eq!((told.heads, told.activation), (Some(6), Some(Activation::Gelu)));
        assert_eq!(told.preparation.unwrap().crop, Some(0.95));
        assert_eq!(Told::of(&with(CONFIG_FILE, timm), 192, 12), Told::default());
        let clip = r#"{"vision_config": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}, "id2label": {"1": "b", "0": "a"}}"#;
        let told = Told::of(&with(CONFIG_FILE, clip), 64, 2);
        assert_eq!((told.heads, told.activation), (Some(4), Some(Activation::QuickGelu)));
        assert_eq!(told.classes.unwrap(), ["a", "b"]);
        let odd = r#"{"hidden_size": 64, "num_hidden_layers": 2, "hidden_act": "mish"}"#;
        assert!(Told::of(&with(CONFIG_FILE, odd), 64, 2).unknown.unwrap().contains("mish"));
        let images = r#"{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "do_center_crop": true,
            "size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}"#;
        let told = Told::of(&with(PREPROCESSOR_FILE, images), 64, 2);
        assert_eq!(told.preparation.unwrap().crop, Some(0.875));
        assert_eq!(Told::of(&with("architecture", "vit_base_patch32_224"), 768, 12).heads, Some(12));
    }
}
