//! Random erasing (Zhong et al., arXiv 1708.04896) in timm's pixel mode: a rectangle of the normalised image becomes
//! standard normal noise.

use crate::Size;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use super::{TransformError, check, check_probability, uniform};

/// Settings, with timm's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandomErasing {
    /// Share of images erased.
    pub probability: f64,
    /// Least and greatest share of the image's area, of all rectangles together.
    pub area: [f64; 2],
    /// Least and greatest height / width.
    pub aspect: [f64; 2],
    /// Greatest number of rectangles; each image draws from 1 to this.
    pub max_count: u32,
}

impl Default for RandomErasing {
    fn default() -> Self {
        Self { probability: 0.25, area: [0.02, 1.0 / 3.0], aspect: [0.3, 1.0 / 0.3], max_count: 1 }
    }
}

impl RandomErasing {
    /// # Errors
    /// [`TransformError::Config`] naming the setting out of range.
    pub fn validate(&self) -> Result<(), TransformError> {
        check_probability("probability", self.probability)?;
        let [low, high] = self.area;
        check(0.0 < low && low <= high && high <= 1.0, "area", self.area, "0 < low <= high <= 1")?;
        let [low, high] = self.aspect;
        let good = 0.0 < low && low <= high && high.is_finite();
        check(good, "aspect", self.aspect, "0 < low <= high")?;
        check(self.max_count > 0, "max_count", self.max_count, "at least 1")
    }

    /// Erases in a normalised image (3, height, width).
    ///
    /// # Errors
    /// [`TransformError::BufferLength`] if `image` has another length.
    pub fn apply(&self, image: &mut [f32], size: Size, rng: &mut impl Rng) -> Result<(), TransformError> {
        let (width, height) = size.dimensions();
        let (width, height) = (width as usize, height as usize);
        let plane = width * height;
        if image.len() != 3 * plane {
            return Err(TransformError::BufferLength { found: image.len(), expected: 3 * plane });
        }
        if plane == 0 || rng.random::<f64>() >= self.probability {
            return Ok(());
        }
        let count = rng.random_range(1..=self.max_count);
        for _ in 0..count {
            for _ in 0..10 {
                let share = uniform(rng, self.area[0], self.area[1]);
                let target = share * plane as f64 / f64::from(count);
                let aspect = uniform(rng, self.aspect[0].ln(), self.aspect[1].ln()).exp();
                let h = (target * aspect).sqrt().round_ties_even() as usize;
                let w = (target / aspect).sqrt().round_ties_even() as usize;
                if w >= width || h >= height {
                    continue;
                }
                let top = rng.random_range(0..=height - h);
                let left = rng.random_range(0..=width - w);
                for channel in image.chunks_exact_mut(plane) {
                    for row in channel[top * width..].chunks_mut(width).take(h) {
                        row[left..left + w].fill_with(|| rng.sample(StandardNormal));
                    }
                }
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::testing::rng;

    #[test]
    fn area_and_noise_are_as_set() {
        let erasing = RandomErasing { probability: 1.0, ..RandomErasing::default() };
        let (mut values, mut shares) = (Vec::new(), Vec::new());
        for seed in 0..200 {
            let mut image = vec![9.0f32; 3 * 64 * 48];
            erasing.apply(&mut image, (64, 48).into(), &mut rng(seed)).unwrap();
            let erased: Vec<f32> = image.into_iter().filter(|&v| v != 9.0).collect();
            shares.push(erased.len() as f64 / (3.0 * 64.0 * 48.0));
            values.extend(erased);
        }
        assert!(shares.iter().all(|&s| (0.015..0.35).contains(&s)));
        let n = values.len() as f32;
        let mean = values.iter().sum::<f32>() / n;
        let variance = values.iter().map(|v| v * v).sum::<f32>() / n;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }

    #[test]
    fn probability_is_kept() {
        let erasing = RandomErasing::default();
        let mut rng = rng(1);
        let touched = (0..4000)
            .filter(|_| {
                let mut image = [9.0f32; 3 * 16 * 16];
                erasing.apply(&mut image, (16, 16).into(), &mut rng).unwrap();
                image.iter().any(|&v| v != 9.0)
            })
            .count();
        assert!((900..1100).contains(&touched), "{touched}");
        assert!(erasing.apply(&mut [0.0; 5], (16, 16).into(), &mut rng).is_err());
    }
}
