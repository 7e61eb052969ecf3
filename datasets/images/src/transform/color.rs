//! Operations on colours, to the digit as PIL's ImageOps and ImageEnhance do them.

use image::{Rgb, RgbImage};

/// Luma of ITU-R 601 in 16-bit fixed point.
#[inline(always)]
pub fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

/// Gray in all three channels.
pub fn grayscale(image: &mut RgbImage) {
    image.pixels_mut().for_each(|p| p.0 = [luma(p.0); 3]);
}

/// `from + factor (to - from)`, cut to [0, 255] and rounded down.
#[inline(always)]
pub(crate) fn blend(from: u8, to: u8, factor: f32) -> u8 {
    // a float to u8 cast saturates
    (f32::from(from) + factor * (f32::from(to) - f32::from(from))) as u8
}

/// Brightness times `factor`.
pub fn brightness(image: &mut RgbImage, factor: f32) {
    map_levels(image, |v| blend(0, v, factor));
}

/// Distance from the mean gray times `factor`.
pub fn contrast(image: &mut RgbImage, factor: f32) {
    let count = u64::from(image.width()) * u64::from(image.height());
    let sum: u64 = image.pixels().map(|p| u64::from(luma(p.0))).sum();
    let mean = (sum as f64 / count.max(1) as f64 + 0.5) as u8;
    map_levels(image, |v| blend(mean, v, factor));
}

/// Distance from gray times `factor`.
pub fn saturation(image: &mut RgbImage, factor: f32) {
    for pixel in image.pixels_mut() {
        let gray = luma(pixel.0);
        pixel.0 = pixel.0.map(|v| blend(gray, v, factor));
    }
}

/// Distance from a smoothed copy (3x3, centre 5 of 13, the outermost pixels kept) times `factor`.
pub fn sharpness(image: &mut RgbImage, factor: f32) {
    let (width, height) = image.dimensions();
    if width < 3 || height < 3 {
        // PIL keeps the border as it is: nothing to smooth
        return;
    }
    let source = image.clone();
    let stride = width as usize * 3;
    let raw = source.as_raw();
    let out: &mut [u8] = image;
    for y in 1..height as usize - 1 {
        for i in y * stride + 3..(y + 1) * stride - 3 {
            let row = |at: usize| f32::from(raw[at - 3]) + f32::from(raw[at]) + f32::from(raw[at + 3]);
            let sum = row(i - stride) + row(i) + row(i + stride) + 4.0 * f32::from(raw[i]);
            let smooth = (sum / 13.0 + 0.5) as u8;
            out[i] = blend(smooth, raw[i], factor);
        }
    }
}

/// 255 minus each value.
pub fn invert(image: &mut RgbImage) {
    map_levels(image, |v| 255 - v);
}

/// Inverts values of at least `threshold` (0 to 256).
pub fn solarize(image: &mut RgbImage, threshold: u32) {
    map_levels(image, |v| if u32::from(v) < threshold { v } else { 255 - v });
}

/// Adds `amount` to values below 128.
pub fn solarize_add(image: &mut RgbImage, amount: u8) {
    map_levels(image, |v| if v < 128 { v.saturating_add(amount) } else { v });
}

/// Keeps the `bits` most significant bits; 8 and more change nothing.
pub fn posterize(image: &mut RgbImage, bits: u32) {
    let mask = if bits >= 8 { 0xff } else { !(((1u32 << (8 - bits)) - 1) as u8) };
    map_levels(image, |v| v & mask);
}

/// Stretches each channel so that its least value becomes 0 and its greatest 255.
pub fn autocontrast(image: &mut RgbImage) {
    let tables = histograms(image).map(|histogram| {
        let low = histogram.iter().position(|&n| n > 0).unwrap_or(0);
        let high = histogram.iter().rposition(|&n| n > 0).unwrap_or(0);
        if high <= low {
            return identity();
        }
        let scale = 255.0 / (high - low) as f64;
        let offset = -(low as f64) * scale;
        std::array::from_fn(|v| (v as f64 * scale + offset) as u8)
    });
    look_up(image, &tables);
}

/// Spreads each channel's values evenly.
pub fn equalize(image: &mut RgbImage) {
    let tables = histograms(image).map(|histogram| {
        let total: u64 = histogram.iter().sum();
        let last = histogram.iter().rev().find(|&&n| n > 0).copied().unwrap_or(0);
        let step = (total - last) / 255;
        if step == 0 {
            return identity();
        }
        let mut n = step / 2;
        histogram.map(|count| {
            let value = (n / step).min(255) as u8;
            n += count;
            value
        })
    });
    look_up(image, &tables);
}

fn identity() -> [u8; 256] {
    std::array::from_fn(|v| v as u8)
}

fn histograms(image: &RgbImage) -> [[u64; 256]; 3] {
    let mut counts = [[0; 256]; 3];
    for Rgb([r, g, b]) in image.pixels() {
        counts[0][usize::from(*r)] += 1;
        counts[1][usize::from(*g)] += 1;
        counts[2][usize::from(*b)] += 1;
    }
    counts
}

fn look_up(image: &mut RgbImage, tables: &[[u8; 256]; 3]) {
    for Rgb([r, g, b]) in image.pixels_mut() {
        *r = tables[0][usize::from(*r)];
        *g = tables[1][usize::from(*g)];
        *b = tables[2][usize::from(*b)];
    }
}

fn map_levels(image: &mut RgbImage, change: impl Fn(u8) -> u8) {
    let table: [u8; 256] = std::array::from_fn(|v| change(v as u8));
    image.iter_mut().for_each(|v| *v = table[usize::from(*v)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::testing::pattern;

    #[test]
    fn a_factor_of_one_changes_nothing() {
        let image = pattern(20, 11);
        for change in [brightness, contrast, saturation, sharpness] {
            let mut changed = image.clone();
            change(&mut changed, 1.0);
            assert_eq!(changed, image);
        }
    }

    #[test]
    fn levels_by_hand() {
        let pixel = |r, g, b| RgbImage::from_pixel(1, 1, Rgb([r, g, b]));
        let run = |mut image: RgbImage, change: &dyn Fn(&mut RgbImage)| {
            change(&mut image);
            image.get_pixel(0, 0).0
        };
        assert_eq!(run(pixel(100, 200, 7), &|i| brightness(i, 1.5)), [150, 255, 10]);
        assert_eq!(run(pixel(100, 200, 7), &invert), [155, 55, 248]);
        assert_eq!(run(pixel(127, 128, 255), &|i| solarize(i, 128)), [127, 127, 0]);
        assert_eq!(run(pixel(127, 128, 100), &|i| solarize_add(i, 130)), [255, 128, 230]);
        assert_eq!(run(pixel(127, 128, 255), &|i| posterize(i, 2)), [64, 128, 192]);
        assert_eq!(run(pixel(127, 128, 255), &|i| posterize(i, 0)), [0, 0, 0]);
        assert_eq!(run(pixel(255, 0, 0), &grayscale), [76; 3]);
        assert_eq!(run(pixel(255, 0, 0), &|i| saturation(i, 0.0)), [76; 3]);
    }

    #[test]
    fn stretching_and_spreading() {
        let mut image = RgbImage::from_fn(2, 1, |x, _| Rgb([50 + 50 * x as u8, 9, 9]));
        autocontrast(&mut image);
        // 254, as PIL has it: 100 * 5.1 - 255 is a hair below 255 in binary
        assert_eq!(image.as_raw(), &[0, 9, 9, 254, 9, 9]);
        let mut flat = RgbImage::from_pixel(9, 9, Rgb([3, 4, 5]));
        equalize(&mut flat);
        assert_eq!(flat.get_pixel(8, 8).0, [3, 4, 5]);
    }
}
