//! A mask on a small grid over its box, brought to the picture's pixels.
//!
//! A pixel is inside where the bilinear interpolation of the grid at the pixel's centre reaches one half; beyond the
//! grid the probability is 0. The result is made column by column as run lengths, so that no bitmap is held: 100
//! masks of a 24-megapixel picture would take 2.4 GB. Down a column the interpolation is linear between two grid
//! rows; where both ends are on the same side of one half the whole stretch is one run.
//!
//! # Shapes
//! Grid (side, side), row-major, probabilities.

use kat_images::rle::Runs;
use kat_images::{Rle, Size};

const HALF: f32 = 0.5;

/// The mask of an `image`-sized picture from `grid` over `roi` (in the picture's pixels). A box that is not finite,
/// has no area or lies outside gives an empty mask; a NaN in the grid counts as outside.
pub fn paste_mask(grid: &[f32], side: usize, roi: [f32; 4], image: Size) -> Rle {
    let mut runs = Runs::default();
    let across = Axis::new(roi[0], roi[2], side, image.width);
    let down = Axis::new(roi[1], roi[3], side, image.height);
    let (Some(across), Some(down)) = (across, down) else {
        return runs.finish(image);
    };
    let stretches = down.stretches();
    let cell = |y: usize, x: isize| match usize::try_from(x) {
        Ok(x) if x < side => grid[y * side + x],
        _ => 0.0,
    };
    runs.push(false, across.first * image.height);
    // The grid's values down the picture's column, with the zeros beyond either end.
    let mut values = vec![0f32; side + 2];
    for column in across.first..across.end {
        let (left, t) = across.place(column);
        for (y, value) in values[1..=side].iter_mut().enumerate() {
            let (a, b) = (cell(y, left), cell(y, left + 1));
            *value = a + t * (b - a);
        }
        runs.push(false, down.first);
        for (k, &(from, to)) in stretches.iter().enumerate() {
            let (a, b) = (values[k], values[k + 1]);
            if (a >= HALF) == (b >= HALF) {
                runs.push(a >= HALF, to - from);
            } else {
                for row in from..to {
                    runs.push(a + down.place(row).1 * (b - a) >= HALF, 1);
                }
            }
        }
        runs.push(false, image.height - down.end);
    }
    runs.finish(image)
}

/// One side of the box laid over the picture's pixels.
struct Axis {
    low: f32,
    /// Grid cells a pixel.
    rate: f32,
    side: usize,
    /// The pixels within reach of the grid.
    first: usize,
    end: usize,
}

impl Axis {
    fn new(low: f32, high: f32, side: usize, pixels: usize) -> Option<Self> {
        if !(low.is_finite() && high.is_finite() && high > low) {
            return None;
        }
        let rate = side as f32 / (high - low);
        // The interpolation reaches half a cell beyond the box.
        let reach = 0.5 / rate;
        let first = (low - reach - 0.5).ceil().clamp(0.0, pixels as f32) as usize;
        let end = (high + reach - 0.5).floor().clamp(-1.0, pixels as f32 - 1.0) + 1.0;
        let axis = Self { low, rate, side, first, end: end as usize };
        (rate.is_finite() && axis.first < axis.end).then_some(axis)
    }

    /// Grid cell before the pixel's centre (-1: before the first), and how far on towards the next.
    #[inline]
    fn place(&self, pixel: usize) -> (isize, f32) {
        let at = (pixel as f32 + 0.5 - self.low) * self.rate - 0.5;
        // Rounding must not carry a pixel beyond the zeros at either end.
        let cell = at.floor().clamp(-1.0, self.side as f32 - 1.0);
        (cell as isize, (at - cell).clamp(0.0, 1.0))
    }

    /// For each pair of neighbouring grid rows (the zeros beyond either end included) the pixels between them.
    fn stretches(&self) -> Vec<(usize, usize)> {
        let mut next = self.first;
        (0..=self.side)
            .map(|k| {
                let from = next;
                while next < self.end && self.place(next).0 < k as isize {
                    next += 1;
                }
                (from, next)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// The interpolated probability at every pixel, in f64.
    fn reference(grid: &[f32], side: usize, roi: [f32; 4], image: Size) -> Vec<f64> {
        let [x0, y0, x1, y1] = roi.map(f64::from);
        let read = |y: i64, x: i64| {
            let n = side as i64;
            if (0..n).contains(&y) && (0..n).contains(&x) {
                f64::from(grid[(y * n + x) as usize])
            } else {
                0.0
            }
        };
        let mut out = Vec::new();
        for row in 0..image.height {
            for column in 0..image.width {
                let y = (row as f64 + 0.5 - y0) / (y1 - y0) * side as f64 - 0.5;
                let x = (column as f64 + 0.5 - x0) / (x1 - x0) * side as f64 - 0.5;
                let (j, i, ty, tx) = (y.floor() as i64, x.floor() as i64, y - y.floor(), x - x.floor());
                let top = read(j, i) * (1.0 - tx) + read(j, i + 1) * tx;
                let bottom = read(j + 1, i) * (1.0 - tx) + read(j + 1, i + 1) * tx;
                out.push(top * (1.0 - ty) + bottom * ty);
            }
        }
        out
    }

    #[test]
    fn one_cell_a_pixel() {
        let grid = [0.9, 0.1, 0.2, 0.8];
        let rle = paste_mask(&grid, 2, [1., 1., 3., 3.], Size::new(4, 5));
        let expected = [[0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0; 5]].concat();
        assert_eq!(rle.to_bitmap(), expected);
    }

    #[test]
    fn agrees_with_every_pixel_in_turn() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let image = Size::new(40, 50);
        for case in 0..300 {
            let side = [1, 5, 28][case % 3];
            // Blocks of certain inside and outside with noise between, as masks have.
            let grid: Vec<f32> =
                (0..side * side).map(|_| (rng.random_range(-0.5..1.5f32)).clamp(0.0, 1.0)).collect();
            let (x, y) = (rng.random_range(-20.0..45f32), rng.random_range(-20.0..35f32));
            let roi = [x, y, x + rng.random_range(0.2..70f32), y + rng.random_range(0.2..70f32)];
            let found = paste_mask(&grid, side, roi, image).to_bitmap();
            for (i, (&found, &p)) in found.iter().zip(&reference(&grid, side, roi, image)).enumerate() {
                assert!(
                    (p - 0.5).abs() < 1e-4 || (found == 1) == (p >= 0.5),
                    "{case} {roi:?} pixel {i}: {p}"
                );
            }
        }
    }

    #[test]
    fn certain_masks_fill_their_box() {
        let rle = paste_mask(&[1.0; 784], 28, [3., 2., 8., 7.], Size::new(10, 10));
        assert_eq!(rle.area(), 25);
        let all = paste_mask(&[1.0; 784], 28, [-1e4, -1e4, 1e4, 1e4], Size::new(10, 10));
        assert_eq!(all.counts(), [0, 100]);
    }

    #[test]
    fn useless_boxes_give_empty_masks() {
        let image = Size::new(10, 10);
        for roi in [
            [f32::NAN, 0., 1., 1.],
            [2., 2., 2., 5.],
            [5., 5., 2., 2.],
            [20., 20., 30., 30.],
            [-9., -9., -3., -3.],
            [0., 0., f32::INFINITY, 4.],
            [0., 0., f32::MIN_POSITIVE, 4.],
        ] {
            assert_eq!(paste_mask(&[1.0; 16], 4, roi, image).area(), 0, "{roi:?}");
        }
        assert_eq!(paste_mask(&[f32::NAN; 16], 4, [0., 0., 9., 9.], image).area(), 0);
        assert_eq!(paste_mask(&[1.0; 16], 4, [0., 0., 9., 9.], Size::new(0, 0)).area(), 0);
    }
}
