//! The random scale of segmentation training: the image fits a random multiple of (long, short), proportions kept
//! (mmsegmentation's RandomResize). Interpolation is antialiased bilinear, labels are copied from the nearest.

use crate::Size;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::resize::{check_pixels, resize_sample};
use super::{TransformError, check, uniform};
use crate::Filter;
use crate::sample::Sample;

/// Settings, with ADE20K's usual ones as default.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandomScale {
    /// Greatest length of the long side at a ratio of 1.
    pub long: u32,
    /// Greatest length of the short side at a ratio of 1.
    pub short: u32,
    /// Least and greatest multiple of both.
    pub ratio: [f64; 2],
}

impl Default for RandomScale {
    fn default() -> Self {
        Self { long: 2048, short: 512, ratio: [0.5, 2.0] }
    }
}

impl RandomScale {
    /// # Errors
    /// [`TransformError::Config`] naming the setting out of range.
    pub fn validate(&self) -> Result<(), TransformError> {
        check(self.long >= self.short, "long", self.long, "at least `short`")?;
        check(self.short > 0, "short", self.short, "at least 1 pixel")?;
        let [low, high] = self.ratio;
        let good = 0.0 < low && low <= high && high <= 16.0;
        check(good, "ratio", self.ratio, "0 < low <= high <= 16")
    }

    /// The size an image gets at that ratio; (1, 1) pixel at least.
    pub fn size(&self, size: Size, ratio: f64) -> Size {
        let (width, height) = size.dimensions();
        let (w, h) = (f64::from(width.max(1)), f64::from(height.max(1)));
        let long = (f64::from(self.long) * ratio).floor();
        let short = (f64::from(self.short) * ratio).floor();
        let factor = (long / w.max(h)).min(short / w.min(h));
        let side = |length: f64| ((length * factor + 0.5) as u32).max(1);
        (side(w), side(h)).into()
    }

    /// Image and target at a random size.
    ///
    /// # Errors
    /// [`TransformError::Empty`] or [`TransformError::SizeMismatch`] for a sample that is no image or whose label map
    /// does not fit.
    pub fn apply(&self, sample: Sample, rng: &mut impl Rng) -> Result<Sample, TransformError> {
        let ratio = uniform(rng, self.ratio[0], self.ratio[1]);
        self.apply_at(sample, ratio)
    }

    /// Image and target at the size of that ratio; 1 in evaluation.
    ///
    /// # Errors
    /// As [`RandomScale::apply`].
    pub fn apply_at(&self, sample: Sample, ratio: f64) -> Result<Sample, TransformError> {
        check_pixels("the image", Size::of(&sample.image))?;
        let size = self.size(Size::of(&sample.image), ratio);
        resize_sample(sample, size, Filter::Bilinear)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_by_hand() {
        let scale = RandomScale::default();
        assert_eq!(scale.size((683, 512).into(), 1.0), (683, 512).into());
        assert_eq!(scale.size((512, 683).into(), 0.5), (256, 342).into());
        // the long side decides
        assert_eq!(scale.size((4096, 512).into(), 1.0), (2048, 256).into());
    }

    #[test]
    fn bad_settings_are_named() {
        let error = RandomScale { long: 100, ..RandomScale::default() }.validate().unwrap_err();
        assert_eq!(error.to_string(), "long is 100, expected at least `short`");
    }
}
