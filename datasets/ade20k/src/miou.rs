//! Semantic segmentation: pixel accuracy and IoU from a confusion matrix, as mmsegmentation's `IoUMetric`.

use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;
use serde::Serialize;

/// How label values become classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelConfig {
    /// Classes, at most 256.
    pub classes: usize,
    /// Label value (before any shift) of pixels that do not count.
    pub ignore: Option<u8>,
    /// Whether label 0 is "other" and does not count, and label i is class i − 1 (ADE20K). Predictions are not shifted.
    pub reduce_zero_label: bool,
}

impl LabelConfig {
    /// `classes` classes, 255 ignored, labels as they are.
    pub fn new(classes: usize) -> Self {
        LabelConfig { classes, ignore: Some(255), reduce_zero_label: false }
    }
}

/// Label or prediction that cannot be counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelMapError {
    /// Label and prediction differ in size.
    #[error("{labels} label pixels but {predictions} predicted pixels")]
    Size {
        /// Pixels of the label map.
        labels: usize,
        /// Pixels of the prediction.
        predictions: usize,
    },
    /// A label is no class and is not ignored.
    #[error("label {value} in {pixels} pixels, expected below {end}{}", hint(*.reduced))]
    Label {
        /// The value.
        value: u8,
        /// How often.
        pixels: u64,
        /// First value that is too high.
        end: usize,
        /// Whether label 0 was already taken as "other".
        reduced: bool,
    },
    /// A predicted value is no class.
    #[error("prediction {value} in {pixels} labelled pixels, expected below {classes}")]
    Prediction {
        /// The value.
        value: u8,
        /// How often.
        pixels: u64,
        /// Number of classes.
        classes: usize,
    },
    /// More classes than 8-bit labels can tell apart, or none.
    #[error("{0} classes, expected 1 to 256")]
    Classes(usize),
    /// Two matrices of different configuration cannot be merged.
    #[error("confusion matrices of {0} and {1} classes, or of different labels, cannot be merged")]
    Merge(usize, usize),
}

fn hint(reduced: bool) -> &'static str {
    if reduced { " (label 0 taken as \"other\")" } else { "; does 0 mean \"other\" (--reduce-zero-label)?" }
}

/// Counts of pixels by label (rows) and prediction (columns).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfusionMatrix {
    config: LabelConfig,
    counts: Array2<u64>,
}

/// The figures; NaN (`null` in JSON) where a class neither occurs nor is predicted, or nothing was counted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SegmentationScores {
    /// Share of pixels that are right.
    pub a_acc: f64,
    /// Mean of [`Self::iou`] over classes that have one.
    pub m_iou: f64,
    /// Mean of [`Self::acc`] over classes that have one.
    pub m_acc: f64,
    /// Intersection over union of each class.
    pub iou: Vec<f64>,
    /// Share of each class's labelled pixels that are right.
    pub acc: Vec<f64>,
}

/// One row for each raw label value, one column for each raw prediction.
const SIDE: usize = 256;
/// Pixels a task counts: the table it clears and adds up must be small beside them.
const PIECE: usize = 1 << 18;

impl ConfusionMatrix {
    /// An empty matrix.
    ///
    /// # Errors
    /// If the number of classes is 0 or more than 256.
    pub fn new(config: LabelConfig) -> Result<Self, LabelMapError> {
        let classes = config.classes;
        if !(1..=SIDE).contains(&classes) {
            return Err(LabelMapError::Classes(classes));
        }
        Ok(ConfusionMatrix { config, counts: Array2::zeros((classes, classes)) })
    }

    /// Counts one image, or several end to end.
    ///
    /// # Errors
    /// If sizes differ or a value is no class; the matrix then is as before. A prediction under an ignored label may be
    /// anything.
    pub fn update(&mut self, labels: &[u8], predictions: &[u8]) -> Result<(), LabelMapError> {
        if labels.len() != predictions.len() {
            let (labels, predictions) = (labels.len(), predictions.len());
            return Err(LabelMapError::Size { labels, predictions });
        }
        let table = joint_histogram(labels, predictions);
        let classes = self.config.classes;
        let rows = || (0..SIDE).map(|label| &table[label * SIDE..(label + 1) * SIDE]);
        for (value, row) in (0..=u8::MAX).zip(rows()) {
            match self.class_of(value) {
                LabelClass::Ignored => {}
                LabelClass::Outside => {
                    let pixels = row.iter().sum();
                    if pixels > 0 {
                        let reduced = self.config.reduce_zero_label;
                        let end = classes + usize::from(reduced);
                        return Err(LabelMapError::Label { value, pixels, end, reduced });
                    }
                }
                LabelClass::Class(_) => {
                    let high = (0..=u8::MAX).zip(row).skip(classes).find(|(_, n)| **n > 0);
                    if let Some((value, &pixels)) = high {
                        return Err(LabelMapError::Prediction { value, pixels, classes });
                    }
                }
            }
        }
        for (value, row) in (0..=u8::MAX).zip(rows()) {
            if let LabelClass::Class(class) = self.class_of(value) {
                self.counts.row_mut(class).iter_mut().zip(row).for_each(|(c, n)| *c += n);
            }
        }
        Ok(())
    }

    /// Adds the counts of another rank or thread.
    ///
    /// # Errors
    /// If the other has another configuration.
    pub fn merge(&mut self, other: &ConfusionMatrix) -> Result<(), LabelMapError> {
        if self.config != other.config {
            return Err(LabelMapError::Merge(self.config.classes, other.config.classes));
        }
        self.counts += &other.counts;
        Ok(())
    }

    /// The configuration.
    pub fn config(&self) -> &LabelConfig {
        &self.config
    }

    /// Pixels by (label, prediction).
    pub fn counts(&self) -> ArrayView2<'_, u64> {
        self.counts.view()
    }

    /// All counts, to be added up over processes that count alike.
    pub fn counts_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        self.counts.iter_mut()
    }

    /// The figures of all that was counted.
    pub fn scores(&self) -> SegmentationScores {
        let classes = self.config.classes;
        let predicted = self.counts.sum_axis(Axis(0));
        let (mut iou, mut acc) = (Vec::with_capacity(classes), Vec::with_capacity(classes));
        let (mut right, mut total) = (0u64, 0u64);
        for (class, row) in self.counts.outer_iter().enumerate() {
            let hit = row[class];
            let labelled = row.sum();
            right += hit;
            total += labelled;
            // 0 / 0 is NaN, which is what an absent class is to have.
            iou.push(hit as f64 / (labelled + predicted[class] - hit) as f64);
            acc.push(hit as f64 / labelled as f64);
        }
        SegmentationScores {
            a_acc: right as f64 / total as f64,
            m_iou: mean_of_known(&iou),
            m_acc: mean_of_known(&acc),
            iou,
            acc,
        }
    }

    fn class_of(&self, label: u8) -> LabelClass {
        if self.config.ignore == Some(label) {
            return LabelClass::Ignored;
        }
        let class = if self.config.reduce_zero_label {
            match label.checked_sub(1) {
                None => return LabelClass::Ignored,
                Some(class) => usize::from(class),
            }
        } else {
            usize::from(label)
        };
        if class < self.config.classes { LabelClass::Class(class) } else { LabelClass::Outside }
    }
}

enum LabelClass {
    Ignored,
    Outside,
    Class(usize),
}

fn mean_of_known(values: &[f64]) -> f64 {
    let known = values.iter().filter(|v| !v.is_nan());
    let (sum, count) = known.fold((0.0, 0usize), |(s, n), v| (s + v, n + 1));
    sum / count as f64
}

/// How often each pair of raw values occurs: `[label][prediction]`.
fn joint_histogram(labels: &[u8], predictions: &[u8]) -> Vec<u64> {
    let pieces = labels.par_chunks(PIECE).zip(predictions.par_chunks(PIECE));
    let table = pieces
        .fold(
            || vec![0u64; SIDE * SIDE],
            |mut table, (labels, predictions)| {
                count(&mut table, labels, predictions);
                table
            },
        )
        .reduce_with(|mut a, b| {
            a.iter_mut().zip(&b).for_each(|(a, b)| *a += b);
            a
        });
    table.unwrap_or_else(|| vec![0; SIDE * SIDE])
}

/// Label maps are mostly flat: eight equal pixels are one addition. (One at a time, each addition to the same counter
/// would wait for the one before.)
fn count(table: &mut [u64], labels: &[u8], predictions: &[u8]) {
    let at = |l: u8, p: u8| usize::from(l) * SIDE + usize::from(p);
    let (label_words, label_rest) = labels.as_chunks::<8>();
    let (prediction_words, prediction_rest) = predictions.as_chunks::<8>();
    for (l, p) in label_words.iter().zip(prediction_words) {
        let (lw, pw) = (u64::from_ne_bytes(*l), u64::from_ne_bytes(*p));
        if lw == lw.rotate_left(8) && pw == pw.rotate_left(8) {
            table[at(l[0], p[0])] += 8;
        } else {
            l.iter().zip(p).for_each(|(&l, &p)| table[at(l, p)] += 1);
        }
    }
    label_rest.iter().zip(prediction_rest).for_each(|(&l, &p)| table[at(l, p)] += 1);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use ndarray::array;

    fn matrix(classes: usize, reduce_zero_label: bool) -> ConfusionMatrix {
        let config = LabelConfig { reduce_zero_label, ..LabelConfig::new(classes) };
        ConfusionMatrix::new(config).unwrap()
    }

    #[test]
    fn worked_by_hand() {
        let mut m = matrix(4, false);
        m.update(&[0, 0, 1, 1, 255, 2], &[0, 1, 1, 1, 9, 0]).unwrap();
        let s = m.scores();
        // Class 0: 1 hit of 2 labelled, 2 predicted. Class 1: 2 hits of 2, 3 predicted. Class 2: never hit. 3: absent.
        assert_eq!(s.iou[..3], [1.0 / 3.0, 2.0 / 3.0, 0.0]);
        assert_eq!(s.acc[..3], [0.5, 1.0, 0.0]);
        assert!(s.iou[3].is_nan() && s.acc[3].is_nan());
        assert_eq!((s.a_acc, s.m_acc), (3.0 / 5.0, 0.5));
        assert!((s.m_iou - 1.0 / 3.0).abs() < 1e-15);
        assert!(matrix(2, false).scores().m_iou.is_nan());
    }

    #[test]
    fn label_zero_is_other() {
        let mut m = matrix(2, true);
        m.update(&[0, 1, 2, 255], &[7, 0, 0, 7]).unwrap();
        assert_eq!(m.counts(), array![[1, 0], [1, 0]]);
    }

    #[test]
    fn values_that_are_no_class_leave_the_matrix_alone() {
        let mut m = matrix(2, false);
        m.update(&[1], &[1]).unwrap();
        let before = m.clone();
        let error = m.update(&[0, 2, 2], &[0, 0, 0]).unwrap_err();
        assert!(matches!(error, LabelMapError::Label { value: 2, pixels: 2, end: 2, .. }));
        assert!(error.to_string().contains("reduce-zero-label"));
        let error = m.update(&[0, 1], &[0, 2]).unwrap_err();
        assert_eq!(error, LabelMapError::Prediction { value: 2, pixels: 1, classes: 2 });
        assert!(m.update(&[0], &[]).is_err());
        assert_eq!(m, before);
        let wrong = ConfusionMatrix::new(LabelConfig::new(257)).unwrap_err();
        assert_eq!(wrong, LabelMapError::Classes(257));
        assert!(m.merge(&matrix(2, true)).is_err());
    }

    proptest! {
        #[test]
        fn the_fast_count_is_the_plain_count(
            runs in proptest::collection::vec((0u8..5, 0u8..5, 1usize..30), 0..40)
        ) {
            let labels: Vec<u8> = runs.iter().flat_map(|r| vec![r.0; r.2]).collect();
            let predictions: Vec<u8> = runs.iter().flat_map(|r| vec![r.1; r.2]).collect();
            let mut plain = [0u64; 25];
            for (l, p) in labels.iter().zip(&predictions) {
                plain[usize::from(*l) * 5 + usize::from(*p)] += 1;
            }
            let mut fast = matrix(5, false);
            fast.update(&labels, &predictions).unwrap();
            prop_assert!(fast.counts().iter().eq(&plain));
            // Two halves merged are the whole.
            let half = labels.len() / 2;
            let (mut a, mut b) = (matrix(5, false), matrix(5, false));
            a.update(&labels[..half], &predictions[..half]).unwrap();
            b.update(&labels[half..], &predictions[half..]).unwrap();
            a.merge(&b).unwrap();
            prop_assert_eq!(a, fast);
        }
    }
}
