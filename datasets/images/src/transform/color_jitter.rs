//! Random brightness, contrast, saturation and hue, in random order (torchvision's ColorJitter on PIL images).

use image::RgbImage;
use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::hsv::{hsv_to_rgb, rgb_to_hsv};
use super::{TransformError, check, color, uniform};

/// How strong each change may be; 0 leaves it out.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColorJitter {
    /// Factor drawn from [max(0, 1 - b), 1 + b].
    pub brightness: f64,
    /// Factor drawn likewise.
    pub contrast: f64,
    /// Factor drawn likewise.
    pub saturation: f64,
    /// Shift drawn from [-h, h] turns, at most 0.5.
    pub hue: f64,
}

#[derive(Clone, Copy)]
enum Change {
    Brightness(f64),
    Contrast(f64),
    Saturation(f64),
    Hue(f64),
}

impl ColorJitter {
    /// # Errors
    /// [`TransformError::Config`] for a strength that is negative or not finite, or a hue above 0.5.
    pub fn validate(&self) -> Result<(), TransformError> {
        for (field, value) in
            [("brightness", self.brightness), ("contrast", self.contrast), ("saturation", self.saturation)]
        {
            check(value >= 0.0 && value.is_finite(), field, value, "a finite number of at least 0")?;
        }
        check((0.0..=0.5).contains(&self.hue), "hue", self.hue, "a share of a turn in [0, 0.5]")
    }

    /// Changes the colours of `image`.
    pub fn apply(&self, image: &mut RgbImage, rng: &mut impl Rng) {
        let mut changes = Vec::with_capacity(4);
        for (strength, change) in [
            (self.brightness, Change::Brightness as fn(f64) -> Change),
            (self.contrast, Change::Contrast),
            (self.saturation, Change::Saturation),
        ] {
            if strength > 0.0 {
                changes.push(change(uniform(rng, (1.0 - strength).max(0.0), 1.0 + strength)));
            }
        }
        if self.hue > 0.0 {
            changes.push(Change::Hue(uniform(rng, -self.hue, self.hue)));
        }
        changes.shuffle(rng);
        for change in changes {
            match change {
                Change::Brightness(factor) => color::brightness(image, factor as f32),
                Change::Contrast(factor) => color::contrast(image, factor as f32),
                Change::Saturation(factor) => color::saturation(image, factor as f32),
                Change::Hue(turns) => shift_hue(image, turns),
            }
        }
    }
}

/// Turns the hue of every pixel by `turns`.
fn shift_hue(image: &mut RgbImage, turns: f64) {
    let shift = (turns * 255.0) as i32 as u8;
    for pixel in image.pixels_mut() {
        let [h, s, v] = rgb_to_hsv(pixel.0);
        pixel.0 = hsv_to_rgb([h.wrapping_add(shift), s, v]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::testing::{pattern, rng};

    #[test]
    fn no_strength_no_change() {
        let mut image = pattern(9, 9);
        ColorJitter::default().apply(&mut image, &mut rng(5));
        assert_eq!(image, pattern(9, 9));
    }

    #[test]
    fn the_seed_decides() {
        let jitter = ColorJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 };
        let run = |seed| {
            let mut image = pattern(9, 9);
            jitter.apply(&mut image, &mut rng(seed));
            image
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert_ne!(run(1), pattern(9, 9));
    }

    #[test]
    fn a_third_of_a_turn_makes_red_green() {
        let mut image = RgbImage::from_pixel(1, 1, image::Rgb([255, 0, 0]));
        shift_hue(&mut image, 1.0 / 3.0);
        assert_eq!(image.get_pixel(0, 0).0, [0, 255, 0]);
    }

    #[test]
    fn too_much_hue_is_refused() {
        assert!(ColorJitter { hue: 0.6, ..ColorJitter::default() }.validate().is_err());
        assert!(ColorJitter { contrast: f64::NAN, ..ColorJitter::default() }.validate().is_err());
    }
}
