//! Axis-aligned boxes and their overlaps.
//!
//! # Shapes
//! N boxes `[x0, y0, x1, y1]` in pixels, x to the right, y down, (0, 0) the outer corner of the first pixel, x1 and y1
//! exclusive; overlaps with M others (N, M).

use ndarray::{Array2, Axis};
use rayon::prelude::*;

use crate::Size;
use crate::simd::vectorized;

/// A list of boxes. Coordinates may be anything a model can predict; [`Boxes::is_finite`] and
/// [`Boxes::is_nonempty`] tell which of them can be used.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Boxes(Vec<[f32; 4]>);

impl From<Vec<[f32; 4]>> for Boxes {
    fn from(boxes: Vec<[f32; 4]>) -> Self {
        Self(boxes)
    }
}

impl FromIterator<[f32; 4]> for Boxes {
    fn from_iter<I: IntoIterator<Item = [f32; 4]>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

impl Boxes {
    /// The boxes as a slice.
    pub fn as_slice(&self) -> &[[f32; 4]] {
        &self.0
    }

    /// Number of boxes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends a box.
    pub fn push(&mut self, corners: [f32; 4]) {
        self.0.push(corners);
    }

    /// The boxes at `indices`, in that order. Panics on an index out of range, as slices do.
    pub fn select(&self, indices: &[usize]) -> Self {
        indices.iter().map(|&i| self.0[i]).collect()
    }

    /// Area of box `i` in square pixels; negative sides give what the product gives.
    pub fn area(&self, i: usize) -> f32 {
        area(self.0[i])
    }

    /// Whether all four coordinates of box `i` are finite.
    pub fn is_finite(&self, i: usize) -> bool {
        self.0[i].iter().all(|c| c.is_finite())
    }

    /// Whether both sides of box `i` exceed `min_side` pixels (false where a coordinate is NaN).
    pub fn is_nonempty(&self, i: usize, min_side: f32) -> bool {
        let [x0, y0, x1, y1] = self.0[i];
        x1 - x0 > min_side && y1 - y0 > min_side
    }

    /// Moves every corner into the image. NaN stays NaN.
    pub fn clip(&mut self, image: Size) {
        for b in &mut self.0 {
            *b = clip(*b, image);
        }
    }

    /// Multiplies x by `sx` and y by `sy`.
    pub fn scale(&mut self, sx: f32, sy: f32) {
        for [x0, y0, x1, y1] in &mut self.0 {
            (*x0, *y0, *x1, *y1) = (*x0 * sx, *y0 * sy, *x1 * sx, *y1 * sy);
        }
    }

    /// Intersection over union of each of these boxes with each of `others`, (N, M). The table takes
    /// `4 * len * others.len()` bytes; where that may be much, [`BoxColumns::iou_into`] gives one row at a time.
    pub fn iou(&self, others: &Boxes) -> Array2<f32> {
        let columns = BoxColumns::new(&others.0);
        let mut table = Array2::zeros((self.len(), others.len()));
        table.axis_iter_mut(Axis(0)).into_par_iter().zip(&self.0).for_each(|(mut row, &b)| {
            if let Some(row) = row.as_slice_mut() {
                vectorized(|| columns.iou_into(b, row));
            }
        });
        table
    }
}

/// Boxes laid out by column, for overlap tests that run along many boxes at once.
#[derive(Debug, Clone, Default)]
pub struct BoxColumns {
    x0: Vec<f32>,
    y0: Vec<f32>,
    x1: Vec<f32>,
    y1: Vec<f32>,
    area: Vec<f32>,
}

impl BoxColumns {
    /// Lays out `boxes`.
    pub fn new(boxes: &[[f32; 4]]) -> Self {
        let column = |k: usize| boxes.iter().map(|b| b[k]).collect();
        Self {
            x0: column(0),
            y0: column(1),
            x1: column(2),
            y1: column(3),
            area: boxes.iter().map(|&b| area(b)).collect(),
        }
    }

    /// IoU of `b` with each box, into `out` (its length: at most the number of boxes). Where nothing is shared, or
    /// a coordinate is NaN, the IoU is 0. Inlined, so that a caller's SIMD dispatch covers it.
    #[inline(always)]
    pub fn iou_into(&self, b: [f32; 4], out: &mut [f32]) {
        let n = out.len();
        let [x0, y0, x1, y1, areas] =
            [&self.x0, &self.y0, &self.x1, &self.y1, &self.area].map(|column| &column[..n]);
        let own = area(b);
        for j in 0..n {
            let w = lesser(b[2], x1[j]) - greater(b[0], x0[j]);
            let h = lesser(b[3], y1[j]) - greater(b[1], y0[j]);
            let shared = if w > 0.0 { w } else { 0.0 } * if h > 0.0 { h } else { 0.0 };
            let iou = shared / (own + areas[j] - shared);
            // Also turns 0/0 and NaN into 0.
            out[j] = if iou > 0.0 { iou } else { 0.0 };
        }
    }
}

/// Width times height.
pub fn area([x0, y0, x1, y1]: [f32; 4]) -> f32 {
    (x1 - x0) * (y1 - y0)
}

/// `b` with its corners moved into the image.
pub fn clip([x0, y0, x1, y1]: [f32; 4], image: Size) -> [f32; 4] {
    let (w, h) = (image.width as f32, image.height as f32);
    [x0.clamp(0.0, w), y0.clamp(0.0, h), x1.clamp(0.0, w), y1.clamp(0.0, h)]
}

#[inline(always)]
fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn lesser(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn iou_by_hand() {
        let a = Boxes::from(vec![[0., 0., 10., 10.], [0., 0., 0., 0.]]);
        let b = Boxes::from(vec![[5., 0., 15., 10.], [10., 10., 12., 12.], [0., 0., 10., 5.]]);
        let iou = a.iou(&b);
        assert_eq!(iou, array![[50.0 / 150.0, 0.0, 0.5], [0.0; 3]]);
        assert_eq!(a.iou(&Boxes::default()).dim(), (2, 0));
    }

    #[test]
    fn nan_overlaps_nothing() {
        let a = Boxes::from(vec![[0., 0., f32::NAN, 10.]]);
        let b = Boxes::from(vec![[5., 0., 15., 10.]]);
        assert_eq!(a.iou(&b), array![[0.0]]);
        assert_eq!(b.iou(&a), array![[0.0]]);
        assert!(!a.is_finite(0) && !a.is_nonempty(0, 0.0));
    }

    #[test]
    fn clip_and_scale() {
        let mut b = Boxes::from(vec![[-5., 2., 20., 7.], [30., 30., 40., 40.]]);
        b.clip(Size::new(6, 10));
        assert_eq!(b.as_slice(), [[0., 2., 10., 6.], [10., 6., 10., 6.]]);
        assert!(b.is_nonempty(0, 0.0) && !b.is_nonempty(1, 0.0));
        assert_eq!(b.area(0), 40.0);
        b.scale(2.0, 0.5);
        assert_eq!(b.as_slice()[0], [0., 1., 20., 3.]);
    }
}
