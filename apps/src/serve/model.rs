//! What a served model can do, whichever program it is of.

use image::RgbImage;
use kat_backbone::nn::Module;
use kat_backbone::{Device, Kat};
use kat_images::decode::DecodeOptions;
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::Plan;
use crate::draw::palette::Rgb;
use crate::report::functions::functions;
use crate::run::start;

/// What a request asks beside its image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Query {
    /// Lowest score of a detection; as the checkpoint says where it is not given.
    pub threshold: Option<f32>,
    /// Classes of an image.
    pub top: usize,
}

impl Default for Query {
    fn default() -> Self {
        Self { threshold: None, top: 5 }
    }
}

/// An image's answer.
#[derive(Debug, Clone, Serialize)]
pub struct Answer {
    /// As `predict --json` gives it, without the name of a file.
    #[serde(flatten)]
    pub result: Value,
    /// The probability of every class, of a classifier.
    #[serde(skip)]
    pub probabilities: Option<Vec<f32>>,
}

/// A model that answers images.
pub trait Served {
    /// What it is: "task", "classes", figures, what it takes; also what the page shows of it.
    fn card(&self) -> Value;

    /// How images are decoded for it.
    fn decoding(&self) -> DecodeOptions;

    /// Answers images, each by itself: one that fails does not take others with it.
    fn answer(&self, images: Vec<(RgbImage, Query)>) -> Vec<anyhow::Result<Answer>>;
}

/// What the cards of all programs say: the task, the model and its backbone, with its learned functions as an SVG, beside what they
/// began as where `plan` says so: a model that began from a file began as that had them.
pub fn card<D: Device>(plan: &Plan, model: &impl Module<D>, backbone: &Kat<D>) -> Value {
    let config = backbone.config();
    let start = plan.model.init_from.is_none().then(|| start::of_config(config).ok()).flatten();
    json!({
        "task": plan.task.program(),
        "parameters": model.parameter_count(),
        "backbone": {
            "blocks": config.depth,
            "channels": config.dim,
            "heads": config.heads,
            "patch": config.patch_size.height,
            "mixer": config.mixer,
        },
        "curves": functions(backbone, start.as_ref()).ok().flatten().map(|plot| plot.svg().to_owned()),
    })
}

/// A color as CSS writes it.
pub fn css([r, g, b]: Rgb) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}
