//! Gaussian blur as PIL does it: three passes of a box blur whose width may be fractional (Gwosdek et al.,
//! "Theoretical foundations of Gaussian convolution by extended box filtering", 2011).

use image::{RgbImage, imageops};

const PASSES: usize = 3;

/// Blurs with a Gaussian of standard deviation `sigma` pixels; 0 or less changes nothing.
pub fn gaussian_blur(image: &RgbImage, sigma: f64) -> RgbImage {
    if sigma <= 0.0 || image.width() == 0 || image.height() == 0 {
        return image.clone();
    }
    let radius = box_radius(sigma);
    let mut lines = image.clone();
    blur_rows(&mut lines, radius);
    let mut columns = imageops::flip_horizontal(&imageops::rotate90(&lines));
    blur_rows(&mut columns, radius);
    imageops::flip_horizontal(&imageops::rotate90(&columns))
}

/// Radius of the box whose three passes have the variance of the Gaussian.
fn box_radius(sigma: f64) -> f64 {
    let variance = sigma * sigma / PASSES as f64;
    let whole = (((12.0 * variance + 1.0).sqrt() - 1.0) / 2.0).floor();
    let share = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance)
        / (6.0 * (variance - (whole + 1.0) * (whole + 1.0)));
    whole + share
}

fn blur_rows(image: &mut RgbImage, radius: f64) {
    let stride = image.width() as usize * 3;
    let mut scratch = vec![0; stride];
    let raw: &mut [u8] = image;
    for line in raw.chunks_exact_mut(stride) {
        for _ in 0..PASSES {
            scratch.copy_from_slice(line);
            box_blur(&scratch, line, radius);
        }
    }
}

/// One pass over a line of RGB pixels, in 24-bit fixed point; pixels beyond the ends equal the last one.
fn box_blur(source: &[u8], target: &mut [u8], radius: f64) {
    let reach = radius as usize;
    let last = source.len() / 3 - 1;
    let weight = (f64::from(1u32 << 24) / (radius * 2.0 + 1.0)) as u64;
    let edge_weight = ((1u64 << 24) - (reach as u64 * 2 + 1) * weight) / 2;
    for channel in 0..3 {
        let at = |i: isize| u64::from(source[i.clamp(0, last as isize) as usize * 3 + channel]);
        let reach = reach as isize;
        let mut sum: u64 = (-reach..=reach).map(at).sum();
        for x in 0..=last as isize {
            let edges = at(x - reach - 1) + at(x + reach + 1);
            target[x as usize * 3 + channel] = ((sum * weight + edges * edge_weight + (1 << 23)) >> 24) as u8;
            sum = sum + at(x + reach + 1) - at(x - reach);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::testing::pattern;

    #[test]
    fn flat_stays_flat_and_size_stays() {
        let flat = RgbImage::from_pixel(7, 5, image::Rgb([13, 200, 255]));
        assert_eq!(gaussian_blur(&flat, 2.0), flat);
        assert_eq!(gaussian_blur(&pattern(1, 1), 1.0), pattern(1, 1));
        assert_eq!(gaussian_blur(&pattern(31, 4), 1.3).dimensions(), (31, 4));
    }

    #[test]
    fn a_bright_column_spreads_with_the_right_variance() {
        let mut image = RgbImage::new(41, 1);
        image.put_pixel(20, 0, image::Rgb([255; 3]));
        let blurred = gaussian_blur(&image, 2.0);
        let values: Vec<f64> = blurred.pixels().map(|p| f64::from(p[0])).collect();
        let sum: f64 = values.iter().sum();
        let variance =
            values.iter().enumerate().map(|(i, v)| v * (i as f64 - 20.0).powi(2)).sum::<f64>() / sum;
        assert!((variance - 4.0).abs() < 0.5, "{variance}");
    }
}
