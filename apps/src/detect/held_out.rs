//! The held-out images, searched for objects and scored against their annotation.

use kat_backbone::Device;
use kat_coco::json::Category;
use kat_mask_rcnn::MaskRcnn;
use kat_mask_rcnn::structures::ImageResult;

use super::batch::{DetectBatch, DetectCollate};
use super::data::CocoImages;
use super::scored::{Figures, Scored};
use super::{detect, eval_pipeline};
use crate::config::Plan;
use crate::run::loading;
use crate::run::processes::Processes;
use crate::shell::progress::Screen;

/// Images to evaluate on.
pub struct HeldOut<'a, D: Device> {
    /// Where to compute.
    pub device: &'a D,
    /// How images are prepared and read.
    pub plan: &'a Plan,
    /// The images.
    pub images: &'a CocoImages,
    /// Where it is shown how far an evaluation is.
    pub screen: &'a Screen,
    /// Those that have a stretch of the images each.
    pub processes: &'a Processes,
}

/// What an evaluation found.
pub struct Evaluation {
    /// COCO's figures.
    pub figures: Figures,
    /// The first images by COCO id with what was found in them, as many as were asked for.
    pub examples: Vec<(String, ImageResult)>,
}

impl<D: Device> HeldOut<'_, D> {
    /// Goes through this process's stretch of them in order: `visit` is given each batch and what was found in its images, at their own
    /// size.
    ///
    /// # Errors
    /// Images that cannot be read, or an error of `visit`.
    pub fn for_each_batch(
        &self,
        model: &MaskRcnn<D>,
        mut visit: impl FnMut(&DetectBatch, &[ImageResult]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let collate = DetectCollate(eval_pipeline(self.plan, model.config())?);
        loading::for_each_batch(
            self.images,
            collate,
            self.plan,
            self.screen,
            self.processes.shard(),
            |batch| {
                if !batch.ids.is_empty() {
                    visit(batch, &detect(self.device, model, batch)?)?;
                }
                Ok(batch.ids.len())
            },
        )
    }

    /// Scores all of them over all processes, and keeps the first `examples` of this one's.
    ///
    /// # Errors
    /// As [`HeldOut::for_each_batch`]; annotations that cannot be evaluated.
    pub fn evaluate(
        &self,
        model: &MaskRcnn<D>,
        categories: &[Category],
        examples: usize,
    ) -> anyhow::Result<Evaluation> {
        let mut scored = Scored::new(&self.images.0, categories)?;
        let mut kept = Vec::new();
        self.for_each_batch(model, |batch, found| {
            for (id, found) in batch.ids.iter().zip(found) {
                scored.add(id, found)?;
                if kept.len() < examples {
                    kept.push((id.clone(), found.clone()));
                }
            }
            Ok(())
        })?;
        scored.gather(self.processes)?;
        Ok(Evaluation { figures: scored.figures(&scored.to_json()?)?, examples: kept })
    }
}
