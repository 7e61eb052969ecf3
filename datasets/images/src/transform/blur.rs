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

/// Radius of the box whose three passes have the variance of the Gaussian; in single precision, as PIL computes it.
fn box_radius(sigma: f64) -> f32 {
    let sigma = sigma as f32;
    let variance = sigma * sigma / PASSES as f32;
    let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
    let whole = ((f64::from(length) - 1.0) / 2.0).floor() as f32;
    let share = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance)
        / (6.0 * (variance - (whole + 1.0) * (whole + 1.0)));
    whole + share
}

fn blur_rows(image: &mut RgbImage, radius: f32) {
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
fn box_blur(source: &[u8], target: &mut [u8], radius: f32) {
    let reach = radius as usize;
    let last = source.len() / 3 - 1;
    let weight = ((1u32 << 24) as f32 / (radius * 2.0 + 1.0)) as u64;
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
    use crate::transform::testing::{fnv, pattern};

    /// FNV-1a of the bytes of Pillow 13.0.0's `ImageFilter.GaussianBlur(sigma)` on the same 24 x 20 pattern.
    #[test]
    fn pixels_are_pillows() {
        let expected: [(f64, u64); 7] = [
            (0.1, 0xbd0932f0bb9bd66d),
            (0.5, 0x0ba7fc5a44eececd),
            (0.87, 0x3e05d1c7e132890d),
            (1.0, 0x9e85df4ea15c0e22),
            (1.3, 0xc1b2b8abca02da25),
            (2.0, 0x0d81a0a9cec73d1d),
            (3.7, 0x3d9e79e7340b2dbd),
        ];
        for (sigma, hash) in expected {
            let blurred = gaussian_blur(&pattern(24, 20), sigma);
            assert_eq!(fnv(blurred.as_raw()), hash, "sigma {sigma}");
        }
    }

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
