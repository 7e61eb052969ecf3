//! Detection: ViTDet's training and evaluation pipelines (arXiv 2203.16527).

use crate::Size;
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::sample::{Sample, Target};
use crate::transform::flip::random_flip;
use crate::transform::normalize::{Direction, Normalize};
use crate::transform::scale_jitter::ScaleJitter;
use crate::transform::shortest_edge::ShortestEdge;
use crate::transform::{TransformError, check_probability};

/// Settings of training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectTrainConfig {
    /// Probability of mirroring.
    pub flip: f64,
    /// Large-scale jitter.
    pub jitter: ScaleJitter,
    /// Mean and deviation.
    pub normalize: Normalize,
}

impl Default for DetectTrainConfig {
    fn default() -> Self {
        Self { flip: 0.5, jitter: ScaleJitter::default(), normalize: Normalize::default() }
    }
}

/// Training: mirror, scale and cut; padded to a square when written.
#[derive(Debug, Clone)]
pub struct DetectTrain {
    config: DetectTrainConfig,
}

impl DetectTrain {
    /// # Errors
    /// [`TransformError::Config`] naming the setting out of range.
    pub fn new(config: DetectTrainConfig) -> Result<Self, TransformError> {
        check_probability("flip", config.flip)?;
        config.jitter.validate()?;
        config.normalize.validate()?;
        Ok(Self { config })
    }

    /// Width and height of the canvas.
    pub fn size(&self) -> Size {
        Size::square(self.config.jitter.target as usize)
    }

    /// The augmented sample, at most [`Self::size`]; objects of which nothing is left are gone.
    ///
    /// # Errors
    /// [`TransformError::Target`] for a class or label map; [`TransformError::Empty`] or
    /// [`TransformError::SizeMismatch`] for no image or masks that do not fit it.
    pub fn apply(&self, sample: Sample, rng: &mut impl Rng) -> Result<Sample, TransformError> {
        check_instances(&sample)?;
        let sample = random_flip(sample, self.config.flip, rng)?;
        self.config.jitter.apply(sample, rng)
    }

    /// Writes the image to the top left of `out`, (3, size, size); the rest is 0, the mean colour.
    ///
    /// # Errors
    /// [`TransformError::BufferLength`] or [`TransformError::DoesNotFit`].
    pub fn write(&self, sample: &Sample, out: &mut [f32]) -> Result<(), TransformError> {
        self.config.normalize.write(&sample.image, Direction::Forward, self.size(), out)
    }
}

/// Settings of evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectEvalConfig {
    /// The size.
    pub resize: ShortestEdge,
    /// Mean and deviation.
    pub normalize: Normalize,
}

/// Evaluation: scaled to the shortest edge, padded to a square when written.
#[derive(Debug, Clone)]
pub struct DetectEval {
    config: DetectEvalConfig,
}

impl DetectEval {
    /// # Errors
    /// [`TransformError::Config`] naming the setting out of range.
    pub fn new(config: DetectEvalConfig) -> Result<Self, TransformError> {
        config.resize.validate()?;
        config.normalize.validate()?;
        Ok(Self { config })
    }

    /// Width and height of the canvas: the greatest length of an image.
    pub fn size(&self) -> Size {
        Size::square(self.config.resize.max as usize)
    }

    /// The scaled sample; nothing is drawn from `rng`.
    ///
    /// # Errors
    /// As [`DetectTrain::apply`].
    pub fn apply(&self, sample: Sample, _rng: &mut impl Rng) -> Result<Sample, TransformError> {
        check_instances(&sample)?;
        self.config.resize.apply(sample)
    }

    /// Writes the image to the top left of `out`, (3, size, size); the rest is 0, the mean colour.
    ///
    /// # Errors
    /// [`TransformError::BufferLength`] or [`TransformError::DoesNotFit`].
    pub fn write(&self, sample: &Sample, out: &mut [f32]) -> Result<(), TransformError> {
        self.config.normalize.write(&sample.image, Direction::Forward, self.size(), out)
    }
}

fn check_instances(sample: &Sample) -> Result<(), TransformError> {
    let found = match sample.target {
        Target::None | Target::Instances(_) => return Ok(()),
        Target::Class(_) => "a class",
        Target::LabelMap(_) => "a label map",
    };
    Err(TransformError::Target { id: sample.id.clone(), found, expected: "objects or none" })
}
