//! The batch of all three tasks: images as normalised f32 planes, and whatever is annotated.
//!
//! # Shapes
//! N samples, C = 3 channels, H height, W width: images `[N, 3, H, W]`, label maps `[N, H, W]`.

use image::RgbImage;
use rand_chacha::ChaCha8Rng;

use super::{BoxError, Collate};
use crate::sample::{Instance, Sample, Target};

/// Label of pixels that do not count, and of padding.
pub const IGNORE: u8 = 255;

/// `(level / 255 − mean) / std` for each channel, as a table of the 256 levels.
#[derive(Debug, Clone)]
pub struct Normalise {
    table: [[f32; 256]; 3],
}

impl Normalise {
    /// The table for a mean and standard deviation on the scale 0..1, RGB.
    pub fn new(mean: [f32; 3], std: [f32; 3]) -> Self {
        let level = |c: usize, l: usize| ((l as f64 / 255.0 - f64::from(mean[c])) / f64::from(std[c])) as f32;
        Self { table: std::array::from_fn(|c| std::array::from_fn(|l| level(c, l))) }
    }

    /// Mean (0.485, 0.456, 0.406) and deviation (0.229, 0.224, 0.225) of ImageNet.
    pub fn imagenet() -> Self {
        Self::new([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    }

    /// Writes an image into the upper left of planes `[3, height, width]`; the rest is set to zero, which is
    /// the mean colour.
    fn write(&self, image: &RgbImage, planes: &mut [f32], size: [usize; 2]) {
        let [height, width] = size;
        let (w, h) = (image.width() as usize, image.height() as usize);
        for (plane, (channel, table)) in
            planes.chunks_exact_mut(height * width).zip(self.table.iter().enumerate())
        {
            for (y, line) in plane.chunks_exact_mut(width).enumerate() {
                let (inside, beside) = line.split_at_mut(if y < h { w } else { 0 });
                beside.fill(0.0);
                if inside.is_empty() {
                    continue;
                }
                let pixels = &image.as_raw()[y * w * 3..(y + 1) * w * 3];
                for (out, pixel) in inside.iter_mut().zip(pixels.as_chunks::<3>().0) {
                    *out = table[pixel[channel] as usize];
                }
            }
        }
    }
}

/// What size the planes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PadRule {
    /// Exactly this; a sample of another size is an error (classification).
    Exact {
        /// Height in pixels.
        height: usize,
        /// Width in pixels.
        width: usize,
    },
    /// At least every sample, padded below and to the right up to this; a larger one is an error.
    Fixed {
        /// Height in pixels.
        height: usize,
        /// Width in pixels.
        width: usize,
    },
    /// The largest sample of the batch, rounded up to multiples of this number.
    Multiple(usize),
}

/// N samples.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Planes `[N, 3, H, W]`; padding is 0.
    pub images: Vec<f32>,
    /// `[H, W]` of the planes.
    pub size: [usize; 2],
    /// `[height, width]` of each sample before padding.
    pub sizes: Vec<[usize; 2]>,
    /// [`Sample::id`] of each.
    pub ids: Vec<String>,
    /// Class of each sample, where the dataset has classes; else empty.
    pub classes: Vec<u32>,
    /// Objects of each sample, where the dataset has them; else empty.
    pub instances: Vec<Vec<Instance>>,
    /// Label maps `[N, H, W]`, where the dataset has them, padding [`IGNORE`]; else empty.
    pub labels: Vec<u8>,
    pending: Vec<(RgbImage, Option<image::GrayImage>)>,
}

impl Batch {
    /// N.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no sample (all of them were left out).
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Planes `[3, H, W]` of one sample.
    pub fn image_mut(&mut self, slot: usize) -> &mut [f32] {
        let one = 3 * self.size[0] * self.size[1];
        &mut self.images[slot * one..(slot + 1) * one]
    }
}

/// Collates [`Sample`]s of any task; all samples of a batch have the same kind of target.
#[derive(Debug, Clone)]
pub struct SampleCollate {
    /// Mean and deviation.
    pub normalise: Normalise,
    /// Size of the planes.
    pub pad: PadRule,
}

impl SampleCollate {
    fn write(&self, batch: &mut Batch, slot: usize, image: &RgbImage, labels: Option<&image::GrayImage>) {
        let [height, width] = batch.size;
        let plane = height * width;
        // a buffer that grew once keeps its length: every value is overwritten
        if batch.images.len() < (slot + 1) * 3 * plane {
            batch.images.resize((slot + 1) * 3 * plane, 0.0);
        }
        let size = batch.size;
        self.normalise.write(image, batch.image_mut(slot), size);
        if let Some(map) = labels {
            batch.labels.resize(slot * plane, IGNORE);
            let w = map.width() as usize;
            batch.labels.resize((slot + 1) * plane, IGNORE);
            let out = &mut batch.labels[slot * plane..];
            for (line, from) in out.chunks_exact_mut(width).zip(map.as_raw().chunks_exact(w)) {
                line[..w].copy_from_slice(from);
            }
        }
    }
}

impl Collate<Sample> for SampleCollate {
    type Batch = Batch;

    fn new_batch(&self) -> Batch {
        Batch::default()
    }

    fn begin(&self, batch: &mut Batch, capacity: usize) {
        batch.sizes.clear();
        batch.ids.clear();
        batch.classes.clear();
        batch.instances.clear();
        batch.labels.clear();
        batch.pending.clear();
        if let PadRule::Exact { height, width } | PadRule::Fixed { height, width } = self.pad {
            batch.size = [height, width];
            batch.images.resize(capacity * 3 * height * width, 0.0);
        }
    }

    fn put(&self, batch: &mut Batch, sample: Sample, _rng: &mut ChaCha8Rng) -> Result<(), BoxError> {
        let [h, w] = [sample.image.height() as usize, sample.image.width() as usize];
        if w == 0 || h == 0 {
            return Err("the image has no pixels".into());
        }
        let fits = match self.pad {
            PadRule::Exact { height, width } => h == height && w == width,
            PadRule::Fixed { height, width } => h <= height && w <= width,
            PadRule::Multiple(_) => true,
        };
        if !fits {
            return Err(format!("a sample of {w}x{h} pixels does not fit {:?}", self.pad).into());
        }
        let slot = batch.len();
        let labels = match sample.target {
            Target::LabelMap(map) if map.dimensions() != sample.image.dimensions() => {
                let (mw, mh) = map.dimensions();
                return Err(format!("the label map is {mw}x{mh}, the image {w}x{h}").into());
            }
            Target::LabelMap(map) => Some(map),
            Target::Class(class) => {
                batch.classes.push(class);
                None
            }
            Target::Instances(instances) => {
                batch.instances.push(instances);
                None
            }
            Target::None => None,
        };
        batch.sizes.push([h, w]);
        batch.ids.push(sample.id);
        match self.pad {
            PadRule::Multiple(_) => batch.pending.push((sample.image, labels)),
            PadRule::Exact { .. } | PadRule::Fixed { .. } => {
                self.write(batch, slot, &sample.image, labels.as_ref());
            }
        }
        Ok(())
    }

    fn finish(&self, batch: &mut Batch, _rng: &mut ChaCha8Rng) -> Result<(), BoxError> {
        if let PadRule::Multiple(multiple) = self.pad {
            let most = |axis: usize| batch.sizes.iter().map(|s| s[axis]).max().unwrap_or(0);
            batch.size = [0, 1].map(|axis| most(axis).next_multiple_of(multiple.max(1)));
            for (slot, (image, labels)) in std::mem::take(&mut batch.pending).into_iter().enumerate() {
                self.write(batch, slot, &image, labels.as_ref());
            }
        }
        let plane = batch.size[0] * batch.size[1];
        batch.images.truncate(batch.len() * 3 * plane);
        let n = batch.len();
        for (kind, found) in [
            ("classes", batch.classes.len()),
            ("objects", batch.instances.len()),
            ("label maps", batch.labels.len() / plane.max(1)),
        ] {
            if found != 0 && found != n {
                return Err(format!("{found} of {n} samples have {kind}; all or none must").into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Luma, Rgb};
    use rand::SeedableRng;

    fn batch_of(collate: &SampleCollate, samples: Vec<Sample>) -> Result<Batch, BoxError> {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut batch = collate.new_batch();
        // a used buffer must not show through
        batch.images = vec![9.0; 1000];
        batch.labels = vec![9; 1000];
        collate.begin(&mut batch, samples.len());
        for sample in samples {
            collate.put(&mut batch, sample, &mut rng)?;
        }
        collate.finish(&mut batch, &mut rng)?;
        Ok(batch)
    }

    fn sample(w: u32, h: u32, target: Target) -> Sample {
        Sample { image: RgbImage::from_pixel(w, h, Rgb([255, 0, 51])), target, id: format!("{w}x{h}") }
    }

    #[test]
    fn planes_are_normalised_and_padded_with_zero() {
        let normalise = Normalise::new([0.5, 0.5, 0.2], [0.5, 0.25, 1.0]);
        let collate = SampleCollate { normalise, pad: PadRule::Multiple(2) };
        let map = |w, h| Target::LabelMap(GrayImage::from_pixel(w, h, Luma([7])));
        let batch = batch_of(&collate, vec![sample(1, 2, map(1, 2)), sample(3, 1, map(3, 1))]).unwrap();
        assert_eq!(batch.size, [2, 4]);
        assert_eq!(batch.sizes, [[2, 1], [1, 3]]);
        assert_eq!(batch.images[..8], [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(batch.images[8..16], [-2.0, 0.0, 0.0, 0.0, -2.0, 0.0, 0.0, 0.0]);
        assert_eq!(batch.images[24..32], [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(batch.images.len(), 48);
        assert_eq!(batch.labels[..8], [7, 255, 255, 255, 7, 255, 255, 255]);
        assert_eq!(batch.labels[8..], [7, 7, 7, 255, 255, 255, 255, 255]);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let exact =
            SampleCollate { normalise: Normalise::imagenet(), pad: PadRule::Exact { height: 2, width: 2 } };
        assert_eq!(batch_of(&exact, vec![sample(2, 2, Target::Class(3))]).unwrap().classes, [3]);
        let error = batch_of(&exact, vec![sample(3, 2, Target::Class(3))]).unwrap_err().to_string();
        assert!(error.contains("3x2"), "{error}");
        let map = Target::LabelMap(GrayImage::new(1, 2));
        let error = batch_of(&exact, vec![sample(2, 2, map)]).unwrap_err().to_string();
        assert_eq!(error, "the label map is 1x2, the image 2x2");
        let mixed = vec![sample(2, 2, Target::Class(3)), sample(2, 2, Target::None)];
        assert!(batch_of(&exact, mixed).unwrap_err().to_string().contains("1 of 2 samples have classes"));
    }
}
