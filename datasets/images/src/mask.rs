//! The annotated mask of an object, and its grid as a mask head's target.
//!
//! # Shapes
//! roi `[x0, y0, x1, y1]`; grid (side, side), row-major, one byte a pixel, 0 or 1.

use image::GrayImage;

use crate::Size;
use crate::polygon::Polygon;
use crate::rle::{MaskError, Rle};

/// Which pixels of its image an object covers.
#[derive(Debug, Clone, PartialEq)]
pub enum Mask {
    /// By outline.
    Polygon(Polygon),
    /// By run lengths: a bitmap of each of thousands of objects would not fit in memory.
    Rle(Rle),
    /// By pixel, 0 or 255, of the image's size: the form in which transforms work.
    Bitmap(GrayImage),
}

impl Mask {
    /// The mask in the form that takes little memory: a bitmap becomes run lengths.
    ///
    /// # Errors
    /// A bitmap of another size than the image.
    pub fn compact(self, image: Size) -> Result<Self, MaskError> {
        match self {
            Self::Bitmap(bitmap) => Ok(Self::Rle(Rle::from_bitmap(image, bitmap.as_raw())?)),
            other => Ok(other),
        }
    }

    /// What of the shape lies in `roi`, stretched to `side` by `side` pixels. An outline is rasterised on that
    /// grid; a bitmap is averaged over each cell (RoIAlign, aligned, as many samples as pixels) and cut at a half.
    /// A box with a coordinate that is not finite, or beyond the image, gives an empty grid.
    pub fn crop_and_resize(&self, roi: [f32; 4], side: usize) -> Vec<u8> {
        if !roi.iter().all(|c| c.is_finite()) {
            return vec![0; side * side];
        }
        match self {
            Self::Polygon(polygon) => polygon.rasterize_within(roi, side),
            Self::Rle(rle) => align(rle, roi, side),
            Self::Bitmap(bitmap) => match Rle::from_bitmap(Size::of(bitmap), bitmap.as_raw()) {
                Ok(rle) => align(&rle, roi, side),
                Err(_) => vec![0; side * side],
            },
        }
    }
}

/// The samples of RoIAlign lie on a product grid, so their bilinear weights factor into one list of (pixel, weight)
/// for each row of cells and one for each column.
fn align(rle: &Rle, roi: [f32; 4], side: usize) -> Vec<u8> {
    let (h, w) = (rle.size().height, rle.size().width);
    let across = weights(roi[0], roi[2], side, w);
    let down = weights(roi[1], roi[3], side, h);
    let pixels = |cells: &[Vec<(usize, f32)>]| {
        let all = || cells.iter().flatten().map(|&(i, _)| i);
        Some((all().min()?, all().max()? + 1))
    };
    let (Some((left, right)), Some(_)) = (pixels(&across), pixels(&down)) else {
        return vec![0; side * side];
    };
    let columns = rle.columns(left, right);
    // Down first: (pixel columns, side).
    let mut reduced = vec![0f32; (right - left) * side];
    for (column, out) in columns.chunks_exact(h).zip(reduced.chunks_exact_mut(side)) {
        for (cell, out) in down.iter().zip(out) {
            *out = cell.iter().map(|&(y, weight)| weight * f32::from(column[y])).sum();
        }
    }
    let mut grid = vec![0u8; side * side];
    for (x, cell) in across.iter().enumerate() {
        for y in 0..side {
            let mean: f32 = cell.iter().map(|&(i, weight)| weight * reduced[(i - left) * side + y]).sum();
            grid[y * side + x] = u8::from(mean >= 0.5);
        }
    }
    grid
}

/// For each of `cells` equal parts of [low, high]: the pixels its samples read and their weights, summing to 1
/// where all samples lie within a pixel of the image.
fn weights(low: f32, high: f32, cells: usize, pixels: usize) -> Vec<Vec<(usize, f32)>> {
    let start = low - 0.5;
    let cell = (high - low) / cells as f32;
    // Samples that reach far beyond the image count as zero; their number is bounded by what can reach a pixel.
    let samples = (cell.ceil().max(0.0) as usize).min(1 << 24);
    let step = cell / samples as f32;
    (0..cells)
        .map(|k| {
            let mut list: Vec<(usize, f32)> = Vec::new();
            let mut add = |i: usize, weight: f32| match list.last_mut() {
                Some((last, sum)) if *last == i => *sum += weight,
                _ => list.push((i, weight)),
            };
            for s in 0..samples {
                let at = start + k as f32 * cell + (s as f32 + 0.5) * step;
                if at < -1.0 || at > pixels as f32 || pixels == 0 {
                    continue;
                }
                let at = at.max(0.0);
                let i = (at as usize).min(pixels - 1);
                let t = if i + 1 < pixels { at - i as f32 } else { 0.0 };
                add(i, (1.0 - t) / samples as f32);
                if t > 0.0 {
                    add(i + 1, t / samples as f32);
                }
            }
            list
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disc(size: Size) -> Rle {
        let bitmap: Vec<u8> = (0..size.height)
            .flat_map(|y| {
                (0..size.width).map(move |x| {
                    let (dx, dy) = (x as f32 - 9.5, y as f32 - 7.5);
                    u8::from(dx * dx + 2.0 * dy * dy < 40.0)
                })
            })
            .collect();
        Rle::from_bitmap(size, &bitmap).unwrap()
    }

    /// RoIAlign sample by sample, in f64.
    fn reference(rle: &Rle, roi: [f32; 4], side: usize) -> Vec<f64> {
        let bitmap = rle.to_bitmap();
        let (h, w) = (rle.size().height as i64, rle.size().width as i64);
        let read = |y: f64, x: f64| {
            if y < -1.0 || y > h as f64 || x < -1.0 || x > w as f64 {
                return 0.0;
            }
            let (y, x) = (y.max(0.0).min((h - 1) as f64), x.max(0.0).min((w - 1) as f64));
            let (y0, x0) = (y.floor() as i64, x.floor() as i64);
            let mut sum = 0.0;
            for (j, wy) in [(y0, 1.0 - y.fract()), (y0 + 1, y.fract())] {
                for (i, wx) in [(x0, 1.0 - x.fract()), (x0 + 1, x.fract())] {
                    if wy * wx > 0.0 {
                        sum += wy * wx * f64::from(bitmap[(j * w + i) as usize]);
                    }
                }
            }
            sum
        };
        let [x0, y0, x1, y1] = roi.map(f64::from);
        let (cw, ch) = ((x1 - x0) / side as f64, (y1 - y0) / side as f64);
        let (nx, ny) = (cw.ceil() as usize, ch.ceil() as usize);
        let mut out = Vec::new();
        for cy in 0..side {
            for cx in 0..side {
                let mut sum = 0.0;
                for sy in 0..ny {
                    for sx in 0..nx {
                        let y = y0 - 0.5 + cy as f64 * ch + (sy as f64 + 0.5) * ch / ny as f64;
                        let x = x0 - 0.5 + cx as f64 * cw + (sx as f64 + 0.5) * cw / nx as f64;
                        sum += read(y, x);
                    }
                }
                out.push(sum / (nx * ny).max(1) as f64);
            }
        }
        out
    }

    #[test]
    fn pixels_map_to_themselves() {
        let bitmap = [0, 1, 1, 0, 0, 1, 1, 1, 0];
        let mask = Mask::Rle(Rle::from_bitmap(Size::new(3, 3), &bitmap).unwrap());
        assert_eq!(mask.crop_and_resize([0., 0., 3., 3.], 3), bitmap);
        assert_eq!(mask.crop_and_resize([1., 0., 3., 2.], 2), [1, 1, 0, 1]);
    }

    #[test]
    fn same_as_sample_by_sample() {
        let rle = disc(Size::new(16, 20));
        for roi in
            [[2.3, 1.1, 17.9, 14.2], [8.0, 7.0, 9.0, 8.0], [-30.0, -9.0, 50.0, 40.0], [9.1, 0.0, 9.4, 16.0]]
        {
            let expected = reference(&rle, roi, 28);
            let found = Mask::Rle(rle.clone()).crop_and_resize(roi, 28);
            for (i, (&found, &mean)) in found.iter().zip(&expected).enumerate() {
                assert!(
                    (mean - 0.5).abs() < 1e-5 || found == u8::from(mean >= 0.5),
                    "{roi:?} cell {i}: {mean}"
                );
            }
        }
    }

    #[test]
    fn boxes_without_pixels_give_empty_grids() {
        let mask = Mask::Rle(disc(Size::new(16, 20)));
        for roi in [[100., 100., 120., 120.], [5., 5., 5., 5.], [f32::NAN, 0., 1., 1.]] {
            assert_eq!(mask.crop_and_resize(roi, 14), vec![0; 14 * 14]);
        }
        let none = Mask::Rle(Rle::from_bitmap(Size::new(0, 0), &[]).unwrap());
        assert_eq!(none.crop_and_resize([0., 0., 1., 1.], 2), [0; 4]);
    }
}
