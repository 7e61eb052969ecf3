//! Inference by overlapping windows; where windows overlap their scores are averaged.
//!
//! Along an axis of length n, windows of length w start every s pixels, max(n − w + s − 1, 0) / s + 1 of them
//! (rounded down), the last moved back to end at n; an image shorter than a window is one window.
//!
//! # Shapes
//! C classes; window scores (C, height, width); strip (window height, C, image width).

use kat_images::simd::vectorized;
use rayon::prelude::*;

use super::LogitRows;
use crate::checks::{same_length, value};
use kat_backbone::Error;
use kat_images::Size;

/// A part of the image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First column.
    pub x: usize,
    /// First row.
    pub y: usize,
    /// Rows and columns.
    pub size: Size,
}

/// The windows that cover an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowGrid {
    image: Size,
    window: Size,
    xs: Vec<usize>,
    ys: Vec<usize>,
}

impl WindowGrid {
    /// Windows of `crop` by `crop` pixels, or of the image's side where that is shorter, every `stride` pixels.
    ///
    /// # Errors
    /// An image without pixels, or a stride that is 0 or longer than a window (it would leave gaps).
    pub fn sliding(image: Size, crop: usize, stride: usize) -> Result<Self, Error> {
        if image.area() == 0 {
            return Err(value("image size", image, "at least one pixel"));
        }
        if stride == 0 || stride > crop {
            return Err(value("window crop and stride", (crop, stride), "0 < stride <= crop"));
        }
        let window = Size::new(crop.min(image.height), crop.min(image.width));
        let xs = starts(image.width, window.width, stride);
        let ys = starts(image.height, window.height, stride);
        Ok(Self { image, window, xs, ys })
    }

    /// The whole image as one window.
    ///
    /// # Errors
    /// An image without pixels.
    pub fn whole(image: Size) -> Result<Self, Error> {
        let side = image.height.max(image.width).max(1);
        Self::sliding(image, side, side)
    }

    /// Number of windows.
    pub fn len(&self) -> usize {
        self.xs.len() * self.ys.len()
    }

    /// Whether there is none; there is always one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The windows in the order they are asked for: along a row of windows, then the next row.
    pub fn windows(&self) -> impl Iterator<Item = Window> + '_ {
        self.ys.iter().flat_map(move |&y| self.xs.iter().map(move |&x| Window { x, y, size: self.window }))
    }
}

fn starts(length: usize, window: usize, stride: usize) -> Vec<usize> {
    let last = length - window;
    let count = last.div_ceil(stride) + 1;
    (0..count).map(|i| (i * stride).min(last)).collect()
}

/// How many windows that start at `starts` cover each of `length` positions.
fn cover(starts: &[usize], window: usize, length: usize) -> Vec<f32> {
    let mut count = vec![0f32; length];
    for &start in starts {
        count[start..start + window].iter_mut().for_each(|c| *c += 1.0);
    }
    count
}

/// Rows of averaged window scores. `predict` is called once a window, in the order of
/// [`WindowGrid::windows`], when the first row that needs it is asked for.
pub struct SlidingRows<P> {
    grid: WindowGrid,
    classes: usize,
    predict: P,
    /// Sums of the rows that windows asked for so far reach: row y at slot y modulo the window's height.
    strip: Vec<f32>,
    cover_x: Vec<f32>,
    cover_y: Vec<f32>,
    /// The row handed out.
    row: Vec<f32>,
    next_row: usize,
    next_window_row: usize,
}

impl<P, E> SlidingRows<P>
where
    P: FnMut(Window) -> Result<Vec<f32>, E>,
    E: From<Error>,
{
    /// Prepares to run `predict`, which gives the (C, height, width) scores of a window, over `grid`.
    ///
    /// # Errors
    /// No class.
    pub fn new(grid: WindowGrid, classes: usize, predict: P) -> Result<Self, Error> {
        if classes == 0 {
            return Err(value("number of classes", classes, "at least 1"));
        }
        let (image, window) = (grid.image, grid.window);
        Ok(Self {
            strip: vec![0.0; Self::strip_bytes(&grid, classes) / size_of::<f32>()],
            cover_x: cover(&grid.xs, window.width, image.width),
            cover_y: cover(&grid.ys, window.height, image.height),
            row: vec![0.0; classes * image.width],
            next_row: 0,
            next_window_row: 0,
            grid,
            classes,
            predict,
        })
    }

    /// Bytes of the strip of sums for `grid`: window height × classes × image width × 4.
    pub fn strip_bytes(grid: &WindowGrid, classes: usize) -> usize {
        grid.window.height * classes * grid.image.width * size_of::<f32>()
    }

    /// Adds the scores of the next row of windows to the strip.
    fn run_windows(&mut self) -> Result<(), E> {
        let y = self.grid.ys[self.next_window_row];
        let size = self.grid.window;
        let (height, width) = (size.height, size.width);
        let image_width = self.grid.image.width;
        let classes = self.classes;
        for &x in &self.grid.xs {
            let scores = (self.predict)(Window { x, y, size })?;
            same_length("window scores", scores.len(), classes * height * width)?;
            self.strip.par_chunks_mut(classes * image_width).enumerate().for_each(|(slot, sums)| {
                // The row of the window that this slot holds.
                let row = (slot + height - y % height) % height;
                vectorized(|| {
                    for (class, sums) in sums.chunks_exact_mut(image_width).enumerate() {
                        let from = &scores[(class * height + row) * width..][..width];
                        for (sum, &score) in sums[x..x + width].iter_mut().zip(from) {
                            *sum += score;
                        }
                    }
                });
            });
        }
        self.next_window_row += 1;
        Ok(())
    }
}

impl<P, E> LogitRows for SlidingRows<P>
where
    P: FnMut(Window) -> Result<Vec<f32>, E>,
    E: From<Error>,
{
    type Error = E;

    fn classes(&self) -> usize {
        self.classes
    }

    fn size(&self) -> Size {
        self.grid.image
    }

    fn next_row(&mut self) -> Result<Option<&[f32]>, E> {
        let y = self.next_row;
        let Some(&rows) = self.cover_y.get(y) else { return Ok(None) };
        // A row of windows is run when its first row is due: everything above it has left the strip.
        while self.grid.ys.get(self.next_window_row).is_some_and(|&start| start <= y) {
            self.run_windows()?;
        }
        let width = self.grid.image.width;
        let slot = y % self.grid.window.height;
        let sums = &mut self.strip[slot * self.row.len()..][..self.row.len()];
        for (row, sums) in self.row.chunks_exact_mut(width).zip(sums.chunks_exact_mut(width)) {
            for ((out, sum), &columns) in row.iter_mut().zip(sums).zip(&self.cover_x) {
                *out = *sum / (rows * columns);
                *sum = 0.0;
            }
        }
        self.next_row += 1;
        Ok(Some(&self.row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(h: usize, w: usize, crop: usize, stride: usize) -> WindowGrid {
        WindowGrid::sliding(Size::new(h, w), crop, stride).unwrap()
    }

    /// A score for a class at a pixel of a window: differs from window to window.
    fn score(window: Window, class: usize, y: usize, x: usize) -> f32 {
        (window.x * 3 + window.y * 7) as f32 + class as f32 * 0.5 + (y * 11 + x * 5) as f32 * 0.01
    }

    fn predict(window: Window) -> Result<Vec<f32>, Error> {
        let mut out = Vec::new();
        for class in 0..3 {
            for y in 0..window.size.height {
                out.extend((0..window.size.width).map(|x| score(window, class, y, x)));
            }
        }
        Ok(out)
    }

    fn all_rows(grid: WindowGrid) -> Vec<Vec<f32>> {
        let mut rows = SlidingRows::new(grid, 3, predict).unwrap();
        let mut out = Vec::new();
        while let Some(row) = rows.next_row().unwrap() {
            out.push(row.to_vec());
        }
        out
    }

    #[test]
    fn positions_by_hand() {
        // (1000 - 512 + 340) / 341 + 1 = 3 across: 0, 341, 488; 512 high: one.
        let g = grid(512, 1000, 512, 341);
        assert_eq!((g.xs.as_slice(), g.ys.as_slice()), ([0, 341, 488].as_slice(), [0].as_slice()));
        // Exactly one stride more than a window: two.
        assert_eq!(grid(853, 853, 512, 341).ys, [0, 341]);
        // Smaller than a window.
        let g = grid(1, 300, 512, 341);
        assert_eq!(g.windows().collect::<Vec<_>>(), [Window { x: 0, y: 0, size: Size::new(1, 300) }]);
        assert_eq!(grid(4000, 6000, 512, 341).len(), 12 * 18);
    }

    #[test]
    fn one_window_is_the_whole_image() {
        let whole = all_rows(WindowGrid::whole(Size::new(9, 13)).unwrap());
        let window = Window { x: 0, y: 0, size: Size::new(9, 13) };
        for (y, row) in whole.iter().enumerate() {
            for (i, &v) in row.iter().enumerate() {
                assert_eq!(v, score(window, i / 13, y, i % 13));
            }
        }
        assert_eq!(whole, all_rows(grid(9, 13, 64, 20)));
    }

    #[test]
    fn overlaps_are_averaged_by_count() {
        for (h, w, crop, stride) in
            [(23, 31, 8, 5), (16, 16, 8, 8), (40, 9, 8, 3), (9, 40, 8, 7), (3, 20, 8, 2)]
        {
            let g = grid(h, w, crop, stride);
            let rows = all_rows(g.clone());
            assert_eq!(rows.len(), h);
            for (y, row) in rows.iter().enumerate() {
                for x in 0..w {
                    for class in 0..3 {
                        let over: Vec<f64> = g
                            .windows()
                            .filter(|v| (v.x..v.x + v.size.width).contains(&x))
                            .filter(|v| (v.y..v.y + v.size.height).contains(&y))
                            .map(|v| f64::from(score(v, class, y - v.y, x - v.x)))
                            .collect();
                        let expected = over.iter().sum::<f64>() / over.len() as f64;
                        let found = f64::from(row[class * w + x]);
                        assert!((found - expected).abs() < 1e-3, "({y}, {x}) class {class}");
                    }
                }
            }
        }
    }

    #[test]
    fn memory_of_a_large_image() {
        let g = grid(4000, 6000, 512, 341);
        let bytes = SlidingRows::<fn(Window) -> Result<Vec<f32>, Error>>::strip_bytes(&g, 150);
        assert_eq!(bytes, 512 * 150 * 6000 * 4);
        assert!(bytes < 2 << 30);
    }

    #[test]
    fn misuse_is_an_error() {
        let image = Size::new(10, 10);
        assert!(WindowGrid::sliding(Size::new(0, 4), 8, 4).is_err());
        assert!(WindowGrid::sliding(image, 8, 0).is_err());
        assert!(WindowGrid::sliding(image, 8, 9).is_err());
        let whole = WindowGrid::whole(image).unwrap();
        assert!(SlidingRows::new(whole.clone(), 0, predict).is_err());
        let mut short = SlidingRows::new(whole, 3, |_| Ok::<_, Error>(vec![0.0; 5])).unwrap();
        let error = short.next_row().unwrap_err();
        assert_eq!(error.to_string(), "window scores: found 5 entries, expected 300");
    }
}
