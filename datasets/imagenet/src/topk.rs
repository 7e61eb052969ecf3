//! Classification: top-1 and top-5 accuracy and the confusion matrix.
//!
//! The rank of the true class is the number of classes that score higher, plus those of equal score and lower index; it
//! is right among the top k if its rank is below k. So a tie goes to the lower index, whatever the number of threads,
//! and a model that scores all classes alike is not right by luck. A row with a NaN is wrong.

use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use serde::Serialize;

/// Counts over all samples seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopK {
    classes: usize,
    seen: u64,
    top1: u64,
    top5: u64,
    /// Rows whose scores hold a NaN.
    not_a_number: u64,
    /// (label, predicted); absent if it was not asked for.
    confusion: Option<Array2<u64>>,
}

/// Accuracies in `[0, 1]`; NaN if nothing was seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Accuracy {
    /// Share of samples whose class scores highest.
    pub top1: f64,
    /// Share of samples whose class is among the five highest; with fewer than five classes among all.
    pub top5: f64,
    /// Samples.
    pub samples: u64,
    /// Samples whose scores hold a NaN, counted as wrong.
    pub not_a_number: u64,
}

/// Scores and labels that do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopKError {
    /// The scores are not one row a label.
    #[error("scores {scores:?}, expected {labels} rows of {classes}")]
    Shape {
        /// Rows and columns of the scores.
        scores: (usize, usize),
        /// Number of labels.
        labels: usize,
        /// Number of classes.
        classes: usize,
    },
    /// A label is no class.
    #[error("label {label} of row {row}, expected below {classes}")]
    Label {
        /// Which row, from 0.
        row: usize,
        /// Its label.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
    /// Counts of different numbers of classes, or with and without confusion, cannot be merged.
    #[error("accuracy of {0} and of {1} classes cannot be merged")]
    Merge(usize, usize),
}

/// Rank of the true class and the predicted class; nothing if a score is NaN.
type Ranked = Option<(usize, usize)>;

impl TopK {
    /// Nothing seen yet.
    pub fn new(classes: usize) -> Self {
        TopK { classes, seen: 0, top1: 0, top5: 0, not_a_number: 0, confusion: None }
    }

    /// Also counts what is taken for what: `classes²` numbers of memory.
    pub fn with_confusion(classes: usize) -> Self {
        TopK { confusion: Some(Array2::zeros((classes, classes))), ..TopK::new(classes) }
    }

    /// Counts a batch: `scores` (B, classes), a label a row.
    ///
    /// # Errors
    /// If the sizes disagree or a label is no class; nothing is counted then.
    pub fn update(&mut self, scores: ArrayView2<'_, f32>, labels: &[u32]) -> Result<(), TopKError> {
        let classes = self.classes;
        if scores.dim() != (labels.len(), classes) || classes == 0 {
            let (scores, labels) = (scores.dim(), labels.len());
            return Err(TopKError::Shape { scores, labels, classes });
        }
        let outside = labels.iter().enumerate().find(|(_, l)| **l as usize >= classes);
        if let Some((row, &label)) = outside {
            return Err(TopKError::Label { row, label, classes });
        }
        let rows = scores.axis_iter(Axis(0)).into_par_iter().zip(labels).with_min_len(16);
        let ranked: Vec<Ranked> = rows.map(|(row, &label)| rank(row, label as usize)).collect();
        for (ranked, &label) in ranked.iter().zip(labels) {
            self.seen += 1;
            let &Some((rank, predicted)) = ranked else {
                self.not_a_number += 1;
                continue;
            };
            self.top1 += u64::from(rank < 1);
            self.top5 += u64::from(rank < 5);
            if let Some(confusion) = &mut self.confusion {
                confusion[(label as usize, predicted)] += 1;
            }
        }
        Ok(())
    }

    /// Adds the counts of another rank.
    ///
    /// # Errors
    /// If the other counts other classes.
    pub fn merge(&mut self, other: &TopK) -> Result<(), TopKError> {
        match (&mut self.confusion, &other.confusion) {
            (None, None) if self.classes == other.classes => {}
            (Some(a), Some(b)) if self.classes == other.classes => {
                *a += b;
            }
            _ => return Err(TopKError::Merge(self.classes, other.classes)),
        }
        self.seen += other.seen;
        self.top1 += other.top1;
        self.top5 += other.top5;
        self.not_a_number += other.not_a_number;
        Ok(())
    }

    /// All counts, to be added up over processes that count alike.
    pub fn counts_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        let own = [&mut self.seen, &mut self.top1, &mut self.top5, &mut self.not_a_number];
        own.into_iter().chain(self.confusion.iter_mut().flatten())
    }

    /// The accuracies of all that was seen.
    pub fn accuracy(&self) -> Accuracy {
        let samples = self.seen as f64;
        Accuracy {
            top1: self.top1 as f64 / samples,
            top5: self.top5 as f64 / samples,
            samples: self.seen,
            not_a_number: self.not_a_number,
        }
    }

    /// Samples of each (label, predicted class), if it was asked for.
    pub fn confusion(&self) -> Option<&Array2<u64>> {
        self.confusion.as_ref()
    }
}

fn rank(row: ArrayView1<'_, f32>, label: usize) -> Ranked {
    if row.iter().fold(false, |nan, v| nan | v.is_nan()) {
        return None;
    }
    let own = row[label];
    let higher: usize = row.iter().map(|v| usize::from(*v > own)).sum();
    let equal_before: usize = row.iter().take(label).map(|v| usize::from(*v == own)).sum();
    let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let predicted = row.iter().position(|v| *v == best)?;
    Some((higher + equal_before, predicted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::arr2;

    #[test]
    fn ranks_and_ties_by_hand() {
        let mut k = TopK::with_confusion(6);
        let rows = [
            [0.1, 0.9, 0.3, 0.2, 0.0, -1.0],
            [0.5, 0.5, 0.1, 0.5, 0.5, 0.5],
            [0.5, 0.5, 0.1, 0.5, 0.5, 0.5],
            [0.0, f32::NAN, 0.0, 0.0, 0.0, 9.0],
        ];
        // Right; tied with a lower index, rank 1; rank 5 since all five others score higher; NaN.
        k.update(arr2(&rows).view(), &[1, 1, 2, 5]).unwrap();
        let a = k.accuracy();
        assert_eq!((a.top1, a.top5, a.samples, a.not_a_number), (0.25, 0.5, 4, 1));
        let confusion = k.confusion().unwrap();
        assert_eq!((confusion[(1, 1)], confusion[(1, 0)], confusion[(2, 0)]), (1, 1, 1));
        assert_eq!(confusion.sum(), 3);
        let once = k.clone();
        k.merge(&once).unwrap();
        assert_eq!((k.accuracy().top1, k.accuracy().samples), (0.25, 8));
    }

    #[test]
    fn all_alike_is_right_for_the_first_class_only() {
        let mut k = TopK::new(10);
        let labels: Vec<u32> = (0..10).collect();
        k.update(Array2::zeros((10, 10)).view(), &labels).unwrap();
        assert_eq!((k.accuracy().top1, k.accuracy().top5), (0.1, 0.5));
    }

    #[test]
    fn faults_count_nothing() {
        let mut k = TopK::new(3);
        let of = |columns| Array2::zeros((2, columns));
        assert!(matches!(k.update(of(2).view(), &[0, 1]), Err(TopKError::Shape { scores: (2, 2), .. })));
        let error = k.update(of(3).view(), &[0, 3]).unwrap_err();
        assert_eq!(error, TopKError::Label { row: 1, label: 3, classes: 3 });
        assert!(k.merge(&TopK::new(4)).is_err() && k.merge(&TopK::with_confusion(3)).is_err());
        assert!(k.accuracy().top1.is_nan() && k.accuracy().samples == 0);
    }
}
