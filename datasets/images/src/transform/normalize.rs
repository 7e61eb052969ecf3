//! 8-bit pixels to the network's input: (v / 255 - mean) / std, channels apart.
//!
//! # Shapes
//! in: RGB (H, W, 3); out: (3, H', W') with H' >= H and W' >= W, the image at the top left, the rest 0, which is the
//! mean colour.

use crate::Size;
use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::{TransformError, check};

/// Mean and standard deviation of each channel, on the scale of [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Normalize {
    /// Means of red, green, blue.
    pub mean: [f32; 3],
    /// Standard deviations of red, green, blue.
    pub std: [f32; 3],
}

impl Default for Normalize {
    /// ImageNet's.
    fn default() -> Self {
        Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }
    }
}

/// Whether rows are written from right to left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// As they are.
    Forward,
    /// Mirrored.
    Mirrored,
}

impl Normalize {
    /// # Errors
    /// [`TransformError::Config`] for a mean that is not finite or a deviation that is not positive.
    pub fn validate(&self) -> Result<(), TransformError> {
        check(self.mean.iter().all(|v| v.is_finite()), "mean", self.mean, "finite numbers")?;
        let good = self.std.iter().all(|&v| v > 0.0 && v.is_finite());
        check(good, "std", self.std, "positive numbers")
    }

    /// The mean colour in levels, for filling.
    pub fn mean_level(&self) -> [u8; 3] {
        self.mean.map(|m| (m * 255.0).round_ties_even() as u8)
    }

    /// The reverse: planes (3, `side`, `side`) as a picture, rounded to 8 bits.
    ///
    /// # Panics
    /// If there are fewer than 3 · side² values.
    pub fn picture(&self, planes: &[f32], side: usize) -> RgbImage {
        let plane = side * side;
        RgbImage::from_fn(side as u32, side as u32, |x, y| {
            let at = y as usize * side + x as usize;
            let level = |c: usize| (planes[c * plane + at] * self.std[c] + self.mean[c]) * 255.0;
            image::Rgb([0, 1, 2].map(|c| level(c).round().clamp(0.0, 255.0) as u8))
        })
    }

    /// Writes `image` to `out`, which holds 3 x height x width of `canvas` numbers.
    ///
    /// # Errors
    /// [`TransformError::BufferLength`] or [`TransformError::DoesNotFit`].
    pub fn write(
        &self,
        image: &RgbImage,
        direction: Direction,
        canvas: Size,
        out: &mut [f32],
    ) -> Result<(), TransformError> {
        let size = Size::of(image);
        if canvas.max(size) != canvas {
            return Err(TransformError::DoesNotFit { image: size, canvas });
        }
        let plane = canvas.area();
        if out.len() != plane * 3 {
            return Err(TransformError::BufferLength { found: out.len(), expected: plane * 3 });
        }
        if size.area() == 0 {
            out.fill(0.0);
            return Ok(());
        }
        let (planes, stride) = (Planes::split(out, plane), canvas.width);
        pulp::Arch::new().dispatch(Write { normalize: self, image, direction, planes, stride });
        Ok(())
    }
}

/// The three channels of the output.
struct Planes<'a>([&'a mut [f32]; 3]);

impl<'a> Planes<'a> {
    fn split(out: &'a mut [f32], plane: usize) -> Self {
        let (red, rest) = out.split_at_mut(plane);
        let (green, blue) = rest.split_at_mut(plane);
        Self([red, green, blue])
    }
}

/// A type of its own and no closure: the call of a closure is not always inlined into the function compiled for the
/// newer instructions, and then each fused multiply-add is a call.
struct Write<'a> {
    normalize: &'a Normalize,
    image: &'a RgbImage,
    direction: Direction,
    planes: Planes<'a>,
    stride: usize,
}

impl pulp::NullaryFnOnce for Write<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Normalize { mean, std } = self.normalize;
        let scale: [f32; 3] = std::array::from_fn(|c| 1.0 / (255.0 * std[c]));
        let shift: [f32; 3] = std::array::from_fn(|c| -mean[c] / std[c]);
        let (width, height) = (self.image.width() as usize, self.image.height() as usize);
        let Planes(planes) = self.planes;
        let [red, green, blue] = planes.map(|plane| {
            let (rows, below) = plane.split_at_mut(height * self.stride);
            below.fill(0.0);
            rows.chunks_exact_mut(self.stride)
        });
        let lines = self.image.as_raw().chunks_exact(width * 3);
        for (((line, red), green), blue) in lines.zip(red).zip(green).zip(blue) {
            let mut rows = [red, green, blue].map(|row| {
                let (row, right) = row.split_at_mut(width);
                right.fill(0.0);
                row
            });
            split_row(line, &mut rows, &scale, &shift);
            if self.direction == Direction::Mirrored {
                rows.into_iter().for_each(<[f32]>::reverse);
            }
        }
    }
}

/// One row of interleaved pixels to three rows of scaled channels.
#[inline(always)]
fn split_row(source: &[u8], [r, g, b]: &mut [&mut [f32]; 3], scale: &[f32; 3], shift: &[f32; 3]) {
    let targets = r.iter_mut().zip(g.iter_mut()).zip(b.iter_mut());
    for (pixel, ((r, g), b)) in source.chunks_exact(3).zip(targets) {
        *r = f32::from(pixel[0]).mul_add(scale[0], shift[0]);
        *g = f32::from(pixel[1]).mul_add(scale[1], shift[1]);
        *b = f32::from(pixel[2]).mul_add(scale[2], shift[2]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::testing::pattern;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_pixel_lands_in_its_place(w in 1u32..40, h in 1u32..12, right in 0u32..5, below in 0u32..5, mirrored: bool) {
            let (image, norm) = (pattern(w, h), Normalize::default());
            let canvas = (w + right, h + below);
            let mut out = vec![f32::NAN; (3 * canvas.0 * canvas.1) as usize];
            let direction = if mirrored { Direction::Mirrored } else { Direction::Forward };
            norm.write(&image, direction, canvas.into(), &mut out).unwrap();
            for c in 0..3 {
                for y in 0..canvas.1 {
                    for x in 0..canvas.0 {
                        let found = out[((c * canvas.1 + y) * canvas.0 + x) as usize];
                        let expected = if x < w && y < h {
                            let sx = if mirrored { w - 1 - x } else { x };
                            let v = f32::from(image.get_pixel(sx, y)[c as usize]) / 255.0;
                            (v - norm.mean[c as usize]) / norm.std[c as usize]
                        } else { 0.0 };
                        prop_assert!((found - expected).abs() < 1e-5);
                    }
                }
            }
        }
    }

    #[test]
    fn wrong_sizes_are_errors() {
        let norm = Normalize::default();
        let write = |canvas, n| norm.write(&pattern(4, 4), Direction::Forward, canvas, &mut vec![0.0; n]);
        assert!(matches!(write((3, 8).into(), 72), Err(TransformError::DoesNotFit { .. })));
        assert!(matches!(write((4, 4).into(), 47), Err(TransformError::BufferLength { expected: 48, .. })));
        assert_eq!(norm.mean_level(), [124, 116, 104]);
    }
}
