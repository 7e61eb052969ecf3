//! Bilinear resizing as OpenCV does it to 8-bit images: without antialias, in whole numbers.
//!
//! A source position is (x + 1/2) · scale - 1/2; a row is blended with weights of 11 bits, two rows with what that leaves of
//! them. Halving both sides exactly is the mean of each 2 × 2 pixels, as OpenCV takes a shortcut there
//! (modules/imgproc/src/resize.cpp).

use image::RgbImage;

use super::TransformError;
use super::resize::check_sizes;
use crate::Size;

/// Bits of a weight.
const BITS: u32 = 11;
/// Channels.
const CHANNELS: usize = 3;

/// The two source positions of a target position, with their weights.
#[derive(Clone, Copy)]
struct Sample {
    at: [usize; 2],
    weights: [i32; 2],
}

/// Of columns, a position beyond the edge is the edge's; of rows, both rows are then the edge's, and keep their weights, which
/// makes a difference to the rounding.
fn samples(from: usize, to: usize, keeps_weights: bool) -> Vec<Sample> {
    let scale = 1.0 / (to as f64 / from as f64);
    let one = f64::from(1 << BITS);
    let last = from as i64 - 1;
    (0..to)
        .map(|target| {
            let position = ((target as f64 + 0.5) * scale - 0.5) as f32;
            let first = position.floor();
            let (index, mut rest) = (first as i64, position - first);
            if !keeps_weights && (index < 0 || index >= last) {
                rest = 0.0;
            }
            let weight = |share: f32| (f64::from(share) * one).round_ties_even() as i32;
            let at = [index, index + 1].map(|index| index.clamp(0, last) as usize);
            Sample { at, weights: [weight(1.0 - rest), weight(rest)] }
        })
        .collect()
}

/// The whole of `image` at `size`, as `cv2.resize(image, …, interpolation=cv2.INTER_LINEAR)`.
///
/// # Errors
/// [`TransformError::Empty`] if either has no pixel, [`TransformError::TooLarge`] for a result beyond
/// [`MAX_RESIZED`](super::resize::MAX_RESIZED).
pub fn resize_bilinear(image: &RgbImage, size: Size) -> Result<RgbImage, TransformError> {
    let from = Size::of(image);
    check_sizes(from, size)?;
    let (width, height) = size.dimensions();
    let mut out = RgbImage::new(width, height);
    let (source, stride) = (image.as_raw(), from.width * CHANNELS);
    if (from.height, from.width) == (2 * size.height, 2 * size.width) {
        for (y, row) in out.chunks_exact_mut(size.width * CHANNELS).enumerate() {
            for (x, pixel) in row.chunks_exact_mut(CHANNELS).enumerate() {
                let corner = 2 * y * stride + 2 * x * CHANNELS;
                for (channel, value) in pixel.iter_mut().enumerate() {
                    let at = corner + channel;
                    let four = [at, at + CHANNELS, at + stride, at + stride + CHANNELS];
                    let sum: u32 = four.iter().map(|&at| u32::from(source[at])).sum();
                    *value = ((sum + 2) >> 2) as u8;
                }
            }
        }
        return Ok(out);
    }
    let (columns, rows) = (samples(from.width, size.width, false), samples(from.height, size.height, true));
    let across = |row: usize| -> Vec<i32> {
        let source = &source[row * stride..][..stride];
        let mut line = Vec::with_capacity(size.width * CHANNELS);
        for Sample { at, weights } in &columns {
            for channel in 0..CHANNELS {
                let value = |i: usize| i32::from(source[at[i] * CHANNELS + channel]) * weights[i];
                line.push(value(0) + value(1));
            }
        }
        line
    };
    // The two rows made last, by their number.
    let mut kept: [(usize, Vec<i32>); 2] = [(usize::MAX, Vec::new()), (usize::MAX, Vec::new())];
    for (Sample { at, weights }, row) in rows.iter().zip(out.chunks_exact_mut(size.width * CHANNELS)) {
        for &needed in at {
            if kept.iter().all(|(number, _)| *number != needed) {
                let replaced = usize::from(kept[0].0 == at[0] || kept[0].0 == at[1]);
                kept[replaced] = (needed, across(needed));
            }
        }
        let line = |number: usize| if kept[0].0 == number { &kept[0].1 } else { &kept[1].1 };
        for ((value, &a), &b) in row.iter_mut().zip(line(at[0])).zip(line(at[1])) {
            let blended = ((weights[0] * (a >> 4)) >> 16) + ((weights[1] * (b >> 4)) >> 16);
            *value = ((blended + 2) >> 2).clamp(0, 255) as u8;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([(x * 37 + y * 5) as u8, (y * 61 + x) as u8, (x * y * 13) as u8])
        })
    }

    #[test]
    fn it_is_bilinear_to_a_level_and_keeps_what_it_must() {
        let image = pattern(13, 9);
        assert_eq!(resize_bilinear(&image, Size::new(9, 13)).unwrap(), image);
        for (height, width) in [(18, 26), (5, 7), (9, 40), (31, 3), (1, 1)] {
            let out = resize_bilinear(&image, Size::new(height, width)).unwrap();
            for (x, y, pixel) in out.enumerate_pixels() {
                let place = |target: u32, from: usize, to: usize| {
                    let at = ((f64::from(target) + 0.5) * from as f64 / to as f64 - 0.5)
                        .clamp(0.0, from as f64 - 1.0);
                    (at.floor() as u32, (at.floor() as u32 + 1).min(from as u32 - 1), at.fract())
                };
                let ((x0, x1, u), (y0, y1, v)) = (place(x, 13, width), place(y, 9, height));
                for channel in 0..3 {
                    let value = |x, y| f64::from(image.get_pixel(x, y).0[channel]);
                    let above = value(x0, y0) * (1.0 - u) + value(x1, y0) * u;
                    let below = value(x0, y1) * (1.0 - u) + value(x1, y1) * u;
                    let exact = above * (1.0 - v) + below * v;
                    assert!(
                        (f64::from(pixel.0[channel]) - exact).abs() <= 1.0,
                        "{height}x{width} ({x}, {y})"
                    );
                }
            }
        }
    }

    #[test]
    fn halving_is_the_mean_of_four() {
        let image = pattern(6, 4);
        let out = resize_bilinear(&image, Size::new(2, 3)).unwrap();
        let sum: u32 = [(2, 2), (3, 2), (2, 3), (3, 3)]
            .iter()
            .map(|&(x, y)| u32::from(image.get_pixel(x, y).0[1]))
            .sum();
        assert_eq!(u32::from(out.get_pixel(1, 1).0[1]), (sum + 2) / 4);
        assert!(resize_bilinear(&image, Size::new(0, 3)).is_err());
    }
}
