//! Whether a classifier is right as often as it says: accuracy over confidence, and the expected calibration error of Guo et
//! al. (arXiv 1706.04599), over bins of equal width.

use serde::Serialize;

/// Bins over [0, 1], as published.
const BINS: usize = 15;

/// Images of which the model was about equally sure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bin {
    /// Images.
    pub images: u64,
    /// Mean probability of the class that was named.
    pub confidence: f64,
    /// Share of them that were right.
    pub accuracy: f64,
}

/// Accuracy over confidence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// Expected calibration error: the mean distance of accuracy and confidence, over the images.
    pub ece: f64,
    /// Mean confidence of all images.
    pub confidence: f64,
    /// From unsure to sure; those without images are left out.
    pub bins: Vec<Bin>,
}

impl Calibration {
    /// Of the confidence of each answer and whether it was right; answers without a number are left out.
    pub fn of(answers: impl IntoIterator<Item = (f64, bool)>) -> Self {
        let mut sums = [(0u64, 0.0, 0u64); BINS];
        for (confidence, right) in answers {
            if confidence.is_nan() {
                continue;
            }
            // (0, 1/15], (1/15, 2/15] … as published
            let at = ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
            sums[at].0 += 1;
            sums[at].1 += confidence;
            sums[at].2 += u64::from(right);
        }
        let all = sums.iter().map(|s| s.0).sum::<u64>() as f64;
        let bin = |(images, confidence, right): (u64, f64, u64)| {
            let n = images as f64;
            Bin { images, confidence: confidence / n, accuracy: right as f64 / n }
        };
        let bins: Vec<Bin> = sums.into_iter().filter(|s| s.0 > 0).map(bin).collect();
        let ece = bins.iter().map(|b| b.images as f64 / all * (b.accuracy - b.confidence).abs()).sum();
        let confidence = sums.iter().map(|s| s.1).sum::<f64>() / all;
        Self { ece, confidence, bins }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_the_distance_of_accuracy_and_confidence() {
        let sure = (0..10).map(|i| (0.95, i < 8));
        let unsure = (0..30).map(|i| (0.5, i < 15));
        let found = Calibration::of(sure.chain(unsure).chain([(f64::NAN, false)]));
        // a quarter of the images is off by 0.15
        assert!((found.ece - 0.25 * 0.15).abs() < 1e-12, "{found:?}");
        assert!((found.confidence - (0.25 * 0.95 + 0.75 * 0.5)).abs() < 1e-12);
        let counts: Vec<u64> = found.bins.iter().map(|b| b.images).collect();
        assert_eq!(counts, [30, 10]);
        // the ends belong to the outer bins
        assert_eq!(Calibration::of([(0.0, false), (1.0, true)]).bins.len(), 2);
        assert!(Calibration::of([]).confidence.is_nan());
    }
}
