//! Photometric distortion of segmentation training (mmsegmentation's, after SSD, arXiv 1512.02325): brightness,
//! contrast, saturation and hue, each with probability one half, contrast before or after the others.

use image::RgbImage;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::hsv::{hsv180_to_rgb, rgb_to_hsv180};
use super::{TransformError, check, uniform};

/// Settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Photometric {
    /// Greatest number of levels added.
    pub brightness_delta: f64,
    /// Least and greatest factor on levels.
    pub contrast: [f64; 2],
    /// Least and greatest factor on saturation.
    pub saturation: [f64; 2],
    /// Greatest turn of the hue, in steps of two degrees, at most 90.
    pub hue_delta: i32,
}

impl Default for Photometric {
    fn default() -> Self {
        Self { brightness_delta: 32.0, contrast: [0.5, 1.5], saturation: [0.5, 1.5], hue_delta: 18 }
    }
}

impl Photometric {
    /// # Errors
    /// [`TransformError::Config`] naming the setting out of range.
    pub fn validate(&self) -> Result<(), TransformError> {
        let delta = self.brightness_delta;
        check((0.0..=255.0).contains(&delta), "brightness_delta", delta, "levels in [0, 255]")?;
        for (field, [low, high]) in [("contrast", self.contrast), ("saturation", self.saturation)] {
            let good = 0.0 <= low && low <= high && high.is_finite();
            check(good, field, [low, high], "0 <= low <= high")?;
        }
        check((0..=90).contains(&self.hue_delta), "hue_delta", self.hue_delta, "steps in [0, 90]")
    }

    /// Distorts the colours of `image`.
    pub fn apply(&self, image: &mut RgbImage, rng: &mut impl Rng) {
        if rng.random_bool(0.5) {
            let delta = uniform(rng, -self.brightness_delta, self.brightness_delta) as f32;
            map_levels(image, |v| v + delta);
        }
        let contrast_first = rng.random_bool(0.5);
        if contrast_first {
            self.contrast(image, rng);
        }
        if rng.random_bool(0.5) {
            let factor = uniform(rng, self.saturation[0], self.saturation[1]) as f32;
            map_hsv(image, |[h, s, v]| [h, (f32::from(s) * factor) as u8, v]);
        }
        if rng.random_bool(0.5) && self.hue_delta > 0 {
            let turn = rng.random_range(-self.hue_delta..self.hue_delta);
            map_hsv(image, |[h, s, v]| [(i32::from(h) + turn).rem_euclid(180) as u8, s, v]);
        }
        if !contrast_first {
            self.contrast(image, rng);
        }
    }

    fn contrast(&self, image: &mut RgbImage, rng: &mut impl Rng) {
        if rng.random_bool(0.5) {
            let factor = uniform(rng, self.contrast[0], self.contrast[1]) as f32;
            map_levels(image, |v| v * factor);
        }
    }
}

/// Values are cut to [0, 255] and rounded down.
fn map_levels(image: &mut RgbImage, change: impl Fn(f32) -> f32) {
    let table: [u8; 256] = std::array::from_fn(|v| change(v as f32) as u8);
    image.iter_mut().for_each(|v| *v = table[usize::from(*v)]);
}

fn map_hsv(image: &mut RgbImage, change: impl Fn([u8; 3]) -> [u8; 3]) {
    image.pixels_mut().for_each(|p| p.0 = hsv180_to_rgb(change(rgb_to_hsv180(p.0))));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::testing::{pattern, rng};

    #[test]
    fn some_images_stay_and_the_seed_decides() {
        let run = |seed| {
            let mut image = pattern(8, 8);
            Photometric::default().apply(&mut image, &mut rng(seed));
            image
        };
        let unchanged = (0..640).filter(|&seed| run(seed) == pattern(8, 8)).count();
        // all four left out with probability 1/16
        assert!((20..64).contains(&unchanged), "{unchanged}");
        assert_eq!(run(7), run(7));
    }

    #[test]
    fn levels_are_cut() {
        let mut image = RgbImage::from_pixel(1, 1, image::Rgb([3, 100, 250]));
        map_levels(&mut image, |v| v * 1.25 - 10.0);
        assert_eq!(image.get_pixel(0, 0).0, [0, 115, 255]);
    }
}
