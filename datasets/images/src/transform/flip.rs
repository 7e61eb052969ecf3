//! Mirroring left to right.

use image::imageops;
use rand::{Rng, RngExt};

use super::TransformError;
use super::target::flip_target;
use crate::Size;
use crate::sample::Sample;

/// Image and target mirrored.
///
/// # Errors
/// [`TransformError::SizeMismatch`] for a mask or label map that is not of the image's size.
pub fn flip_sample(mut sample: Sample) -> Result<Sample, TransformError> {
    let size = Size::of(&sample.image);
    imageops::flip_horizontal_in_place(&mut sample.image);
    sample.target = flip_target(sample.target, size)?;
    Ok(sample)
}

/// Mirrors with that probability, which must be in [0, 1].
///
/// # Errors
/// As [`flip_sample`].
pub fn random_flip(sample: Sample, probability: f64, rng: &mut impl Rng) -> Result<Sample, TransformError> {
    if rng.random::<f64>() < probability { flip_sample(sample) } else { Ok(sample) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Target;
    use crate::transform::testing::{pattern, rng};
    use image::GrayImage;

    #[test]
    fn image_and_labels_turn_together() {
        let labels = GrayImage::from_fn(5, 3, |x, y| image::Luma([(x * 10 + y) as u8]));
        let sample = Sample { image: pattern(5, 3), target: Target::LabelMap(labels), id: "a".into() };
        let never = random_flip(sample.clone(), 0.0, &mut rng(0)).unwrap();
        assert_eq!(never.image, sample.image);
        let always = random_flip(sample.clone(), 1.0, &mut rng(0)).unwrap();
        assert_eq!(always.image.get_pixel(0, 2), sample.image.get_pixel(4, 2));
        assert!(matches!(always.target, Target::LabelMap(map) if map.get_pixel(0, 2)[0] == 42));
    }
}
