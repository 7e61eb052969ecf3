//! RandAugment (Cubuk et al., arXiv 1909.13719) as timm runs it under names such as `rand-m9-mstd0.5-inc1`.

use crate::Size;
use std::str::FromStr;

use image::RgbImage;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use super::affine::{affine, rotation};
use super::{TransformError, color, rand_augment_spec, uniform};
use crate::Filter;

/// Which way posterising, solarising and the enhancements go as the magnitude grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The original tables, some of which weaken with the magnitude.
    Plain,
    /// All strengthen (`inc1`).
    Increasing,
}

/// Settings; read from a name with [`str::parse`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandAugment {
    /// Mean magnitude, on a scale of 10 (`m`).
    pub magnitude: f64,
    /// Standard deviation of the magnitude; infinite for a uniform draw up to the mean (`mstd`).
    pub deviation: f64,
    /// Magnitudes are cut to [0, this] (`mmax`).
    pub max_magnitude: f64,
    /// Operations drawn for each image, with repetition (`n`).
    pub count: usize,
    /// Probability that a drawn operation is applied (`p`).
    pub probability: f64,
    /// Which set of tables (`inc`).
    pub severity: Severity,
    /// Color of what comes into view, the dataset's mean.
    pub fill: [u8; 3],
}

impl Default for RandAugment {
    fn default() -> Self {
        Self {
            magnitude: 10.0,
            deviation: 0.0,
            max_magnitude: 10.0,
            count: 2,
            probability: 0.5,
            severity: Severity::Plain,
            fill: [128; 3],
        }
    }
}

impl FromStr for RandAugment {
    type Err = TransformError;

    fn from_str(name: &str) -> Result<Self, TransformError> {
        rand_augment_spec::parse(name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    Posterize,
    Solarize,
    SolarizeAdd,
    Color,
    Contrast,
    Brightness,
    Sharpness,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
}

const OPS: [Op; 15] = [
    Op::AutoContrast,
    Op::Equalize,
    Op::Invert,
    Op::Rotate,
    Op::Posterize,
    Op::Solarize,
    Op::SolarizeAdd,
    Op::Color,
    Op::Contrast,
    Op::Brightness,
    Op::Sharpness,
    Op::ShearX,
    Op::ShearY,
    Op::TranslateX,
    Op::TranslateY,
];

impl RandAugment {
    /// Applies the drawn operations to `image`.
    pub fn apply(&self, image: &mut RgbImage, rng: &mut impl Rng) {
        let ops: Vec<Op> = (0..self.count).map(|_| OPS[rng.random_range(0..OPS.len())]).collect();
        for op in ops {
            if rng.random::<f64>() < self.probability {
                let level = self.draw_magnitude(rng) / 10.0;
                self.run(op, level, image, rng);
            }
        }
    }

    fn draw_magnitude(&self, rng: &mut impl Rng) -> f64 {
        let drawn = if self.deviation == f64::INFINITY {
            uniform(rng, 0.0, self.magnitude)
        } else if self.deviation > 0.0 {
            self.magnitude + self.deviation * rng.sample::<f64, _>(StandardNormal)
        } else {
            self.magnitude
        };
        drawn.min(self.max_magnitude).max(0.0)
    }

    /// `level` is the magnitude on a scale of 1.
    fn run(&self, op: Op, level: f64, image: &mut RgbImage, rng: &mut impl Rng) {
        match op {
            Op::AutoContrast => color::autocontrast(image),
            Op::Equalize => color::equalize(image),
            Op::Invert => color::invert(image),
            Op::Posterize => color::posterize(image, self.bits_kept(level)),
            Op::Solarize => color::solarize(image, self.solarize_threshold(level)),
            Op::SolarizeAdd => color::solarize_add(image, solarize_amount(level)),
            Op::Color => color::saturation(image, self.enhancement(level, rng)),
            Op::Contrast => color::contrast(image, self.enhancement(level, rng)),
            Op::Brightness => color::brightness(image, self.enhancement(level, rng)),
            Op::Sharpness => color::sharpness(image, self.enhancement(level, rng)),
            Op::Rotate => {
                let map = rotation(negate_half(level * 30.0, rng), Size::of(image));
                self.warp(image, map, rng);
            }
            Op::ShearX => {
                let shear = negate_half(level * 0.3, rng);
                self.warp(image, [1.0, shear, 0.0, 0.0, 1.0, 0.0], rng);
            }
            Op::ShearY => {
                let shear = negate_half(level * 0.3, rng);
                self.warp(image, [1.0, 0.0, 0.0, shear, 1.0, 0.0], rng);
            }
            Op::TranslateX => {
                let pixels = negate_half(level * 0.45, rng) * f64::from(image.width());
                self.warp(image, [1.0, 0.0, pixels, 0.0, 1.0, 0.0], rng);
            }
            Op::TranslateY => {
                let pixels = negate_half(level * 0.45, rng) * f64::from(image.height());
                self.warp(image, [1.0, 0.0, 0.0, 0.0, 1.0, pixels], rng);
            }
        }
    }

    fn bits_kept(&self, level: f64) -> u32 {
        let bits = (level * 4.0) as u32;
        match self.severity {
            Severity::Plain => bits,
            Severity::Increasing => 4u32.saturating_sub(bits),
        }
    }

    fn solarize_threshold(&self, level: f64) -> u32 {
        let threshold = ((level * 256.0) as u32).min(256);
        match self.severity {
            Severity::Plain => threshold,
            Severity::Increasing => 256 - threshold,
        }
    }

    fn enhancement(&self, level: f64, rng: &mut impl Rng) -> f32 {
        (match self.severity {
            Severity::Plain => level * 1.8 + 0.1,
            Severity::Increasing => (1.0 + negate_half(level * 0.9, rng)).max(0.1),
        }) as f32
    }

    /// Bilinear or bicubic, drawn evenly, as timm does where no interpolation is set.
    fn warp(&self, image: &mut RgbImage, map: [f64; 6], rng: &mut impl Rng) {
        let filter = if rng.random_bool(0.5) { Filter::Bilinear } else { Filter::Bicubic };
        *image = affine(image, map, filter, self.fill);
    }
}

fn solarize_amount(level: f64) -> u8 {
    (level * 110.0).min(128.0) as u8
}

/// Negative with probability one half.
fn negate_half(value: f64, rng: &mut impl Rng) -> f64 {
    if rng.random_bool(0.5) { -value } else { value }
}

#[cfg(test)]
#[path = "rand_augment_parity.rs"]
mod parity;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::testing::{pattern, rng};

    #[test]
    fn names_are_read_as_timm_reads_them() {
        let plain: RandAugment = "rand-m9-mstd0.5".parse().unwrap();
        assert_eq!((plain.magnitude, plain.deviation, plain.count), (9.0, 0.5, 2));
        assert_eq!((plain.probability, plain.severity), (0.5, Severity::Plain));
        let full: RandAugment = "rand-m7-n3-mstd101-p0.7-mmax15-inc1".parse().unwrap();
        assert_eq!((full.magnitude, full.deviation, full.count), (7.0, f64::INFINITY, 3));
        assert_eq!((full.probability, full.max_magnitude), (0.7, 15.0));
        assert_eq!(full.severity, Severity::Increasing);
        for wrong in ["", "original", "rand-x3", "rand-m", "rand-n0", "rand-n2.5", "rand-p2", "rand-m9.9.9"] {
            let error = wrong.parse::<RandAugment>().unwrap_err().to_string();
            assert!(error.contains("auto_augment") && error.contains("rand-m9"), "{error}");
        }
    }

    #[test]
    fn the_seed_decides_and_a_share_is_left_alone() {
        let augment: RandAugment = "rand-m9-mstd0.5-inc1".parse().unwrap();
        let run = |seed| {
            let mut image = pattern(24, 20);
            augment.apply(&mut image, &mut rng(seed));
            image
        };
        assert_eq!(run(3), run(3));
        let unchanged = (0..400).filter(|&seed| run(seed) == pattern(24, 20)).count();
        // both operations left out with probability 1/4; a few of those applied do nothing to this image
        assert!((75..160).contains(&unchanged), "{unchanged}");
    }

    #[test]
    fn every_operation_takes_any_size() {
        let augment = RandAugment::default();
        for op in OPS {
            for (w, h) in [(1, 1), (2, 5), (17, 3)] {
                for level in [0.0, 0.5, 1.0, 1.5] {
                    let mut image = pattern(w, h);
                    augment.run(op, level, &mut image, &mut rng(1));
                    assert_eq!(image.dimensions(), (w, h), "{op:?}");
                }
            }
        }
    }
}
