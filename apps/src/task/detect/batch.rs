//! The batches of detection: pictures at the top left of a square canvas, with their objects.
//!
//! # Shapes
//! N images, S side of the canvas in pixels: images (N, 3, S, S).

use kat_backbone::{Device, Tensor};
use kat_datasets::loader::{BoxError, Collate};
use kat_datasets::pipeline::{DetectEval, DetectTrain};
use kat_datasets::sample::{Instance, Mask, Sample, Target};
use kat_heads::HeadError;
use kat_heads::structures::{ImageSize, InstanceMask, Polygons, Rle, Targets};
use rand_chacha::ChaCha8Rng;

/// N pictures and what is in them.
#[derive(Debug, Clone, Default)]
pub struct DetectBatch {
    /// (N, 3, S, S), normalised; 0 beyond the picture.
    pub images: Vec<f32>,
    /// S.
    pub side: usize,
    /// Objects of each picture in pixels of the canvas, with the picture's size there.
    pub targets: Vec<Targets>,
    /// Size of each picture on disk.
    pub originals: Vec<ImageSize>,
    /// The dataset's name of each picture: its COCO id.
    pub ids: Vec<String>,
}

impl DetectBatch {
    /// Size of each picture on the canvas.
    pub fn sizes(&self) -> Vec<ImageSize> {
        self.targets.iter().map(Targets::image).collect()
    }

    /// The images as a tensor.
    ///
    /// # Errors
    /// The device's.
    pub fn tensor<D: Device>(&self, device: &D) -> kat_backbone::Result<Tensor<D>> {
        Tensor::from_vec(device, self.images.clone(), [self.ids.len(), 3, self.side, self.side])
    }

    fn begin(&mut self, side: u32) {
        self.side = side as usize;
        self.images.clear();
        self.targets.clear();
        self.originals.clear();
        self.ids.clear();
    }

    /// Adds what is known of `sample`, and room for its planes, which is returned.
    fn slot(&mut self, sample: &Sample, original: ImageSize) -> Result<&mut [f32], HeadError> {
        self.targets.push(targets(sample)?);
        self.originals.push(original);
        self.ids.push(sample.id.clone());
        let start = self.images.len();
        self.images.resize(start + 3 * self.side * self.side, 0.0);
        Ok(&mut self.images[start..])
    }
}

/// Makes the batches of training.
#[derive(Debug, Clone)]
pub struct TrainCollate(pub DetectTrain);

/// Makes the batches of evaluation and prediction.
#[derive(Debug, Clone)]
pub struct EvalCollate(pub DetectEval);

impl Collate<Sample> for TrainCollate {
    type Batch = DetectBatch;

    fn new_batch(&self) -> DetectBatch {
        DetectBatch::default()
    }

    fn begin(&self, batch: &mut DetectBatch, _capacity: usize) {
        batch.begin(self.0.size().0);
    }

    fn put(&self, batch: &mut DetectBatch, sample: Sample, rng: &mut ChaCha8Rng) -> Result<(), BoxError> {
        let original = size_of(&sample);
        let sample = self.0.apply(sample, rng)?;
        Ok(self.0.write(&sample, batch.slot(&sample, original)?)?)
    }
}

impl Collate<Sample> for EvalCollate {
    type Batch = DetectBatch;

    fn new_batch(&self) -> DetectBatch {
        DetectBatch::default()
    }

    fn begin(&self, batch: &mut DetectBatch, _capacity: usize) {
        batch.begin(self.0.size().0);
    }

    fn put(&self, batch: &mut DetectBatch, sample: Sample, rng: &mut ChaCha8Rng) -> Result<(), BoxError> {
        let original = size_of(&sample);
        let sample = self.0.apply(sample, rng)?;
        Ok(self.0.write(&sample, batch.slot(&sample, original)?)?)
    }
}

fn size_of(sample: &Sample) -> ImageSize {
    ImageSize::new(sample.image.height(), sample.image.width())
}

/// The objects of a sample as the losses take them. Where an object that is trained on has no mask, the picture
/// counts as annotated with boxes only.
///
/// # Errors
/// A mask of another size than the picture, or an outline that is none.
pub fn targets(sample: &Sample) -> Result<Targets, HeadError> {
    let image = size_of(sample);
    let Target::Instances(instances) = &sample.target else { return Ok(Targets::none(image)) };
    let masked = instances.iter().all(|i| i.crowd || i.mask.is_some());
    let masks = || instances.iter().map(|i| mask(i, image)).collect::<Result<Vec<_>, _>>();
    Targets::new(
        image,
        instances.iter().map(|i| i.bbox).collect(),
        instances.iter().map(|i| i.class).collect(),
        masked.then(masks).transpose()?,
        instances.iter().map(|i| i.crowd).collect(),
    )
}

fn mask(instance: &Instance, image: ImageSize) -> Result<InstanceMask, HeadError> {
    match &instance.mask {
        Some(Mask::Bitmap(bitmap)) => Ok(InstanceMask::Rle(Rle::from_bitmap(image, bitmap.as_raw())?)),
        Some(Mask::Polygons(rings)) => {
            let rings = rings.iter().filter(|ring| ring.len() >= 3).cloned().collect();
            Ok(InstanceMask::Polygons(Polygons::new(rings)?))
        }
        None => Ok(InstanceMask::Polygons(Polygons::new(Vec::new())?)),
    }
}
