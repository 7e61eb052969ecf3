//! The batches of segmentation: images scaled, cropped, mirrored, distorted and normalised by the loader's threads.
//!
//! # Shapes
//! N images, S the side of the crop in pixels: images (N, 3, S, S), labels (N, S, S), 255 where they do not count.

use kat_images::loader::{BoxError, Collate};
use kat_images::pipeline::SegmentTrain;
use kat_images::sample::{Sample, Target};
use rand_chacha::ChaCha8Rng;

/// N crops and their label maps.
#[derive(Debug, Clone, Default)]
pub struct SegmentBatch {
    /// (N, 3, S, S), normalised.
    pub images: Vec<f32>,
    /// (N, S, S): class indices.
    pub labels: Vec<u8>,
    /// S.
    pub side: usize,
    /// N.
    pub count: usize,
}

/// Makes the batches of training.
#[derive(Debug, Clone)]
pub struct TrainCollate(pub SegmentTrain);

impl Collate<Sample> for TrainCollate {
    type Batch = SegmentBatch;

    fn new_batch(&self) -> SegmentBatch {
        SegmentBatch::default()
    }

    fn begin(&self, batch: &mut SegmentBatch, capacity: usize) {
        let side = self.0.size().width;
        let plane = side * side;
        *batch = SegmentBatch {
            images: std::mem::take(&mut batch.images),
            labels: std::mem::take(&mut batch.labels),
            side,
            count: 0,
        };
        batch.images.resize(capacity * 3 * plane, 0.0);
        batch.labels.resize(capacity * plane, 0);
    }

    fn put(&self, batch: &mut SegmentBatch, sample: Sample, rng: &mut ChaCha8Rng) -> Result<(), BoxError> {
        if !matches!(sample.target, Target::LabelMap(_)) {
            return Err("the sample has no label map".into());
        }
        let sample = self.0.apply(sample, rng)?;
        let (plane, slot) = (batch.side * batch.side, batch.count);
        let images = &mut batch.images[slot * 3 * plane..(slot + 1) * 3 * plane];
        let labels = &mut batch.labels[slot * plane..(slot + 1) * plane];
        self.0.write(&sample, images, labels)?;
        batch.count += 1;
        Ok(())
    }

    fn finish(&self, batch: &mut SegmentBatch, _: &mut ChaCha8Rng) -> Result<(), BoxError> {
        // A shorter batch than announced.
        let plane = batch.side * batch.side;
        batch.images.truncate(batch.count * 3 * plane);
        batch.labels.truncate(batch.count * plane);
        Ok(())
    }
}
