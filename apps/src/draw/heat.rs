//! A heat map over an image: attention, saliency.

use image::RgbImage;
use ndarray::{Array2, ArrayView2};

use super::palette::{blend, heat};

/// A map of values on a grid.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMap {
    values: Array2<f32>,
}

impl HeatMap {
    /// From values, stretched to [0, 1]; none where there are none. Values that are not finite count as the lowest.
    pub fn new(values: ArrayView2<'_, f32>) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let finite = values.iter().copied().filter(|v| v.is_finite());
        let (low, high) = finite.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let span = if high > low { high - low } else { 1.0 };
        let values = values.mapv(|v| if v.is_finite() { (v - low) / span } else { 0.0 });
        Some(HeatMap { values })
    }

    /// Value at the share (x, y) in [0, 1] of width and height, bilinear between cell centers.
    fn at(&self, x: f32, y: f32) -> f32 {
        let split = |v: f32, n: usize| {
            let v = (v * n as f32 - 0.5).clamp(0.0, (n - 1) as f32);
            let i = (v as usize).min(n - 1);
            (i, (i + 1).min(n - 1), v - i as f32)
        };
        let ((x0, x1, fx), (y0, y1, fy)) = (split(x, self.values.ncols()), split(y, self.values.nrows()));
        let cell = |r: usize, c: usize| self.values[(r, c)];
        let row = |r: usize| cell(r, x0) + (cell(r, x1) - cell(r, x0)) * fx;
        row(y0) + (row(y1) - row(y0)) * fy
    }

    /// Lays the map over the image: strong values in full color, weak ones leave the image darkened.
    pub fn draw(&self, image: &mut RgbImage) {
        let (width, height) = image.dimensions();
        for (x, y, pixel) in image.enumerate_pixels_mut() {
            let value = self.at((x as f32 + 0.5) / width as f32, (y as f32 + 0.5) / height as f32);
            pixel.0 = blend(pixel.0, heat(value), 0.35 + 0.35 * value);
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn values_are_stretched_and_interpolated() {
        let map = HeatMap::new(array![[10.0, 30.0]].view()).unwrap();
        assert_eq!((map.at(0.0, 0.5), map.at(0.5, 0.5), map.at(1.0, 0.5)), (0.0, 0.5, 1.0));
        assert!(HeatMap::new(array![[]].view()).is_none());
        let flat = HeatMap::new(array![[f32::NAN, 5.0], [5.0, f32::INFINITY]].view()).unwrap();
        assert!(flat.values.iter().all(|v| v.is_finite()));
    }

    #[test]
    fn the_strong_corner_is_the_brightest() {
        let mut image = RgbImage::from_pixel(16, 16, image::Rgb([60, 60, 60]));
        HeatMap::new(array![[0.0, 0.0], [0.0, 1.0]].view()).unwrap().draw(&mut image);
        let brightness = |x, y| image.get_pixel(x, y).0.iter().map(|c| u32::from(*c)).sum::<u32>();
        assert!(brightness(15, 15) > 2 * brightness(0, 0));
    }
}
