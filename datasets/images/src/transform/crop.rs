//! Cropping and padding: of images, of samples, and the center crop of evaluation.

use image::{Rgb, RgbImage, imageops};
use serde::{Deserialize, Serialize};

use super::resize::{check_pixels, resize};
use super::target::{BoxRule, crop_target, pad_target};
use super::{TransformError, check, round_half_even};
use crate::Filter;
use crate::sample::Sample;
use crate::{Rect, Size};

/// The part `rect` of `image`, cut to the image.
///
/// # Errors
/// [`TransformError::Empty`] where nothing is left.
pub fn crop_image(image: &RgbImage, rect: Rect) -> Result<RgbImage, TransformError> {
    let rect = rect.within(Size::of(image));
    check_pixels("the crop", rect.size())?;
    Ok(imageops::crop_imm(image, rect.x, rect.y, rect.width, rect.height).to_image())
}

/// The part `rect` of image and target.
///
/// # Errors
/// [`TransformError::Empty`] where nothing is left, [`TransformError::SizeMismatch`] for a mask or label map that is
/// not of the image's size.
pub fn crop_sample(sample: Sample, rect: Rect, rule: BoxRule) -> Result<Sample, TransformError> {
    let size = Size::of(&sample.image);
    if rect == Rect::whole(size) && rule == BoxRule::Clip && size.area() > 0 {
        return Ok(sample);
    }
    Ok(Sample {
        image: crop_image(&sample.image, rect)?,
        target: crop_target(sample.target, size, rect, rule)?,
        id: sample.id,
    })
}

/// Image grown to the right and bottom by `fill`, label maps by ignored pixels, to at least `size`.
///
/// # Errors
/// [`TransformError::SizeMismatch`] for a mask or label map that is not of the image's size.
pub fn pad_sample(sample: Sample, size: Size, fill: [u8; 3]) -> Result<Sample, TransformError> {
    let from = Size::of(&sample.image);
    if from.width >= size.width && from.height >= size.height {
        return Ok(sample);
    }
    let (width, height) = from.max(size).dimensions();
    let mut image = RgbImage::from_pixel(width, height, Rgb(fill));
    imageops::replace(&mut image, &sample.image, 0, 0);
    Ok(Sample { image, target: pad_target(sample.target, from, size)?, id: sample.id })
}

/// Evaluation's view of an image: short side to `floor(size / crop_pct)`, then the middle `size x size`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CenterCrop {
    /// Side of the result in pixels.
    pub size: u32,
    /// Share of the resized short side that is kept, in (0, 1].
    pub crop_pct: f64,
    /// How to resize.
    pub filter: Filter,
}

impl CenterCrop {
    /// # Errors
    /// [`TransformError::Config`] for a size of 0 or a share outside (0, 1].
    pub fn validate(&self) -> Result<(), TransformError> {
        check(self.size > 0, "size", self.size, "at least 1 pixel")?;
        let share = self.crop_pct;
        check(share > 0.0 && share <= 1.0, "crop_pct", share, "a share in (0, 1]")
    }

    /// The middle of `image`, `size x size`.
    ///
    /// # Errors
    /// [`TransformError::Empty`] for an image without a pixel.
    pub fn apply(&self, image: &RgbImage) -> Result<RgbImage, TransformError> {
        check_pixels("the image", Size::of(image))?;
        let short = (f64::from(self.size) / self.crop_pct).floor().max(1.0) as u32;
        let resized = resize(image, short_side(Size::of(image), short), self.filter)?;
        center(&resized, self.size)
    }
}

/// The size at which the short side is `short` and the long one in proportion, rounded down.
pub fn short_side(size: Size, short: u32) -> Size {
    let (width, height) = size.dimensions();
    let long = |long: u32, of: u32| {
        let pixels = u64::from(short) * u64::from(long) / u64::from(of.max(1));
        u32::try_from(pixels).unwrap_or(u32::MAX)
    };
    Size::from(if width <= height { (short, long(height, width)) } else { (long(width, height), short) })
}

/// The middle `size x size` of an image that is no smaller.
fn center(image: &RgbImage, size: u32) -> Result<RgbImage, TransformError> {
    let offset = |side: u32| round_half_even(f64::from(side.saturating_sub(size)) / 2.0) as u32;
    let (x, y) = (offset(image.width()), offset(image.height()));
    crop_image(image, Rect { x, y, width: size, height: size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::testing::pattern;
    use proptest::prelude::*;

    #[test]
    fn center_offsets_round_half_to_even() {
        // (67 - 64) / 2 = 1.5 -> 2 and (69 - 64) / 2 = 2.5 -> 2, as Python rounds
        for (width, x) in [(67, 2), (69, 2)] {
            let image = pattern(width, 64);
            let expected = crop_image(&image, Rect { x, y: 0, width: 64, height: 64 }).unwrap();
            assert_eq!(center(&image, 64).unwrap(), expected);
        }
    }

    #[test]
    fn bad_settings_are_named() {
        let crop = CenterCrop { size: 224, crop_pct: 1.5, filter: Filter::Bicubic };
        assert_eq!(crop.validate().unwrap_err().to_string(), "crop_pct is 1.5, expected a share in (0, 1]");
    }

    proptest! {
        #[test]
        fn every_image_gives_the_size_asked_for(w in 1u32..90, h in 1u32..90, size in 1u32..40, pct in 0.5f64..=1.0) {
            let crop = CenterCrop { size, crop_pct: pct, filter: Filter::Bilinear };
            prop_assert_eq!(crop.apply(&pattern(w, h)).unwrap().dimensions(), (size, size));
        }
    }
}
