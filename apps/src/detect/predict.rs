//! `predict`: what is in images, drawn on them or as JSON.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use image::RgbImage;
use kat_backbone::Device;
use kat_coco::json::Category;
use kat_images::loader::Collate as _;
use kat_images::pipeline::DetectEval;
use kat_images::sample::{Sample, Target};
use kat_mask_rcnn::structures::ImageResult;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::detect::batch::DetectCollate;
use crate::detect::draw::draw_found;
use crate::detect::trained::Trained;
use crate::detect::{detect, eval_pipeline};
use crate::shell::Misuse;
use crate::shell::device::on_device;
use crate::shell::flags::DeviceArgs;
use crate::shell::images::{ImageLimits, decode, image_files};
use crate::shell::printable::one_line;
use crate::shell::told;
use crate::shell::weights::WeightsArgs;

/// Find the objects in images
#[derive(Debug, Args)]
#[command(after_help = "Examples, after the program's name:\n  \
    predict --checkpoint runs/detect/best.safetensors photo.jpg folder/ --to drawn/\n  \
    predict --checkpoint model.safetensors --json - < photo.jpg")]
pub struct PredictCommand {
    #[command(flatten)]
    weights: WeightsArgs,
    /// Images, folders of images, or - for an image on stdin
    #[arg(required = true, value_name = "IMAGE|DIR|-")]
    inputs: Vec<PathBuf>,
    /// Folder for the pictures with boxes, masks and names
    #[arg(long, value_name = "DIR", required_unless_present = "json")]
    to: Option<PathBuf>,
    /// Lowest score of a detection that is shown
    #[arg(long, value_name = "SCORE", default_value = "0.5")]
    threshold: f32,
    /// Print one JSON object a line, masks as COCO's run lengths
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limits: ImageLimits,
    #[command(flatten)]
    device: DeviceArgs,
}

impl PredictCommand {
    /// Draws or prints; an image that cannot be read is named, and the rest still done.
    ///
    /// # Errors
    /// A checkpoint or folder that cannot be read or written; at the end, if an image could not be read.
    pub fn run(&self) -> anyhow::Result<()> {
        if !(0.0..=1.0).contains(&self.threshold) {
            return Err(Misuse(format!("--threshold {} is not from 0 to 1", self.threshold)).into());
        }
        on_device!(&self.device, device => self.predict(&device))
    }

    fn predict<D: Device>(&self, device: &D) -> anyhow::Result<()> {
        let trained = Trained::open(device, &self.weights)?;
        let options = self.limits.options(&trained.plan);
        let pipeline = eval_pipeline(&trained.plan, trained.model.config())?;
        let files = image_files(&self.inputs)?;
        let names = self.names(&files)?;
        let mut failed = 0;
        for (path, name) in files.iter().zip(&names) {
            let looked = decode(path, &options).and_then(|image| {
                let found = look(&trained, &pipeline, device, image.clone());
                Ok((found.with_context(|| path.display().to_string())?, image))
            });
            match looked {
                Ok((found, image)) => {
                    self.show(path, name, &image, &found, &trained)?;
                }
                Err(error) => {
                    failed += 1;
                    tracing::error!("{}", one_line(&told(&error)));
                }
            }
        }
        if failed > 0 {
            bail!("{failed} of {} images could not be read", files.len());
        }
        Ok(())
    }

    /// The name of each drawn image; two of the same would overwrite each other.
    fn names(&self, files: &[PathBuf]) -> anyhow::Result<Vec<String>> {
        let stem = |path: &PathBuf| match path.file_stem() {
            Some(stem) if path.as_path() != Path::new("-") => stem.to_string_lossy().into_owned(),
            _ => "stdin".to_owned(),
        };
        let mut names: Vec<String> = Vec::new();
        for path in files {
            let mut name = format!("{}.png", stem(path));
            let mut number = 2;
            while names.contains(&name) {
                name = format!("{}-{number}.png", stem(path));
                number += 1;
            }
            names.push(name);
        }
        if let Some(to) = &self.to {
            std::fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
        }
        Ok(names)
    }

    fn show(
        &self,
        path: &Path,
        name: &str,
        image: &RgbImage,
        found: &ImageResult,
        trained: &Trained<impl Device>,
    ) -> anyhow::Result<()> {
        if let Some(to) = &self.to {
            let drawn = to.join(name);
            let shown = draw_found(image, found, &trained.categories, self.threshold);
            shown.save(&drawn).with_context(|| format!("cannot write {}", drawn.display()))?;
            tracing::info!("wrote {}", drawn.display());
        }
        if self.json {
            crate::shell::printable::print(&(self.line(path, found, trained) + "\n"))?;
        }
        Ok(())
    }

    fn line(&self, path: &Path, found: &ImageResult, trained: &Trained<impl Device>) -> String {
        let mut line = objects_json(found, &trained.categories, self.threshold);
        line["image"] = path.display().to_string().into();
        line.to_string()
    }
}

/// The size of an image and the objects in it from `threshold` on, masks as COCO's run lengths.
pub(super) fn objects_json(found: &ImageResult, categories: &[Category], threshold: f32) -> Value {
    let d = &found.detections;
    let shown = (0..d.len()).filter(|i| d.scores()[*i] >= threshold);
    let objects: Vec<_> = shown
        .map(|i| {
            let category = &categories[d.classes()[i] as usize];
            let [x0, y0, x1, y1] = d.boxes().as_slice()[i];
            let mask = found.masks.as_ref().map(|masks| {
                let size = masks[i].size();
                json!({ "size": [size.height, size.width], "counts": masks[i].to_text() })
            });
            json!({
                "category_id": category.id,
                "category": category.name,
                "score": d.scores()[i],
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "segmentation": mask,
            })
        })
        .collect();
    json!({ "width": d.image().width, "height": d.image().height, "objects": objects })
}

/// What is in one image.
pub(super) fn look<D: Device>(
    trained: &Trained<D>,
    pipeline: &DetectEval,
    device: &D,
    image: RgbImage,
) -> anyhow::Result<ImageResult> {
    let collate = DetectCollate(pipeline.clone());
    let mut batch = collate.new_batch();
    collate.begin(&mut batch, 1);
    let sample = Sample { image, target: Target::None, id: String::new() };
    collate.put(&mut batch, sample, &mut ChaCha8Rng::seed_from_u64(0)).map_err(|e| anyhow::anyhow!(e))?;
    let found = detect(device, &trained.model, &batch)?;
    found.into_iter().next().context("no result for an image")
}
