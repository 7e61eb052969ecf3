//! ImageNet classification: timm's training and evaluation pipelines.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::Filter;
use crate::sample::{Sample, Target};
use crate::transform::color_jitter::ColorJitter;
use crate::transform::crop::CenterCrop;
use crate::transform::flip::random_flip;
use crate::transform::normalize::{Direction, Normalize};
use crate::transform::rand_augment::RandAugment;
use crate::transform::random_erasing::RandomErasing;
use crate::transform::random_resized_crop::RandomResizedCrop;
use crate::transform::resize::resize;
use crate::transform::three_augment::three_augment;
use crate::transform::{TransformError, check_probability};
use crate::{Rect, Size};

/// What is done to colors beside cropping and mirroring.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ColorAugment {
    /// Nothing.
    #[default]
    None,
    /// Random brightness, contrast, saturation and hue.
    Jitter(ColorJitter),
    /// RandAugment by timm's name, such as `rand-m9-mstd0.5`.
    Rand(String),
    /// ThreeAugment, then color jitter.
    Three(ColorJitter),
}

/// Settings of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassifyTrainConfig {
    /// The random crop.
    pub crop: RandomResizedCrop,
    /// Probability of mirroring.
    pub flip: f64,
    /// Colors.
    pub augment: ColorAugment,
    /// Random erasing, none where absent.
    pub erasing: Option<RandomErasing>,
    /// Mean and deviation.
    pub normalize: Normalize,
}

impl Default for ClassifyTrainConfig {
    /// KAT's recipe.
    fn default() -> Self {
        Self {
            crop: RandomResizedCrop::default(),
            flip: 0.5,
            augment: ColorAugment::Rand("rand-m9-mstd0.5".to_owned()),
            erasing: Some(RandomErasing::default()),
            normalize: Normalize::default(),
        }
    }
}

#[derive(Debug, Clone)]
enum Colors {
    None,
    Jitter(ColorJitter),
    Rand(RandAugment),
    Three(ColorJitter),
}

/// Training: random crop, mirror, colors, erasing.
#[derive(Debug, Clone)]
pub struct ClassifyTrain {
    config: ClassifyTrainConfig,
    colors: Colors,
}

impl ClassifyTrain {
    /// # Errors
    /// [`TransformError::Config`] naming the setting out of range.
    pub fn new(config: ClassifyTrainConfig) -> Result<Self, TransformError> {
        config.crop.validate()?;
        check_probability("flip", config.flip)?;
        config.normalize.validate()?;
        if let Some(erasing) = &config.erasing {
            erasing.validate()?;
        }
        let colors = match &config.augment {
            ColorAugment::None => Colors::None,
            ColorAugment::Jitter(jitter) => {
                jitter.validate()?;
                Colors::Jitter(*jitter)
            }
            ColorAugment::Rand(name) => {
                let fill = config.normalize.mean_level();
                Colors::Rand(RandAugment { fill, ..name.parse()? })
            }
            ColorAugment::Three(jitter) => {
                jitter.validate()?;
                Colors::Three(*jitter)
            }
        };
        Ok(Self { config, colors })
    }

    /// Width and height of every result.
    pub fn size(&self) -> Size {
        Size::square(self.config.crop.size as usize)
    }

    /// The augmented sample, before normalization and erasing.
    ///
    /// # Errors
    /// [`TransformError::Target`] for boxes, masks or label maps; [`TransformError::Empty`] for no image.
    pub fn apply(&self, sample: Sample, rng: &mut impl Rng) -> Result<Sample, TransformError> {
        check_class(&sample)?;
        let image = self.config.crop.apply(&sample.image, rng)?;
        let mut sample = random_flip(Sample { image, ..sample }, self.config.flip, rng)?;
        self.recolor(&mut sample.image, rng);
        Ok(sample)
    }

    fn recolor(&self, image: &mut image::RgbImage, rng: &mut impl Rng) {
        match &self.colors {
            Colors::None => {}
            Colors::Jitter(jitter) => jitter.apply(image, rng),
            Colors::Rand(augment) => augment.apply(image, rng),
            Colors::Three(jitter) => {
                three_augment(image, rng);
                jitter.apply(image, rng);
            }
        }
    }

    /// Writes an augmented image to `out`, (3, size, size), normalized and erased.
    ///
    /// # Errors
    /// [`TransformError::BufferLength`] or [`TransformError::DoesNotFit`].
    pub fn write(&self, sample: &Sample, rng: &mut impl Rng, out: &mut [f32]) -> Result<(), TransformError> {
        self.config.normalize.write(&sample.image, Direction::Forward, self.size(), out)?;
        self.erase(out, rng)
    }

    /// Draws the part of an image of that size that the crop keeps: with [`Self::region_into`] on the same generator,
    /// the pipeline for an image of which no more than this part is decoded.
    pub fn region(&self, size: Size, rng: &mut impl Rng) -> Rect {
        self.config.crop.draw(size, rng)
    }

    /// From the decoded part that [`Self::region`] named to the slice of the batch, with mirroring and normalization
    /// in one pass where no colors change in between; the same numbers as [`Self::apply`] on the whole image, then
    /// [`Self::write`], with the same generator.
    ///
    /// # Errors
    /// As those two.
    pub fn region_into(
        &self,
        region: &image::RgbImage,
        rng: &mut impl Rng,
        out: &mut [f32],
    ) -> Result<(), TransformError> {
        let filter = self.config.crop.filter.draw(rng);
        let mut image = resize(region, self.size(), filter)?;
        let mirrored = rng.random::<f64>() < self.config.flip;
        let mut direction = if mirrored { Direction::Mirrored } else { Direction::Forward };
        if !matches!(self.colors, Colors::None) {
            if mirrored {
                image::imageops::flip_horizontal_in_place(&mut image);
            }
            direction = Direction::Forward;
            self.recolor(&mut image, rng);
        }
        self.config.normalize.write(&image, direction, self.size(), out)?;
        self.erase(out, rng)
    }

    fn erase(&self, out: &mut [f32], rng: &mut impl Rng) -> Result<(), TransformError> {
        match &self.config.erasing {
            Some(erasing) => erasing.apply(out, self.size(), rng),
            None => Ok(()),
        }
    }
}

/// Settings of evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassifyEvalConfig {
    /// The center crop.
    pub crop: CenterCrop,
    /// Mean and deviation.
    pub normalize: Normalize,
}

impl Default for ClassifyEvalConfig {
    /// KAT's recipe.
    fn default() -> Self {
        let crop = CenterCrop { size: 224, crop_pct: 0.875, filter: Filter::Bicubic };
        Self { crop, normalize: Normalize::default() }
    }
}

/// Evaluation: short side resized, center cut.
#[derive(Debug, Clone)]
pub struct ClassifyEval {
    config: ClassifyEvalConfig,
}

impl ClassifyEval {
    /// # Errors
    /// [`TransformError::Config`] naming the setting out of range.
    pub fn new(config: ClassifyEvalConfig) -> Result<Self, TransformError> {
        config.crop.validate()?;
        config.normalize.validate()?;
        Ok(Self { config })
    }

    /// Width and height of every result.
    pub fn size(&self) -> Size {
        Size::square(self.config.crop.size as usize)
    }

    /// The center crop; nothing is drawn from `rng`.
    ///
    /// # Errors
    /// As [`ClassifyTrain::apply`].
    pub fn apply(&self, sample: Sample, _rng: &mut impl Rng) -> Result<Sample, TransformError> {
        check_class(&sample)?;
        Ok(Sample { image: self.config.crop.apply(&sample.image)?, ..sample })
    }

    /// Writes a cropped image to `out`, (3, size, size).
    ///
    /// # Errors
    /// [`TransformError::BufferLength`] or [`TransformError::DoesNotFit`].
    pub fn write(&self, sample: &Sample, out: &mut [f32]) -> Result<(), TransformError> {
        self.config.normalize.write(&sample.image, Direction::Forward, self.size(), out)
    }
}

fn check_class(sample: &Sample) -> Result<(), TransformError> {
    let found = match sample.target {
        Target::None | Target::Class(_) => return Ok(()),
        Target::Instances(_) => "objects",
        Target::LabelMap(_) => "a label map",
    };
    Err(TransformError::Target { id: sample.id.clone(), found, expected: "a class or none" })
}
