//! Separable convolution of 8-bit RGB in PIL's arithmetic: the horizontal pass first, weights in fixed point of 22
//! bits, each pass rounded and cut to 0..=255. A general-purpose resizer is within a level of this on smooth images
//! only: where a cubic overshoots, the order of the passes decides what is cut off.

use image::RgbImage;

use crate::{Filter, Rect, Size};

/// Fraction bits of a weight: 32, less 8 for the pixel and 2 for the sign and a sum of absolute weights above 1.
const PRECISION: u32 = 22;
const HALF: i32 = 1 << (PRECISION - 1);

/// Rows handled together in the horizontal pass: 16 rows of 3 bytes fill three 512-bit registers once widened.
const ROWS: usize = 16;
const LANES: usize = 3 * ROWS;

/// Bytes handled together in the vertical pass.
const CHUNK: usize = 64;

/// For each output pixel along one axis, the source pixels it is the weighted mean of.
struct Weights {
    /// First source pixel and number of weights of each output pixel.
    spans: Vec<(usize, usize)>,
    /// `stride` weights for each output pixel, those past its number unused.
    values: Vec<i32>,
    stride: usize,
}

impl Weights {
    /// From `from` pixels to `to`.
    fn new(filter: Filter, from: u32, to: u32) -> Self {
        let (from, to) = (from as usize, to as usize);
        let stride = filter.most_taps(from, to);
        let mut values = vec![0; stride * to];
        let mut floats = Vec::with_capacity(stride);
        let spans = (0..to).zip(values.chunks_exact_mut(stride)).map(|(index, values)| {
            let first = filter.taps(from, to, index, &mut floats);
            for (value, &float) in values.iter_mut().zip(&floats) {
                // the cast drops the fraction, so that the half makes it round to nearest
                let fixed = float * f64::from(1 << PRECISION);
                *value = (fixed + 0.5_f64.copysign(fixed)) as i32;
            }
            (first, floats.len())
        });
        let spans = spans.collect();
        Self { spans, values, stride }
    }

    /// First source pixel and weights of each output pixel.
    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.spans
            .iter()
            .zip(self.values.chunks_exact(self.stride))
            .map(|(&(first, count), values)| (first, &values[..count]))
    }
}

/// The pixels `region` of `image`, which must lie inside it, at `size`; neither may be empty.
pub(super) fn resample(image: &RgbImage, region: Rect, size: Size, filter: Filter) -> Vec<u8> {
    let stride = image.width() as usize * 3;
    let start = region.y as usize * stride + region.x as usize * 3;
    let source = Rows { bytes: &image.as_raw()[start..], stride, width: region.width as usize };
    let height = region.height as usize;
    let (to_width, to_height) = size.dimensions();
    if region.size() == size {
        return (0..height).flat_map(|y| source.row(y)).copied().collect();
    }
    if region.width == to_width {
        return vertical(&source, &Weights::new(filter, region.height, to_height));
    }
    let wide = horizontal(&source, height, &Weights::new(filter, region.width, to_width));
    if region.height == to_height {
        return wide;
    }
    let width = size.width;
    let wide = Rows { bytes: &wide, stride: width * 3, width };
    vertical(&wide, &Weights::new(filter, region.height, to_height))
}

/// RGB rows at a distance of `stride` bytes.
struct Rows<'a> {
    bytes: &'a [u8],
    stride: usize,
    /// Pixels of a row that count.
    width: usize,
}

impl Rows<'_> {
    fn row(&self, y: usize) -> &[u8] {
        &self.bytes[y * self.stride..][..self.width * 3]
    }
}

fn horizontal(source: &Rows<'_>, height: usize, weights: &Weights) -> Vec<u8> {
    let mut out = vec![0; weights.spans.len() * 3 * height];
    pulp::Arch::new().dispatch(Horizontal { source, weights, out: &mut out });
    out
}

/// A type of its own and no closure, as [`Vertical`]: the call of a closure is not always inlined into the function
/// compiled for the newer instructions, and then gains nothing.
struct Horizontal<'a> {
    source: &'a Rows<'a>,
    weights: &'a Weights,
    out: &'a mut [u8],
}

impl pulp::NullaryFnOnce for Horizontal<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let row_bytes = self.weights.spans.len() * 3;
        let mut packed = vec![[0; LANES]; self.source.width];
        for (band, out) in self.out.chunks_mut(row_bytes * ROWS).enumerate() {
            for r in 0..out.len() / row_bytes {
                pack_row(self.source.row(band * ROWS + r), r, &mut packed);
            }
            for (i, (first, weights)) in self.weights.iter().enumerate() {
                let pixels = weighted_pixels(&packed[first..first + weights.len()], weights);
                for (r, row) in out.chunks_exact_mut(row_bytes).enumerate() {
                    row[i * 3..i * 3 + 3].copy_from_slice(&pixels[r * 3..r * 3 + 3]);
                }
            }
        }
    }
}

/// Puts a row's pixels into its three bytes of each group.
#[inline(always)]
fn pack_row(row: &[u8], r: usize, packed: &mut [[u8; LANES]]) {
    for (group, pixel) in packed.iter_mut().zip(row.chunks_exact(3)) {
        group[r * 3..r * 3 + 3].copy_from_slice(pixel);
    }
}

#[inline(always)]
fn weighted_pixels(groups: &[[u8; LANES]], weights: &[i32]) -> [u8; LANES] {
    let mut sums = [HALF; LANES];
    for (group, &weight) in groups.iter().zip(weights) {
        for (sum, &value) in sums.iter_mut().zip(group) {
            *sum += weight * i32::from(value);
        }
    }
    sums.map(to_byte)
}

fn vertical(source: &Rows<'_>, weights: &Weights) -> Vec<u8> {
    let mut out = vec![0; source.width * 3 * weights.spans.len()];
    pulp::Arch::new().dispatch(Vertical { source, weights, out: &mut out });
    out
}

struct Vertical<'a> {
    source: &'a Rows<'a>,
    weights: &'a Weights,
    out: &'a mut [u8],
}

impl pulp::NullaryFnOnce for Vertical<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let lines = self.out.chunks_exact_mut(self.source.width * 3);
        for (out, (first, weights)) in lines.zip(self.weights.iter()) {
            let mut chunks = out.chunks_exact_mut(CHUNK);
            let mut at = 0;
            for chunk in &mut chunks {
                let mut sums = [HALF; CHUNK];
                for (k, &weight) in weights.iter().enumerate() {
                    add_weighted(&mut sums, &self.source.row(first + k)[at..at + CHUNK], weight);
                }
                for (byte, &sum) in chunk.iter_mut().zip(&sums) {
                    *byte = to_byte(sum);
                }
                at += CHUNK;
            }
            let mut sums = [HALF; CHUNK];
            for (k, &weight) in weights.iter().enumerate() {
                add_weighted(&mut sums, &self.source.row(first + k)[at..], weight);
            }
            for (byte, &sum) in chunks.into_remainder().iter_mut().zip(&sums) {
                *byte = to_byte(sum);
            }
        }
    }
}

#[inline(always)]
fn add_weighted(sums: &mut [i32; CHUNK], values: &[u8], weight: i32) {
    for (sum, &value) in sums.iter_mut().zip(values) {
        *sum += weight * i32::from(value);
    }
}

#[inline(always)]
fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::testing::pattern;

    #[test]
    fn weights_sum_to_one_and_stay_inside() {
        for filter in [Filter::Bilinear, Filter::Bicubic] {
            for (from, to) in [(1, 1), (1, 9), (7, 3), (500, 224), (3, 224), (4000, 1)] {
                let weights = Weights::new(filter, from, to);
                assert_eq!(weights.spans.len(), to as usize);
                for (first, values) in weights.iter() {
                    assert!(!values.is_empty() && first + values.len() <= from as usize);
                    let sum: i32 = values.iter().sum();
                    assert!((sum - (1 << PRECISION)).unsigned_abs() as usize <= values.len());
                }
            }
        }
    }

    /// The definition in floating point, horizontal pass first, each pass rounded.
    fn reference(image: &RgbImage, size: Size, filter: Filter) -> Vec<u8> {
        let (to_width, to_height) = size.dimensions();
        let axis = |from: u32, to: u32, at: u32, value: &dyn Fn(u32) -> f64| {
            let scale = f64::from(from) / f64::from(to);
            let center = (f64::from(at) + 0.5) * scale;
            let weight = |x| filter.value((f64::from(x) + 0.5 - center) / scale.max(1.0));
            let sum: f64 = (0..from).map(weight).sum();
            ((0..from).map(|x| weight(x) * value(x)).sum::<f64>() / sum).round().clamp(0.0, 255.0)
        };
        let (width, height) = image.dimensions();
        let wide =
            |x: u32, y: u32, c: usize| axis(width, to_width, x, &|at| f64::from(image.get_pixel(at, y)[c]));
        let mut out = Vec::new();
        for y in 0..to_height {
            for x in 0..to_width {
                for c in 0..3 {
                    out.push(axis(height, to_height, y, &|at| wide(x, at, c)) as u8);
                }
            }
        }
        out
    }

    #[test]
    fn both_passes_follow_the_definition() {
        let image = pattern(37, 26);
        // shrunk, grown, mixed, one pass only, no pass
        for size in [(11, 9), (50, 43), (70, 8), (37, 13), (12, 26), (37, 26)] {
            for filter in [Filter::Bilinear, Filter::Bicubic] {
                let found = resample(&image, Rect::whole((37, 26).into()), size.into(), filter);
                let expected = reference(&image, size.into(), filter);
                assert_eq!(found.len(), expected.len());
                // exact halves may round either way in the reference, in both passes
                let worst = found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
                assert!(worst <= Some(1), "{size:?}: {worst:?}");
            }
        }
    }
}
