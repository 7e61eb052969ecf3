//! `segment predict`: label maps of images, and images of them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use image::{GrayImage, RgbImage};
use kat_backbone::Device;
use kat_images::encode::save_png;

use super::args::ViewArgs;
use crate::draw::legend::{Entry, with_legend};
use crate::segment::held_out::gray;
use crate::segment::inference::Inference;
use crate::segment::report::{Colors, overlay};
use crate::segment::trained::Trained;
use crate::shell::device::on_device;
use crate::shell::flags::DeviceArgs;
use crate::shell::images::{ImageInputs, ImageLimits};
use crate::shell::printable::one_line;
use crate::shell::printable::print;
use crate::shell::weights::WeightsArgs;

/// Label every pixel of images: a label map and a picture with a legend for each
#[derive(Debug, Args)]
#[command(after_help = "Examples, after the program's name:\n  \
    predict --checkpoint runs/segment/best.safetensors photo.jpg folder/ --output out\n  \
    predict --checkpoint runs/segment/best.safetensors --native aerial.tif\n  \
    ffmpeg -v error -i video.mp4 -f image2pipe -c:v mjpeg -q:v 2 - | \\\n    \
    segment predict --checkpoint runs/segment/best.safetensors --stream --output frames/")]
pub struct PredictCommand {
    #[command(flatten)]
    weights: WeightsArgs,
    #[command(flatten)]
    images: ImageInputs,
    /// Folder for NAME_labels.png (gray, 0 the first class) and NAME_overlay.png
    #[arg(short, long, value_name = "DIR", default_value = "segmented")]
    output: PathBuf,
    /// Write label maps only
    #[arg(long)]
    labels_only: bool,
    #[command(flatten)]
    views: ViewArgs,
    /// Print one JSON object a line instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limits: ImageLimits,
    #[command(flatten)]
    device: DeviceArgs,
}

/// A class and its share of an image.
pub(super) struct Share<'t> {
    class: u8,
    name: &'t str,
    share: f64,
}

impl PredictCommand {
    /// Writes the images and prints the classes found; an image that cannot be read is named, and the rest still
    /// done.
    ///
    /// # Errors
    /// A checkpoint or folder that cannot be read, or a file that cannot be written; at the end, if an image could not
    /// be read.
    pub fn run(&self) -> anyhow::Result<()> {
        on_device!(&self.device, device => self.predict(&device))
    }

    fn predict<D: Device>(&self, device: &D) -> anyhow::Result<()> {
        let trained = Trained::open(device, &self.weights)?;
        let options = self.limits.options(&trained.plan);
        let settings = self.views.settings(&trained.plan)?;
        let inference = Inference { device, model: &trained.model, settings: &settings };
        std::fs::create_dir_all(&self.output)
            .with_context(|| format!("cannot create {}", self.output.display()))?;
        let looked = |path: &Path, image: RgbImage| {
            let labels = inference.labels(&image).with_context(|| path.display().to_string())?;
            Ok((gray(&labels)?, image))
        };
        self.images.for_each(&options, looked, |path, name, (labels, image)| {
            let shares = shares(&labels, &trained.classes);
            let overlaid =
                (!self.labels_only).then(|| draw(&image, &labels, &shares, Colors::of(&trained.classes)));
            let written = self.write(name, &labels, overlaid)?;
            print(&self.line(path, &shares, &written))
        })
    }

    fn write(
        &self,
        name: &str,
        labels: &GrayImage,
        overlaid: Option<RgbImage>,
    ) -> anyhow::Result<Vec<PathBuf>> {
        let path = self.output.join(format!("{name}_labels.png"));
        save_png(labels, &path).with_context(|| format!("cannot write {}", path.display()))?;
        let Some(overlaid) = overlaid else { return Ok(vec![path]) };
        let drawn = self.output.join(format!("{name}_overlay.png"));
        save_png(&overlaid, &drawn).with_context(|| format!("cannot write {}", drawn.display()))?;
        Ok(vec![path, drawn])
    }

    fn line(&self, path: &Path, shares: &[Share<'_>], written: &[PathBuf]) -> String {
        let path = path.display().to_string();
        if self.json {
            return serde_json::json!({"image": path, "classes": shares_json(shares), "files": written})
                .to_string()
                + "\n";
        }
        let classes: Vec<String> =
            shares.iter().map(|s| format!("{} {:.1} %", one_line(s.name), 100.0 * s.share)).collect();
        format!("{}: {}\n", one_line(&path), classes.join(", "))
    }
}

/// The image under its labels, with a legend of those that are painted.
fn draw(image: &RgbImage, labels: &GrayImage, shares: &[Share<'_>], colors: Colors) -> RgbImage {
    let entry = |s: &Share<'_>| {
        let color = colors.painted(s.class)?;
        Some(Entry { color, name: s.name.to_owned(), share: Some(s.share) })
    };
    with_legend(&overlay(image, labels, colors), &shares.iter().filter_map(entry).collect::<Vec<_>>())
}

/// The shares as `--json` gives them.
pub(super) fn shares_json(shares: &[Share<'_>]) -> serde_json::Value {
    shares.iter().map(|s| serde_json::json!({"class": s.name, "label": s.class, "share": s.share})).collect()
}

/// The classes that occur, the largest first.
pub(super) fn shares<'t>(labels: &GrayImage, names: &'t [String]) -> Vec<Share<'t>> {
    let mut counts = [0u64; 256];
    labels.as_raw().iter().for_each(|label| counts[usize::from(*label)] += 1);
    let total = labels.as_raw().len() as f64;
    let mut shares: Vec<Share<'t>> = (0..=u8::MAX)
        .zip(names)
        .map(|(class, name)| Share { class, name, share: counts[usize::from(class)] as f64 / total })
        .filter(|s| s.share > 0.0)
        .collect();
    shares.sort_by(|a, b| b.share.total_cmp(&a.share));
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_ordered_by_their_share() {
        let labels = GrayImage::from_raw(4, 1, vec![2, 0, 2, 2]).unwrap();
        let names = ["a", "b", "c"].map(str::to_owned);
        let found: Vec<_> = shares(&labels, &names).iter().map(|s| (s.name, s.share)).collect();
        assert_eq!(found, [("c", 0.75), ("a", 0.25)]);
    }
}
