//! ThreeAugment (DeiT III, arXiv 2204.07118): gray, solarisation or blur, one of them for each image.

use image::RgbImage;
use rand::{Rng, RngExt};

use super::blur::gaussian_blur;
use super::{color, uniform};

/// Applies one of the three, drawn evenly: gray, inversion of values of at least 128, or a Gaussian blur with a
/// standard deviation drawn from [0.1, 2] pixels.
pub fn three_augment(image: &mut RgbImage, rng: &mut impl Rng) {
    match rng.random_range(0..3) {
        0 => color::grayscale(image),
        1 => color::solarize(image, 128),
        _ => *image = gaussian_blur(image, uniform(rng, 0.1, 2.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::testing::{pattern, rng};

    #[test]
    fn each_of_the_three_comes_up() {
        let mut counts = [0; 3];
        for seed in 0..300 {
            let mut image = pattern(16, 16);
            three_augment(&mut image, &mut rng(seed));
            let gray = image.pixels().all(|p| p[0] == p[1] && p[1] == p[2]);
            let dark = image.iter().all(|&v| v < 128);
            counts[if gray {
                0
            } else if dark {
                1
            } else {
                2
            }] += 1;
        }
        assert!(counts.iter().all(|&n| (70..130).contains(&n)), "{counts:?}");
    }
}
