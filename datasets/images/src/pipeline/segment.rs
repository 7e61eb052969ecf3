//! Semantic segmentation: mmsegmentation's ADE20K pipelines.

use crate::Size;
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::sample::{Sample, Target};
use crate::transform::category_crop::CategoryCrop;
use crate::transform::flip::random_flip;
use crate::transform::normalize::{Direction, Normalize};
use crate::transform::photometric::Photometric;
use crate::transform::random_scale::RandomScale;
use crate::transform::target::IGNORE_LABEL;
use crate::transform::{TransformError, check_probability};

/// Settings of training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SegmentTrainConfig {
    /// The random size.
    pub scale: RandomScale,
    /// The random crop.
    pub crop: CategoryCrop,
    /// Probability of mirroring.
    pub flip: f64,
    /// Photometric distortion, none where absent.
    pub photometric: Option<Photometric>,
    /// Mean and deviation.
    pub normalize: Normalize,
}

impl Default for SegmentTrainConfig {
    fn default() -> Self {
        Self {
            scale: RandomScale::default(),
            crop: CategoryCrop::default(),
            flip: 0.5,
            photometric: Some(Photometric::default()),
            normalize: Normalize::default(),
        }
    }
}

/// Training: random size, crop, mirror, colours; padded when written.
#[derive(Debug, Clone)]
pub struct SegmentTrain {
    config: SegmentTrainConfig,
}

impl SegmentTrain {
    /// # Errors
    /// [`TransformError::Config`] naming the setting out of range.
    pub fn new(config: SegmentTrainConfig) -> Result<Self, TransformError> {
        config.scale.validate()?;
        config.crop.validate()?;
        check_probability("flip", config.flip)?;
        if let Some(photometric) = &config.photometric {
            photometric.validate()?;
        }
        config.normalize.validate()?;
        Ok(Self { config })
    }

    /// Width and height of the canvas.
    pub fn size(&self) -> Size {
        Size::square(self.config.crop.size as usize)
    }

    /// The augmented sample, at most [`Self::size`].
    ///
    /// # Errors
    /// [`TransformError::Target`] for a class or objects; [`TransformError::Empty`] or
    /// [`TransformError::SizeMismatch`] for no image or a label map that does not fit it.
    pub fn apply(&self, sample: Sample, rng: &mut impl Rng) -> Result<Sample, TransformError> {
        check_labels(&sample)?;
        let sample = self.config.scale.apply(sample, rng)?;
        let sample = self.config.crop.apply(sample, rng)?;
        let mut sample = random_flip(sample, self.config.flip, rng)?;
        if let Some(photometric) = &self.config.photometric {
            photometric.apply(&mut sample.image, rng);
        }
        Ok(sample)
    }

    /// Writes the image to `out`, (3, size, size), 0 where there is none, and its labels to `labels`, (size, size),
    /// 255 where there are none.
    ///
    /// # Errors
    /// [`TransformError::BufferLength`], [`TransformError::DoesNotFit`] or [`TransformError::SizeMismatch`].
    pub fn write(&self, sample: &Sample, out: &mut [f32], labels: &mut [u8]) -> Result<(), TransformError> {
        let canvas = self.size();
        self.config.normalize.write(&sample.image, Direction::Forward, canvas, out)?;
        write_labels(sample, canvas, labels)
    }
}

/// Settings of evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SegmentEvalConfig {
    /// The size, at a ratio of 1.
    pub scale: RandomScale,
    /// Mean and deviation.
    pub normalize: Normalize,
}

/// Evaluation: the image scaled, its labels as annotated, since scores are taken at the size of the annotation.
#[derive(Debug, Clone)]
pub struct SegmentEval {
    config: SegmentEvalConfig,
}

impl SegmentEval {
    /// # Errors
    /// [`TransformError::Config`] naming the setting out of range.
    pub fn new(config: SegmentEvalConfig) -> Result<Self, TransformError> {
        config.scale.validate()?;
        config.normalize.validate()?;
        Ok(Self { config })
    }

    /// The scaled image with its unscaled label map; nothing is drawn from `rng`.
    ///
    /// # Errors
    /// As [`SegmentTrain::apply`].
    pub fn apply(&self, sample: Sample, _rng: &mut impl Rng) -> Result<Sample, TransformError> {
        check_labels(&sample)?;
        let Sample { image, target, id } = sample;
        let scaled = self.config.scale.apply_at(Sample { image, target: Target::None, id }, 1.0)?;
        Ok(Sample { target, ..scaled })
    }

    /// Writes the image to `out`, (3, height, width) of its own size.
    ///
    /// # Errors
    /// [`TransformError::BufferLength`].
    pub fn write(&self, sample: &Sample, out: &mut [f32]) -> Result<(), TransformError> {
        let canvas = Size::of(&sample.image);
        self.config.normalize.write(&sample.image, Direction::Forward, canvas, out)
    }
}

fn check_labels(sample: &Sample) -> Result<(), TransformError> {
    let found = match sample.target {
        Target::None | Target::LabelMap(_) => return Ok(()),
        Target::Class(_) => "a class",
        Target::Instances(_) => "objects",
    };
    Err(TransformError::Target { id: sample.id.clone(), found, expected: "a label map or none" })
}

fn write_labels(sample: &Sample, canvas: Size, out: &mut [u8]) -> Result<(), TransformError> {
    let expected = canvas.area();
    if out.len() != expected {
        return Err(TransformError::BufferLength { found: out.len(), expected });
    }
    out.fill(IGNORE_LABEL);
    if let Target::LabelMap(labels) = &sample.target {
        let (image, found) = (Size::of(&sample.image), Size::of(labels));
        if found != image {
            return Err(TransformError::SizeMismatch { what: "label map", found, image });
        }
        let width = found.width;
        if width > 0 {
            for (line, row) in out.chunks_exact_mut(canvas.width).zip(labels.as_raw().chunks_exact(width)) {
                line[..width].copy_from_slice(row);
            }
        }
    }
    Ok(())
}
