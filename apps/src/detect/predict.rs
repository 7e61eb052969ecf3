//! `predict`: what is in images, drawn on them or as JSON.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use image::RgbImage;
use kat_backbone::Device;
use kat_coco::json::Category;
use kat_images::encode::save_png;
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
use crate::shell::images::{ImageInputs, ImageLimits};
use crate::shell::printable::{one_line, print};
use crate::shell::weights::WeightsArgs;

/// Find the objects in images
#[derive(Debug, Args)]
#[command(after_help = "Examples, after the program's name:\n  \
    predict --checkpoint runs/detect/best.safetensors photo.jpg folder/ --output drawn/\n  \
    predict --checkpoint runs/detect/best.safetensors --json - < photo.jpg\n  \
    ffmpeg -v error -i video.mp4 -f image2pipe -c:v mjpeg -q:v 2 - | \\\n    \
    detect predict --checkpoint runs/detect/best.safetensors --stream --output drawn/")]
pub struct PredictCommand {
    #[command(flatten)]
    weights: WeightsArgs,
    #[command(flatten)]
    images: ImageInputs,
    /// Folder for NAME.png, each image with its boxes, masks and names
    #[arg(short, long, value_name = "DIR", alias = "to")]
    output: Option<PathBuf>,
    /// Lowest score of a detection that is shown [default: detect.show_threshold of the checkpoint, 0.5]
    #[arg(long, value_name = "SCORE")]
    threshold: Option<f32>,
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
        if let Some(threshold) = self.threshold.filter(|threshold| !(0.0..=1.0).contains(threshold)) {
            return Err(Misuse(format!("--threshold {threshold} is not from 0 to 1")).into());
        }
        on_device!(&self.device, device => self.predict(&device))
    }

    fn predict<D: Device>(&self, device: &D) -> anyhow::Result<()> {
        let trained = Trained::open(device, &self.weights)?;
        let options = self.limits.options(&trained.plan);
        let pipeline = eval_pipeline(&trained.plan, trained.model.config())?;
        if let Some(output) = &self.output {
            std::fs::create_dir_all(output).with_context(|| format!("cannot create {}", output.display()))?;
        }
        let looked = |path: &Path, image: RgbImage| {
            let found = look(&trained, &pipeline, device, image.clone());
            Ok((found.with_context(|| path.display().to_string())?, image))
        };
        self.images.for_each(&options, looked, |path, name, (found, image)| {
            self.show(path, name, (&image, &found), &trained)
        })
    }

    fn show(
        &self,
        path: &Path,
        name: &str,
        (image, found): (&RgbImage, &ImageResult),
        trained: &Trained<impl Device>,
    ) -> anyhow::Result<()> {
        let threshold = self.threshold.unwrap_or(trained.plan.detect.show_threshold as f32);
        if let Some(output) = &self.output {
            let drawn = output.join(format!("{name}.png"));
            let shown = draw_found(image, found, &trained.categories, threshold);
            save_png(&shown, &drawn).with_context(|| format!("cannot write {}", drawn.display()))?;
            tracing::debug!("wrote {}", drawn.display());
        }
        let path = path.display().to_string();
        if self.json {
            let mut line = objects_json(found, &trained.categories, threshold);
            line["image"] = path.into();
            return print(&(line.to_string() + "\n"));
        }
        print(&format!("{}: {}\n", one_line(&path), words(found, &trained.categories, threshold)))
    }
}

/// How many objects, and which with what scores; the best one where none passes the threshold.
fn words(found: &ImageResult, categories: &[Category], threshold: f32) -> String {
    let d = &found.detections;
    let named = |i: usize| {
        let name = categories.get(d.classes()[i] as usize).map_or("?", |c| c.name.as_str());
        format!("{} {:.2}", one_line(name), d.scores()[i])
    };
    let shown: Vec<String> = (0..d.len()).filter(|i| d.scores()[*i] >= threshold).map(named).collect();
    match (shown.len(), d.len()) {
        (0, 0) => "nothing".to_owned(),
        (0, _) => format!("nothing from --threshold {threshold} on; the best is {}", named(0)),
        (1, _) => format!("1 object: {}", shown[0]),
        (n, _) => format!("{n} objects: {}", shown.join(", ")),
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
