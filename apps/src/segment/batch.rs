//! The batches of segmentation: images scaled, cropped, mirrored, distorted and normalized by the loader's threads.
//!
//! # Shapes
//! N images, S the side of the crop in pixels: images (N, 3, S, S), labels (N, S, S), 255 where they do not count.

use kat_images::loader::{BoxError, Collate, Images, LabelMaps};
use kat_images::pipeline::SegmentTrain;
use kat_images::sample::{Sample, Target};
use ndarray::Dim;
use rand_chacha::ChaCha8Rng;

/// N crops and their label maps.
#[derive(Debug, Clone, Default)]
pub struct SegmentBatch {
    /// (N, 3, S, S), normalized.
    pub images: Images,
    /// (N, S, S): class indices.
    pub labels: LabelMaps,
}

/// Makes the batches of training.
#[derive(Debug, Clone)]
pub struct TrainCollate(pub SegmentTrain);

impl Collate<Sample> for TrainCollate {
    type Batch = SegmentBatch;

    fn new_batch(&self) -> SegmentBatch {
        SegmentBatch::default()
    }

    fn begin(&self, batch: &mut SegmentBatch, _capacity: usize) {
        let side = self.0.size().width;
        batch.images.begin(Dim([3, side, side]));
        batch.labels.begin(Dim([side, side]));
    }

    fn put(&self, batch: &mut SegmentBatch, sample: Sample, rng: &mut ChaCha8Rng) -> Result<(), BoxError> {
        if !matches!(sample.target, Target::LabelMap(_)) {
            return Err("the sample has no label map".into());
        }
        let sample = self.0.apply(sample, rng)?;
        Ok(self.0.write(&sample, batch.images.push(), batch.labels.push())?)
    }
}
