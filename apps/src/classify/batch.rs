//! The batches of classification: images cropped, augmented, normalised and mixed by the loader's threads.
//!
//! # Shapes
//! N images, S side in pixels, K classes: images (N, 3, S, S), labels (N), soft targets (N, K).

use kat_images::loader::{BoxError, Collate};
use kat_images::pipeline::{ClassifyEval, ClassifyTrain};
use kat_images::sample::{Sample, Target};
use kat_images::transform::mixup::Mixup;
use rand_chacha::ChaCha8Rng;

/// N images and what they show.
#[derive(Debug, Clone, Default)]
pub struct ClassifyBatch {
    /// (N, 3, S, S), normalised.
    pub images: Vec<f32>,
    /// S.
    pub side: usize,
    /// (N): the class of each image; empty where none are known.
    pub labels: Vec<u32>,
    /// (N, K), empty where batches are not mixed.
    pub soft: Vec<f32>,
    /// Name of each image.
    pub ids: Vec<String>,
}

impl ClassifyBatch {
    /// The planes (3, S, S) of an image.
    pub fn image(&self, slot: usize) -> &[f32] {
        let len = 3 * self.side * self.side;
        &self.images[slot * len..(slot + 1) * len]
    }
}

/// Makes the batches of training, of samples whose image is the part the pipeline's crop drew.
#[derive(Debug, Clone)]
pub struct TrainCollate {
    /// From the decoded part to planes.
    pub pipeline: ClassifyTrain,
    /// Mixup and CutMix, where wanted.
    pub mixup: Option<Mixup>,
    /// K.
    pub classes: usize,
}

/// Makes the batches of evaluation.
#[derive(Debug, Clone)]
pub struct EvalCollate(pub ClassifyEval);

fn begin(batch: &mut ClassifyBatch, side: usize) {
    batch.side = side;
    batch.images.clear();
    batch.labels.clear();
    batch.soft.clear();
    batch.ids.clear();
}

/// Adds the label and id of a sample, and room for its planes, which is returned.
fn slot<'b>(batch: &'b mut ClassifyBatch, target: &Target, id: &str) -> &'b mut [f32] {
    let plane = 3 * batch.side * batch.side;
    let start = batch.ids.len() * plane;
    batch.ids.push(id.to_owned());
    if let Target::Class(class) = target {
        batch.labels.push(*class);
    }
    batch.images.resize(start + plane, 0.0);
    &mut batch.images[start..]
}

impl Collate<Sample> for TrainCollate {
    type Batch = ClassifyBatch;

    fn new_batch(&self) -> ClassifyBatch {
        ClassifyBatch::default()
    }

    fn begin(&self, batch: &mut ClassifyBatch, _capacity: usize) {
        begin(batch, self.pipeline.size().width);
    }

    fn put(&self, batch: &mut ClassifyBatch, sample: Sample, rng: &mut ChaCha8Rng) -> Result<(), BoxError> {
        Ok(self.pipeline.region_into(&sample.image, rng, slot(batch, &sample.target, &sample.id))?)
    }

    fn finish(&self, batch: &mut ClassifyBatch, rng: &mut ChaCha8Rng) -> Result<(), BoxError> {
        let Some(mixup) = &self.mixup else { return Ok(()) };
        let mix = mixup.draw(self.pipeline.size(), rng)?;
        Mixup::mix(mix, &mut batch.images, self.pipeline.size())?;
        batch.soft.resize(batch.labels.len() * self.classes, 0.0);
        Ok(mixup.targets(mix, &batch.labels, self.classes, &mut batch.soft)?)
    }
}

impl Collate<Sample> for EvalCollate {
    type Batch = ClassifyBatch;

    fn new_batch(&self) -> ClassifyBatch {
        ClassifyBatch::default()
    }

    fn begin(&self, batch: &mut ClassifyBatch, _capacity: usize) {
        begin(batch, self.0.size().width);
    }

    fn put(&self, batch: &mut ClassifyBatch, sample: Sample, rng: &mut ChaCha8Rng) -> Result<(), BoxError> {
        let sample = self.0.apply(sample, rng)?;
        Ok(self.0.write(&sample, slot(batch, &sample.target, &sample.id))?)
    }
}
