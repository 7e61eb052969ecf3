//! Bilinear resizing of class scores, a row at a time (sample centres at half pixels, edges repeated).
//!
//! # Shapes
//! C classes; rows (C, source width) in, (C, target width) out.

use kat_images::simd::vectorized;
use rayon::prelude::*;

use super::LogitRows;
use kat_images::Size;

/// Rows of another size.
pub struct ResizedRows<S> {
    source: S,
    size: Size,
    /// The last two source rows, row i at i modulo 2, and how many have been taken.
    recent: [Vec<f32>; 2],
    taken: usize,
    /// For each target column: source columns and the weight of the second.
    columns: Vec<Sample>,
    row: Vec<f32>,
    next_row: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Sample {
    first: usize,
    second: usize,
    weight: f32,
}

impl Sample {
    fn new(target: usize, to: usize, from: usize) -> Self {
        let scale = from as f64 / to as f64;
        let at = ((target as f64 + 0.5) * scale - 0.5).max(0.0);
        let first = (at as usize).min(from - 1);
        Self { first, second: (first + 1).min(from - 1), weight: (at - first as f64) as f32 }
    }
}

impl<S: LogitRows> ResizedRows<S> {
    /// Brings the rows of `source` to `size`. A size without pixels gives no rows.
    pub fn new(source: S, size: Size) -> Self {
        let from = source.size();
        let pixels = from.area() > 0 && size.area() > 0;
        let size = if pixels { size } else { Size::new(0, size.width) };
        let columns = if pixels { size.width } else { 0 };
        Self {
            size,
            recent: [Vec::new(), Vec::new()],
            taken: 0,
            columns: (0..columns).map(|x| Sample::new(x, size.width, from.width)).collect(),
            row: vec![0.0; source.classes() * columns],
            next_row: 0,
            source,
        }
    }
}

impl<S: LogitRows> LogitRows for ResizedRows<S> {
    type Error = S::Error;

    fn classes(&self) -> usize {
        self.source.classes()
    }

    fn size(&self) -> Size {
        self.size
    }

    fn next_row(&mut self) -> Result<Option<&[f32]>, S::Error> {
        if self.next_row >= self.size.height {
            return Ok(None);
        }
        let from = self.source.size();
        let sample = Sample::new(self.next_row, self.size.height, from.height);
        while self.taken <= sample.second {
            let Some(row) = self.source.next_row()? else { return Ok(None) };
            let slot = &mut self.recent[self.taken % 2];
            slot.clear();
            slot.extend_from_slice(row);
            self.taken += 1;
        }
        let above = &self.recent[sample.first % 2];
        let below = &self.recent[sample.second % 2];
        let (width, columns) = (from.width, &self.columns);
        self.row.par_chunks_mut(columns.len()).enumerate().with_min_len(8).for_each_init(
            || vec![0f32; width],
            |blend, (class, out)| {
                let above = &above[class * width..][..width];
                let below = &below[class * width..][..width];
                vectorized(|| {
                    for ((blend, &a), &b) in blend.iter_mut().zip(above).zip(below) {
                        *blend = a + sample.weight * (b - a);
                    }
                    for (out, c) in out.iter_mut().zip(columns) {
                        let a = blend[c.first];
                        *out = a + c.weight * (blend[c.second] - a);
                    }
                });
            },
        );
        self.next_row += 1;
        Ok(Some(&self.row))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use kat_backbone::Error;

    /// Rows of a (C, height, width) array in memory.
    pub(crate) struct Held {
        pub(crate) data: Vec<f32>,
        pub(crate) classes: usize,
        pub(crate) size: Size,
        pub(crate) next: usize,
        pub(crate) row: Vec<f32>,
    }

    impl Held {
        pub(crate) fn new(classes: usize, size: Size, data: Vec<f32>) -> Self {
            assert_eq!(data.len(), classes * size.area());
            Self { data, classes, size, next: 0, row: Vec::new() }
        }
    }

    impl LogitRows for Held {
        type Error = Error;

        fn classes(&self) -> usize {
            self.classes
        }

        fn size(&self) -> Size {
            self.size
        }

        fn next_row(&mut self) -> Result<Option<&[f32]>, Error> {
            let (h, w) = (self.size.height, self.size.width);
            if self.next == h {
                return Ok(None);
            }
            let at = |class: usize| (class * h + self.next) * w;
            self.row = (0..self.classes).flat_map(|c| self.data[at(c)..at(c) + w].to_vec()).collect();
            self.next += 1;
            Ok(Some(&self.row))
        }
    }

    fn ramp(classes: usize, size: Size) -> Vec<f32> {
        (0..classes * size.area()).map(|i| ((i * 37) % 101) as f32 * 0.1).collect()
    }

    #[test]
    fn doubling_by_hand() {
        // 0 4 becomes 0 1 3 4: samples at -0.25 (edge), 0.25, 0.75, 1.25 (edge).
        let mut rows = ResizedRows::new(Held::new(1, Size::new(1, 2), vec![0.0, 4.0]), Size::new(2, 4));
        assert_eq!(rows.next_row().unwrap().unwrap(), [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(rows.next_row().unwrap().unwrap(), [0.0, 1.0, 3.0, 4.0]);
        assert!(rows.next_row().unwrap().is_none());
    }

    #[test]
    fn agrees_with_every_pixel_in_turn() {
        let from = Size::new(7, 9);
        for to in [Size::new(7, 9), Size::new(20, 31), Size::new(3, 4), Size::new(1, 50)] {
            let data = ramp(3, from);
            let mut rows = ResizedRows::new(Held::new(3, from, data.clone()), to);
            for y in 0..to.height {
                let row = rows.next_row().unwrap().unwrap().to_vec();
                for (i, &found) in row.iter().enumerate() {
                    let (class, x) = (i / to.width, i % to.width);
                    let place = |d: f64, to: usize, from: usize| {
                        let at = (d + 0.5) * from as f64 / to as f64 - 0.5;
                        at.clamp(0.0, (from - 1) as f64)
                    };
                    let (sy, sx) =
                        (place(y as f64, to.height, from.height), place(x as f64, to.width, from.width));
                    let mut expected = 0.0;
                    for j in 0..from.height {
                        for i in 0..from.width {
                            let weight = (1.0 - (sy - j as f64).abs()).max(0.0)
                                * (1.0 - (sx - i as f64).abs()).max(0.0);
                            let at = class * from.area() + j * from.width + i;
                            expected += weight * f64::from(data[at]);
                        }
                    }
                    assert!((f64::from(found) - expected).abs() < 1e-5, "{to:?} row {y} entry {i}");
                }
            }
            assert!(rows.next_row().unwrap().is_none());
        }
    }

    #[test]
    fn no_pixels_no_rows() {
        let held = || Held::new(2, Size::new(2, 2), ramp(2, Size::new(2, 2)));
        assert!(ResizedRows::new(held(), Size::new(0, 5)).next_row().unwrap().is_none());
        assert!(ResizedRows::new(held(), Size::new(5, 0)).next_row().unwrap().is_none());
    }
}
