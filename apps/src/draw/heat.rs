//! A heat map over a picture: attention, saliency.

use image::RgbImage;

use super::palette::{blend, heat};

/// A map of values on a grid, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMap {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

impl HeatMap {
    /// From `rows * columns` values, stretched to [0, 1]; none where the count does not fit. Values that are not
    /// finite count as the lowest.
    pub fn new(rows: usize, columns: usize, values: &[f32]) -> Option<Self> {
        if rows == 0 || columns == 0 || values.len() != rows * columns {
            return None;
        }
        let finite = values.iter().copied().filter(|v| v.is_finite());
        let (low, high) = finite.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let span = if high > low { high - low } else { 1.0 };
        let values = values.iter().map(|v| if v.is_finite() { (v - low) / span } else { 0.0 }).collect();
        Some(HeatMap { rows, columns, values })
    }

    /// Value at the share (x, y) in [0, 1] of width and height, bilinear between cell centres.
    fn at(&self, x: f32, y: f32) -> f32 {
        let split = |v: f32, n: usize| {
            let v = (v * n as f32 - 0.5).clamp(0.0, (n - 1) as f32);
            let i = (v as usize).min(n - 1);
            (i, (i + 1).min(n - 1), v - i as f32)
        };
        let ((x0, x1, fx), (y0, y1, fy)) = (split(x, self.columns), split(y, self.rows));
        let cell = |r: usize, c: usize| self.values[r * self.columns + c];
        let row = |r: usize| cell(r, x0) + (cell(r, x1) - cell(r, x0)) * fx;
        row(y0) + (row(y1) - row(y0)) * fy
    }

    /// Lays the map over the picture: strong values in full colour, weak ones leave the picture darkened.
    pub fn draw(&self, picture: &mut RgbImage) {
        let (width, height) = picture.dimensions();
        for (x, y, pixel) in picture.enumerate_pixels_mut() {
            let value = self.at((x as f32 + 0.5) / width as f32, (y as f32 + 0.5) / height as f32);
            pixel.0 = blend(pixel.0, heat(value), 0.35 + 0.35 * value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_stretched_and_interpolated() {
        let map = HeatMap::new(1, 2, &[10.0, 30.0]).unwrap();
        assert_eq!((map.at(0.0, 0.5), map.at(0.5, 0.5), map.at(1.0, 0.5)), (0.0, 0.5, 1.0));
        assert!(HeatMap::new(2, 2, &[0.0; 3]).is_none() && HeatMap::new(0, 0, &[]).is_none());
        let flat = HeatMap::new(2, 2, &[f32::NAN, 5.0, 5.0, f32::INFINITY]).unwrap();
        assert!(flat.values.iter().all(|v| v.is_finite()));
    }

    #[test]
    fn the_strong_corner_is_the_brightest() {
        let mut picture = RgbImage::from_pixel(16, 16, image::Rgb([60, 60, 60]));
        HeatMap::new(2, 2, &[0.0, 0.0, 0.0, 1.0]).unwrap().draw(&mut picture);
        let brightness = |x, y| picture.get_pixel(x, y).0.iter().map(|c| u32::from(*c)).sum::<u32>();
        assert!(brightness(15, 15) > 2 * brightness(0, 0));
    }
}
