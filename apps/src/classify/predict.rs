//! `predict`: names and probabilities for images.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use image::RgbImage;
use kat_backbone::{Device, Graph, Tensor};
use kat_images::encode::save_png;
use kat_images::pipeline::ClassifyEval;
use kat_images::sample::{Sample, Target};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::args::CheckpointArgs;
use super::held_out::{eval_pipeline, probabilities};
use crate::classify::explain::Evidence;
use crate::classify::trained::Trained;
use crate::run::finite;
use crate::shell::device::on_device;
use crate::shell::flags::DeviceArgs;
use crate::shell::images::{ImageInputs, ImageLimits};
use crate::shell::printable::{one_line, print};

/// Name what images show
#[derive(Debug, Args)]
#[command(after_help = "Examples, after the program's name:\n  \
    predict --checkpoint runs/classify/best.safetensors photo.jpg folder/\n  \
    predict --checkpoint runs/classify/best.safetensors - < photo.jpg\n  \
    ffmpeg -v error -i video.mp4 -f image2pipe -c:v mjpeg -q:v 2 - | \\\n    \
    classify predict --checkpoint runs/classify/best.safetensors --stream --json")]
pub struct PredictCommand {
    #[command(flatten)]
    source: CheckpointArgs,
    #[command(flatten)]
    images: ImageInputs,
    /// Classes to print for each image
    #[arg(long, value_name = "K", default_value = "5")]
    top: std::num::NonZeroUsize,
    /// Print one JSON object a line instead of text
    #[arg(long)]
    json: bool,
    /// Write a picture an image to DIR: where the evidence for the first class lies
    #[arg(long, value_name = "DIR")]
    explain: Option<PathBuf>,
    #[command(flatten)]
    limits: ImageLimits,
    #[command(flatten)]
    device: DeviceArgs,
}

impl PredictCommand {
    /// Prints to stdout; an image that cannot be read is named, and the rest still done.
    ///
    /// # Errors
    /// A checkpoint or folder that cannot be read; at the end, if an image could not be.
    pub fn run(&self) -> anyhow::Result<()> {
        on_device!(&self.device, device => self.predict(&device))
    }

    fn predict<D: Device>(&self, device: &D) -> anyhow::Result<()> {
        let trained = self.source.open(device, None)?;
        let pipeline = eval_pipeline(&trained.plan, trained.side())?;
        let options = self.limits.options(&trained.plan);
        let prepared = |path: &Path, image| {
            prepare(&pipeline, image, trained.side()).with_context(|| path.display().to_string())
        };
        self.images.for_each(&options, prepared, |path, name, planes| {
            let ranked = rank(&trained, device, planes.clone(), path)?;
            if let Some(dir) = &self.explain {
                let drawn = explain(device, &trained, planes, &ranked)?;
                save(&drawn, dir, name)?;
            }
            print(&self.line(path, &ranked)?)
        })
    }

    fn line(&self, path: &Path, ranked: &[(&str, f32)]) -> anyhow::Result<String> {
        let best = &ranked[..ranked.len().min(self.top.get())];
        let path = path.display().to_string();
        if self.json {
            let classes = classes_json(ranked, self.top.get());
            return Ok(serde_json::json!({"image": path, "classes": classes}).to_string() + "\n");
        }
        let classes: Vec<String> =
            best.iter().map(|(n, p)| format!("{} {:.1} %", one_line(n), 100.0 * p)).collect();
        Ok(format!("{}: {}\n", one_line(&path), classes.join(", ")))
    }
}

/// The image as the model takes it: (3, S, S), normalized.
pub(super) fn prepare(pipeline: &ClassifyEval, image: RgbImage, side: u32) -> anyhow::Result<Vec<f32>> {
    let sample = Sample { image, target: Target::None, id: String::new() };
    let mut planes = vec![0.0; 3 * (side * side) as usize];
    let sample = pipeline.apply(sample, &mut ChaCha8Rng::seed_from_u64(0))?;
    pipeline.write(&sample, &mut planes)?;
    Ok(planes)
}

/// Every class with its probability, most probable first.
fn rank<'t, D: Device>(
    trained: &'t Trained<D>,
    device: &D,
    planes: Vec<f32>,
    path: &Path,
) -> anyhow::Result<Vec<(&'t str, f32)>> {
    let side = trained.side() as usize;
    let image = Tensor::from_vec(device, planes, [1, 3, side, side])?;
    let logits = trained.model.forward(&mut Graph::inference(), &image)?.to_vec();
    finite::output(&logits, path)?;
    Ok(by_rank(&trained.classes, &probabilities(&logits)))
}

/// Names with their probabilities, most probable first.
pub(super) fn by_rank<'n>(names: &'n [String], probabilities: &[f32]) -> Vec<(&'n str, f32)> {
    let mut ranked: Vec<(&str, f32)> =
        names.iter().map(String::as_str).zip(probabilities.iter().copied()).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked
}

/// The first `top` of them.
pub(super) fn classes_json(ranked: &[(&str, f32)], top: usize) -> serde_json::Value {
    ranked.iter().take(top).map(|(n, p)| serde_json::json!({"class": n, "probability": p})).collect()
}

/// The image beside the evidence for its first class.
fn explain<D: Device>(
    device: &D,
    trained: &Trained<D>,
    planes: Vec<f32>,
    ranked: &[(&str, f32)],
) -> anyhow::Result<RgbImage> {
    let (name, probability) = ranked[0];
    let class = trained.classes.iter().position(|c| c == name).context("a class without a name")?;
    let side = trained.side() as usize;
    let evidence = Evidence::integrated_gradients(device, &trained.model, &planes, class)?;
    let seen = trained.plan.data.normalize.to_image(&planes, side);
    Ok(evidence.draw(&seen, &format!("{name} {:.1} %", 100.0 * probability)))
}

/// Writes `DIR/NAME.png`.
fn save(drawn: &RgbImage, dir: &Path, name: &str) -> anyhow::Result<()> {
    let refused = |path: &Path| format!("cannot write {}", path.display());
    std::fs::create_dir_all(dir).with_context(|| refused(dir))?;
    let path = dir.join(format!("{name}.png"));
    save_png(drawn, &path).with_context(|| refused(&path))
}
