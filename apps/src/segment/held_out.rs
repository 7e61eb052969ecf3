//! The held-out images, labelled by a network and counted against their annotation.

use anyhow::{Context, ensure};
use image::GrayImage;
use kat_ade20k::LabelFolders;
use kat_ade20k::miou::{ConfusionMatrix, LabelConfig};
use kat_backbone::Device;
use kat_images::loader::Dataset as _;
use kat_images::sample::{Sample, Target};
use kat_upernet::Segmentor;

use super::examples::{Example, Kept};
use super::inference::{Inference, Settings};
use crate::config::{OnCorrupt, Plan};
use crate::run::loading::MAX_BAD;
use crate::run::processes::Processes;
use crate::shell::progress::Screen;
use crate::shell::told;

/// The error of an image that cannot be read, with the way on.
pub(super) fn leave_out(error: anyhow::Error) -> anyhow::Error {
    anyhow::anyhow!("{}; --set data.on_corrupt=skip leaves such images out", told(&error))
}

/// Images to evaluate on, with the network to evaluate.
pub struct HeldOut<'a, D: Device> {
    /// Where to compute.
    pub device: &'a D,
    /// The network.
    pub model: &'a Segmentor<D>,
    /// How it is used.
    pub settings: &'a Settings,
    /// The images.
    pub images: &'a LabelFolders,
    /// What to do about an image that cannot be read.
    pub plan: &'a Plan,
    /// Where it is shown how far an evaluation is.
    pub screen: &'a Screen,
    /// Those that have a stretch of the images each.
    pub processes: &'a Processes,
}

/// What an evaluation found.
pub struct Evaluation {
    /// How often each class was taken for each.
    pub matrix: ConfusionMatrix,
    /// Images to show, the worst first.
    pub examples: Vec<Example>,
}

/// One image, its annotation and the prediction, all of one size.
pub struct Seen<'a> {
    /// The image and its name.
    pub sample: &'a Sample,
    /// Class indices as annotated; 255 does not count.
    pub labels: &'a GrayImage,
    /// Class indices as predicted.
    pub predicted: &'a GrayImage,
}

impl<D: Device> HeldOut<'_, D> {
    /// Goes through this process's stretch of the images in order: `visit` is given each with its annotation and prediction.
    ///
    /// # Errors
    /// An image that cannot be read (where they are not to be skipped, or too many of them), or an error of
    /// `visit`.
    pub fn for_each_image(
        &self,
        mut visit: impl FnMut(Seen<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let inference = Inference { device: self.device, model: self.model, settings: self.settings };
        let own = self.processes.shard().stretch(self.images.len());
        let mut progress = self.screen.progress("evaluating", "images", 0, own.len() as u64);
        let mut skipped = 0;
        for index in own.clone() {
            let sample = match self.images.get(index) {
                Ok(sample) => sample,
                Err(error) if self.plan.data.on_corrupt == OnCorrupt::Skip => {
                    skipped += 1;
                    tracing::warn!("left out: {error}");
                    continue;
                }
                Err(error) => return Err(leave_out(anyhow::anyhow!(error))),
            };
            let Target::LabelMap(labels) = &sample.target else { continue };
            let predicted = gray(&inference.labels(&sample.image).with_context(|| sample.id.clone())?)?;
            progress.advance(1);
            visit(Seen { sample: &sample, labels, predicted: &predicted })?;
        }
        progress.finish();
        let share = skipped as f64 / own.len().max(1) as f64;
        ensure!(share <= MAX_BAD, "{skipped} of {} held-out images cannot be read", own.len());
        Ok(())
    }

    /// Counts all images over all processes and keeps up to `examples` of this one's: half of them the worst, half the first
    /// ones as they come.
    ///
    /// # Errors
    /// Those of [`HeldOut::for_each_image`]; not one pixel that counts.
    pub fn evaluate(&self, classes: usize, examples: usize) -> anyhow::Result<Evaluation> {
        // Labels have been reduced to class indices while they were read.
        let mut matrix = ConfusionMatrix::new(LabelConfig::new(classes))?;
        let mut kept = Kept::new(examples);
        self.for_each_image(|seen| {
            let counted = matrix.update(seen.labels.as_raw(), seen.predicted.as_raw());
            counted.with_context(|| seen.sample.id.clone())?;
            kept.offer(&seen);
            Ok(())
        })?;
        self.processes.add_counts(matrix.counts_mut())?;
        let folder = self.images.labels.display();
        ensure!(
            matrix.counts().iter().any(|n| *n > 0),
            "{folder}: every pixel of every label map is ignored"
        );
        Ok(Evaluation { matrix, examples: kept.into_sorted() })
    }
}

/// Labels as a gray image.
///
/// # Errors
/// More classes than 8 bits tell apart.
pub fn gray(map: &kat_upernet::LabelMap) -> anyhow::Result<GrayImage> {
    let values = map.labels.iter().map(|l| u8::try_from(*l)).collect::<Result<Vec<u8>, _>>();
    let values = values.context("a class above 255 does not fit a label map of 8 bits")?;
    GrayImage::from_raw(map.size.width as u32, map.size.height as u32, values)
        .context("labels do not fill their image")
}
