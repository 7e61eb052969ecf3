//! The held-out images, classified and counted.

use anyhow::Context as _;
use kat_backbone::{Device, Graph, Kat};
use kat_imagenet::LabelledImages;
use kat_imagenet::topk::TopK;
use kat_images::Filter;
use kat_images::pipeline::{ClassifyEval, ClassifyEvalConfig};
use kat_images::transform::crop::CenterCrop;
use ndarray::{Array2, ArrayView2};

use super::batch::{ClassifyBatch, EvalCollate};
use super::calibration::Calibration;
use super::mistakes::{Mistake, MistakeKeeper};
use crate::config::Plan;
use crate::plot::confusion::Confusion;
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
    pub images: &'a LabelledImages,
    /// Where it is shown how far an evaluation is.
    pub screen: &'a Screen,
    /// Those that have a stretch of the images each.
    pub processes: &'a Processes,
}

/// What an evaluation found.
pub struct Evaluation {
    /// Right answers among the first and the first five.
    pub top: TopK,
    /// What was taken for what.
    pub confusion: Confusion,
    /// The most confident mistakes, as many as were asked for.
    pub mistakes: Vec<Mistake>,
    /// Sum of the cross entropies.
    loss: f64,
    /// Of each image the probability of the class named, below 0 where that was wrong.
    confidences: Vec<f64>,
}

impl Evaluation {
    /// The mean cross entropy.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.top.accuracy().samples as f64
    }

    /// Whether it is right as often as it says.
    pub fn calibration(&self) -> Calibration {
        Calibration::of(self.confidences.iter().map(|c| (c.abs(), *c > 0.0)))
    }
}

impl<D: Device> HeldOut<'_, D> {
    /// Goes through this process's stretch of them in order: `visit` is given each batch and its logits (N, K).
    ///
    /// # Errors
    /// Images that cannot be read, or an error of `visit`.
    pub fn for_each_batch(
        &self,
        model: &Kat<D>,
        mut visit: impl FnMut(&ClassifyBatch, ArrayView2<'_, f32>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let collate = EvalCollate(eval_pipeline(self.plan, model.config().image_size.height as u32)?);
        loading::for_each_batch(
            self.images,
            collate,
            self.plan,
            self.screen,
            self.processes.shard(),
            |batch| {
                if !batch.ids.is_empty() {
                    let images = loading::tensor(self.device, &batch.images)?;
                    let logits = model.forward(&mut Graph::inference(), &images)?;
                    let rows = batch.ids.len();
                    let logits = Array2::from_shape_vec((rows, logits.numel() / rows), logits.to_vec())?;
                    visit(batch, logits.view())?;
                }
                Ok(batch.ids.len())
            },
        )
    }

    /// Counts all of them over all processes, and keeps up to `examples` mistakes of this one's.
    ///
    /// # Errors
    /// As [`HeldOut::for_each_batch`].
    pub fn evaluate(&self, model: &Kat<D>, names: &[String], examples: usize) -> anyhow::Result<Evaluation> {
        let mut top = TopK::with_confusion(names.len());
        let (mut keeper, mut losses) = (MistakeKeeper::new(examples), Vec::new());
        let mut confidences = Vec::new();
        let side = model.config().image_size.height;
        self.for_each_batch(model, |batch, logits| {
            top.update(logits, &batch.labels)?;
            for (slot, (row, label)) in logits.rows().into_iter().zip(&batch.labels).enumerate() {
                let row = row.as_slice().context("logits are not row-major")?;
                losses.push(negative_log(row, *label));
                let Some(best) = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]).then(b.cmp(a)))
                else {
                    continue;
                };
                let probability = probabilities(row)[best];
                let sign = if best == *label as usize { 1.0 } else { -1.0 };
                confidences.push(sign * f64::from(probability));
                if best != *label as usize {
                    keeper.offer(probability, || Mistake {
                        id: batch.ids[slot].clone(),
                        truth: names[*label as usize].clone(),
                        predicted: names[best].clone(),
                        probability,
                        image: self.plan.data.normalize.to_image(batch.images.item(slot), side),
                    });
                }
            }
            Ok(())
        })?;
        self.processes.add_counts(top.counts_mut())?;
        // Added up in the order of the images, however many processes there are.
        let loss = self.processes.gather(&losses)?.iter().sum();
        let confidences = self.processes.gather(&confidences)?;
        let counts = top.confusion().context("no confusion was counted")?;
        let confusion = Confusion::of_counts(names.to_vec(), counts.view());
        Ok(Evaluation { top, confusion, mistakes: keeper.into_sorted(), loss, confidences })
    }
}

#[cfg(test)]
impl Evaluation {
    /// One that found these counts (truth, predicted), as sure and as right as `answers` say.
    pub(super) fn example<const N: usize>(counts: &[[u64; N]; N], answers: &[(f64, bool)]) -> Self {
        let mut top = TopK::with_confusion(N);
        let pairs = (0..N).flat_map(|t| (0..N).map(move |p| (t, p)));
        for (truth, predicted) in pairs {
            let row = Array2::from_shape_fn((1, N), |(_, class)| f32::from(u8::from(class == predicted)));
            (0..counts[truth][predicted]).for_each(|_| top.update(row.view(), &[truth as u32]).unwrap());
        }
        let names = (0..N).map(|i| format!("class {i}")).collect();
        let confusion = Confusion::of_counts(names, top.confusion().unwrap().view());
        let confidences = answers.iter().map(|(c, right)| if *right { *c } else { -c }).collect();
        Self { top, confusion, mistakes: Vec::new(), loss: 0.0, confidences }
    }
}

/// -log softmax(row)[label].
fn negative_log(row: &[f32], label: u32) -> f64 {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|x| f64::from(x - largest).exp()).sum();
    sum.ln() - f64::from(row[label as usize] - largest)
}

/// Softmax of one row of logits.
pub fn probabilities(row: &[f32]) -> Vec<f32> {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = row.iter().map(|x| f64::from(x - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| (p / sum) as f32).collect()
}

/// What evaluation does to an image.
///
/// # Errors
/// A setting out of range.
pub fn eval_pipeline(plan: &Plan, side: u32) -> anyhow::Result<ClassifyEval> {
    let crop = CenterCrop { size: side, crop_pct: plan.eval.crop, filter: Filter::Bicubic };
    Ok(ClassifyEval::new(ClassifyEvalConfig { crop, normalize: plan.data.normalize })?)
}
