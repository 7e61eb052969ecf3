//! Averaging over scales and flips, and labels from scores.
//!
//! Each view of the picture (a scale, mirrored or not) gives class probabilities by softmax; their mean over the
//! views decides.
//!
//! # Shapes
//! C classes; rows (C, width).

use kat_backbone::cpu::simd::{exp, vectorized};
use rayon::prelude::*;

use super::LogitRows;
use crate::checks::{same_length, value};
use kat_backbone::Error;
use kat_images::Size;

/// Pixels a task.
const PIECE: usize = 512;

/// Whether a view shows the picture mirrored left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flip {
    /// As it is.
    None,
    /// Mirrored: its rows are read backwards.
    Horizontal,
}

/// Rows of mean class probabilities over several views, which must have the same size and classes.
pub struct AveragedViews<S> {
    views: Vec<(S, Flip)>,
    size: Size,
    classes: usize,
    row: Vec<f32>,
}

impl<S: LogitRows> AveragedViews<S> {
    /// Joins the views, each already brought to the picture's size.
    ///
    /// # Errors
    /// No view, or views that differ in size or classes.
    pub fn new(views: Vec<(S, Flip)>) -> Result<Self, Error> {
        let Some((first, _)) = views.first() else {
            return Err(value("number of views", 0, "at least 1"));
        };
        let (size, classes) = (first.size(), first.classes());
        for (view, _) in &views {
            same_length("classes of a view", view.classes(), classes)?;
            if view.size() != size {
                return Err(value("size of a view", view.size(), "the size of the first view"));
            }
        }
        Ok(Self { views, size, classes, row: vec![0.0; classes * size.width] })
    }
}

impl<S: LogitRows> LogitRows for AveragedViews<S> {
    type Error = S::Error;

    fn classes(&self) -> usize {
        self.classes
    }

    fn size(&self) -> Size {
        self.size
    }

    fn next_row(&mut self) -> Result<Option<&[f32]>, S::Error> {
        let width = self.size.width;
        self.row.fill(0.0);
        let share = 1.0 / self.views.len() as f32;
        for (view, flip) in &mut self.views {
            let Some(logits) = view.next_row()? else { return Ok(None) };
            let probabilities = softmax(logits, width);
            for (sums, values) in
                self.row.chunks_exact_mut(width.max(1)).zip(probabilities.chunks_exact(width.max(1)))
            {
                match flip {
                    Flip::None => sums.iter_mut().zip(values).for_each(|(s, &v)| *s += share * v),
                    Flip::Horizontal => {
                        sums.iter_mut().zip(values.iter().rev()).for_each(|(s, &v)| *s += share * v)
                    }
                }
            }
        }
        Ok(Some(&self.row))
    }
}

/// Softmax over the classes at each pixel of a (C, width) row.
fn softmax(logits: &[f32], width: usize) -> Vec<f32> {
    let mut out = logits.to_vec();
    let mut top = vec![f32::NEG_INFINITY; width];
    for row in logits.chunks_exact(width.max(1)) {
        top.iter_mut().zip(row).for_each(|(top, &v)| *top = top.max(v));
    }
    out.par_chunks_mut(width.max(1))
        .for_each(|row| vectorized(|| row.iter_mut().zip(&top).for_each(|(v, &top)| *v = exp(*v - top))));
    let mut sum = vec![0f32; width];
    for row in out.chunks_exact(width.max(1)) {
        sum.iter_mut().zip(row).for_each(|(sum, &v)| *sum += v);
    }
    out.par_chunks_mut(width.max(1)).for_each(|row| row.iter_mut().zip(&sum).for_each(|(v, &sum)| *v /= sum));
    out
}

/// The class of each pixel, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMap {
    /// Size of the picture.
    pub size: Size,
    /// Class indices.
    pub labels: Vec<u16>,
}

/// The best-scored class of each pixel; of equals the first. A NaN never wins; where all are NaN the class is 0.
///
/// # Errors
/// Those of the rows; more classes than a label holds (65,536).
pub fn argmax<S>(mut rows: S) -> Result<LabelMap, S::Error>
where
    S: LogitRows,
    S::Error: From<Error>,
{
    let (size, classes) = (rows.size(), rows.classes());
    if classes > 1 << 16 {
        return Err(value("number of classes", classes, "at most 65536").into());
    }
    let width = size.width;
    let mut labels = vec![0u16; size.area()];
    for labels in labels.chunks_exact_mut(width.max(1)) {
        let Some(row) = rows.next_row()? else { break };
        labels.par_chunks_mut(PIECE).enumerate().for_each(|(piece, labels)| {
            vectorized(|| best_class(row, width, piece * PIECE, labels));
        });
    }
    Ok(LabelMap { size, labels })
}

/// The best class at the pixels from column `from` on.
#[inline(always)]
fn best_class(row: &[f32], width: usize, from: usize, labels: &mut [u16]) {
    let mut best = [f32::NEG_INFINITY; PIECE];
    for (class, scores) in row.chunks_exact(width).enumerate() {
        let scores = &scores[from..from + labels.len()];
        for ((label, best), &score) in labels.iter_mut().zip(&mut best).zip(scores) {
            let better = score > *best;
            *best = if better { score } else { *best };
            *label = if better { class as u16 } else { *label };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resized::tests::Held;

    fn held(classes: usize, h: usize, w: usize, data: &[f32]) -> Held {
        Held::new(classes, Size::new(h, w), data.to_vec())
    }

    #[test]
    fn labels_by_hand() {
        let nan = f32::NAN;
        // Columns: class 1 best; a tie; NaN beside a number; all NaN.
        let map = argmax(held(2, 1, 4, &[0., 3., nan, nan, /**/ 1., 3., -5., nan])).unwrap();
        assert_eq!(map.labels, [1, 0, 1, 0]);
        // Longer than one piece.
        let data: Vec<f32> = (0..3 * 2000).map(|i| ((i * 7919) % 1009) as f32).collect();
        let map = argmax(held(3, 1, 2000, &data)).unwrap();
        for (x, &label) in map.labels.iter().enumerate() {
            let best = (0..3).fold(0, |b, c| if data[c * 2000 + x] > data[b * 2000 + x] { c } else { b });
            assert_eq!(label as usize, best);
        }
    }

    #[test]
    fn probabilities_are_averaged() {
        // Softmax of (0, ln 3) is (1/4, 3/4). The mirrored view is read backwards.
        let l3 = 3f32.ln();
        let a = held(2, 1, 2, &[0., 0., l3, 0.]);
        let b = held(2, 1, 2, &[0., l3, 0., 0.]);
        let mut views = AveragedViews::new(vec![(a, Flip::None), (b, Flip::Horizontal)]).unwrap();
        let row = views.next_row().unwrap().unwrap();
        let expected = [(0.25 + 0.75) / 2.0, 0.5, (0.75 + 0.25) / 2.0, 0.5];
        assert!(row.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{row:?}");
        assert!(views.next_row().unwrap().is_none());
    }

    #[test]
    fn a_view_and_its_mirror_image_agree() {
        let data: Vec<f32> = (0..3 * 5 * 7).map(|i| ((i * 31) % 17) as f32 * 0.3).collect();
        let mirrored: Vec<f32> = data.chunks(7).flat_map(|row| row.iter().rev().copied()).collect();
        let plain = argmax(held(3, 5, 7, &data)).unwrap();
        let views = vec![(held(3, 5, 7, &data), Flip::None), (held(3, 5, 7, &mirrored), Flip::Horizontal)];
        assert_eq!(argmax(AveragedViews::new(views).unwrap()).unwrap(), plain);
    }

    #[test]
    fn views_must_fit_together() {
        assert!(AveragedViews::<Held>::new(vec![]).is_err());
        let pair = |b| AveragedViews::new(vec![(held(2, 1, 1, &[0.; 2]), Flip::None), (b, Flip::None)]);
        assert!(pair(held(3, 1, 1, &[0.; 3])).is_err());
        assert!(pair(held(2, 2, 1, &[0.; 4])).is_err());
        assert!(pair(held(2, 1, 1, &[0.; 2])).is_ok());
    }
}
