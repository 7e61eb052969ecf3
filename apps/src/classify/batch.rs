//! The batches of classification: images cropped, augmented, normalized and mixed by the loader's threads.
//!
//! # Shapes
//! N images, S side in pixels, K classes: images (N, 3, S, S), labels (N), soft targets (N, K).

use kat_images::loader::{BoxError, Collate, Images};
use kat_images::pipeline::{ClassifyEval, ClassifyTrain};
use kat_images::sample::{Sample, Target};
use kat_images::transform::mixup::Mixup;
use ndarray::{Array2, Dim};
use rand_chacha::ChaCha8Rng;

/// N images and what they show.
#[derive(Debug, Clone, Default)]
pub struct ClassifyBatch {
    /// (N, 3, S, S), normalized.
    pub images: Images,
    /// (N): the class of each image; empty where none are known.
    pub labels: Vec<u32>,
    /// (N, K) where batches are mixed.
    pub soft: Option<Array2<f32>>,
    /// Name of each image.
    pub ids: Vec<String>,
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
    batch.images.begin(Dim([3, side, side]));
    batch.labels.clear();
    batch.soft = None;
    batch.ids.clear();
}

/// Adds the label and id of a sample, and room for its planes, which is returned.
fn slot<'b>(batch: &'b mut ClassifyBatch, target: &Target, id: &str) -> &'b mut [f32] {
    batch.ids.push(id.to_owned());
    if let Target::Class(class) = target {
        batch.labels.push(*class);
    }
    batch.images.push()
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
        Mixup::mix(mix, batch.images.as_mut_slice(), self.pipeline.size())?;
        let soft = batch.soft.insert(Array2::zeros((batch.labels.len(), self.classes)));
        let rows = soft.as_slice_mut().ok_or("soft targets are not contiguous")?;
        Ok(mixup.targets(mix, &batch.labels, self.classes, rows)?)
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
