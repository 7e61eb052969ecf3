//! The batches of detection: images at the top left of a square canvas, with their objects.
//!
//! # Shapes
//! N images, S side of the canvas in pixels: images (N, 3, S, S).

use kat_images::loader::{BoxError, Collate, Images};
use kat_images::pipeline::{DetectEval, DetectTrain};
use kat_images::sample::{Instance, Sample, Target};
use kat_images::{Mask, Polygon, Size};
use kat_mask_rcnn::HeadError;
use kat_mask_rcnn::structures::Targets;
use ndarray::Dim;
use rand_chacha::ChaCha8Rng;

/// N images and what is in them.
#[derive(Debug, Clone, Default)]
pub struct DetectBatch {
    /// (N, 3, S, S), normalized; 0 beyond the image.
    pub images: Images,
    /// Objects of each image in pixels of the canvas, with the image's size there.
    pub targets: Vec<Targets>,
    /// Size of each image on disk.
    pub originals: Vec<Size>,
    /// The dataset's name of each image: its COCO id.
    pub ids: Vec<String>,
}

impl DetectBatch {
    /// Size of each image on the canvas.
    pub fn sizes(&self) -> Vec<Size> {
        self.targets.iter().map(Targets::image).collect()
    }

    fn begin(&mut self, canvas: Size) {
        self.images.begin(Dim([3, canvas.height, canvas.width]));
        self.targets.clear();
        self.originals.clear();
        self.ids.clear();
    }

    /// Adds what is known of `sample`, and room for its planes, which is returned.
    fn push(&mut self, sample: &Sample, original: Size) -> Result<&mut [f32], HeadError> {
        self.targets.push(targets(sample)?);
        self.originals.push(original);
        self.ids.push(sample.id.clone());
        Ok(self.images.push())
    }
}

/// Makes batches by `self.0`: those of training ([`DetectTrain`]), of evaluation and prediction ([`DetectEval`]).
#[derive(Debug, Clone)]
pub struct DetectCollate<P>(pub P);

/// [`Collate`] for a pipeline; the two have the same methods and no trait in common.
macro_rules! collate {
    ($($pipeline:ty),*) => {$(
        impl Collate<Sample> for DetectCollate<$pipeline> {
            type Batch = DetectBatch;

            fn new_batch(&self) -> DetectBatch {
                DetectBatch::default()
            }

            fn begin(&self, batch: &mut DetectBatch, _capacity: usize) {
                batch.begin(self.0.size());
            }

            fn put(
                &self,
                batch: &mut DetectBatch,
                sample: Sample,
                rng: &mut ChaCha8Rng,
            ) -> Result<(), BoxError> {
                let original = size_of(&sample);
                let sample = self.0.apply(sample, rng)?;
                Ok(self.0.write(&sample, batch.push(&sample, original)?)?)
            }
        }
    )*};
}

collate!(DetectTrain, DetectEval);

fn size_of(sample: &Sample) -> Size {
    Size::of(&sample.image)
}

/// The objects of a sample as the losses take them. Where an object that is trained on has no mask, the image
/// counts as annotated with boxes only.
///
/// # Errors
/// A mask of another size than the image, or an outline that is none.
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

fn mask(instance: &Instance, image: Size) -> Result<Mask, HeadError> {
    match &instance.mask {
        Some(mask) => Ok(mask.clone().compact(image)?),
        None => Ok(Mask::Polygon(Polygon::default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Luma, RgbImage};
    use kat_images::pipeline::DetectEvalConfig;
    use kat_images::transform::shortest_edge::ShortestEdge;
    use rand::SeedableRng;

    fn object(mask: Option<Mask>, crowd: bool) -> Instance {
        Instance { class: 1, bbox: [2.0, 4.0, 6.0, 8.0], mask, crowd }
    }

    fn sample(objects: Vec<Instance>) -> Sample {
        let image = RgbImage::from_pixel(20, 10, image::Rgb([255, 0, 0]));
        Sample { image, target: Target::Instances(objects), id: "7".into() }
    }

    #[test]
    fn every_kind_of_mask_is_taken_and_crowds_need_none() {
        let bitmap = GrayImage::from_fn(20, 10, |x, y| Luma([if x < 4 && y > 2 { 255 } else { 0 }]));
        let ring = vec![[2.0, 4.0], [6.0, 4.0], [6.0, 8.0]];
        let rings = Mask::Polygon(Polygon::from_usable([ring, vec![[0.0, 0.0]]]));
        let all = [object(Some(Mask::Bitmap(bitmap)), true), object(Some(rings), false), object(None, true)];
        let found = targets(&sample(all.to_vec())).unwrap();
        let masks = found.masks().unwrap();
        assert!(matches!(&masks[0], Mask::Rle(rle) if rle.area() == 4 * 7));
        assert!(matches!(&masks[1], Mask::Polygon(p) if p.rings().len() == 1));
        assert_eq!((masks.len(), found.trainable()), (3, vec![1]));
        assert!(targets(&sample(vec![object(None, false)])).unwrap().masks().is_none());
        assert!(targets(&sample(Vec::new())).unwrap().masks().is_some_and(<[Mask]>::is_empty));
    }

    #[test]
    fn images_lie_at_the_top_left_with_their_sizes() {
        let resize = ShortestEdge { short: 40, max: 40 };
        let pipeline = DetectEval::new(DetectEvalConfig { resize, ..DetectEvalConfig::default() }).unwrap();
        let collate = DetectCollate(pipeline);
        let mut batch = collate.new_batch();
        collate.begin(&mut batch, 2);
        let rng = &mut ChaCha8Rng::seed_from_u64(0);
        for _ in 0..2 {
            collate.put(&mut batch, sample(vec![object(None, false)]), rng).unwrap();
        }
        assert_eq!(batch.images.view().dim(), (2, 3, 40, 40));
        assert_eq!((batch.sizes()[1], batch.originals[1]), (Size::new(20, 40), Size::new(10, 20)));
        assert_eq!(batch.targets[1].boxes().as_slice(), [[4.0, 8.0, 12.0, 16.0]]);
        let red = &batch.images.item(1)[..1600];
        assert!(red[..800].iter().all(|v| *v > 2.0) && red[800..].iter().all(|v| *v == 0.0));
    }
}
