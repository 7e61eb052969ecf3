//! Greedy non-maximum suppression: of boxes that overlap by more than a threshold, the best-scored one stays.
//!
//! Works on plain slices: suppression has no gradient, and its input comes from a top-k that is already on the host. A
//! device may lend a hand with many boxes; the result is the same.
//!
//! # Shapes
//! N boxes `[x0, y0, x1, y1]` in pixels, N scores, N group numbers (class or pyramid level).

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

use crate::cpu::Cpu;
use crate::tensor::Backend;
use thiserror::Error;

/// What is wrong with the input of a suppression.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum NmsError {
    /// Two of the slices do not belong together.
    #[error("nms: {found} {what} for {expected} boxes; one is needed for each box")]
    Length {
        /// Which slice: "scores" or "groups".
        what: &'static str,
        /// Its length.
        found: usize,
        /// The number of boxes.
        expected: usize,
    },
    /// The overlap threshold is not a number in [0, 1].
    #[error("nms: IoU threshold {0} is not in [0, 1]")]
    Threshold(f64),
    /// The device failed.
    #[error("nms: {0}")]
    Device(String),
}

/// Suppression on a device.
pub trait NmsKernel: Backend {
    /// Visits each of `runs`, lists of indices of boxes, and gives those that stay, run by run. Boxes of different runs
    /// do not meet.
    ///
    /// # Errors
    /// The device refuses.
    fn suppress_runs(
        &self,
        boxes: &[[f32; 4]],
        runs: &[&[usize]],
        settings: &Nms,
    ) -> crate::error::Result<Vec<usize>>;
}

/// Suppression with its two settings.
///
/// Boxes are visited by falling score, equal scores by rising index, so that the result is the same on every
/// machine and with every number of threads. A box is suppressed where its intersection over union with a box
/// already kept exceeds the threshold; IoU is computed in f32, the comparison is exact in f64. A box whose score is
/// NaN, or one of whose coordinates is not finite, is never kept and suppresses nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nms {
    /// Overlap above which the lower-scored box goes, in [0, 1].
    pub iou_threshold: f64,
    /// Stop when this many are kept (`usize::MAX`: all).
    pub max_kept: usize,
}

impl Nms {
    /// Suppression that keeps every survivor.
    pub fn new(iou_threshold: f64) -> Self {
        Self { iou_threshold, max_kept: usize::MAX }
    }

    /// Indices of the boxes kept, by falling score.
    ///
    /// # Errors
    /// Lengths that differ, or a threshold outside [0, 1].
    pub fn run(&self, boxes: &[[f32; 4]], scores: &[f32]) -> Result<Vec<usize>, NmsError> {
        self.check(boxes.len(), &[("scores", scores.len())])?;
        let mut order = valid(boxes, scores);
        order.sort_unstable_by(|&a, &b| by_score(scores, a, b));
        Ok(cpu::suppress(boxes, &order, self.threshold(), self.max_kept))
    }

    /// The same within each group: boxes of different groups never suppress each other. Returns indices by
    /// falling score over all groups together.
    ///
    /// # Errors
    /// As [`Nms::run`].
    pub fn run_grouped(
        &self,
        boxes: &[[f32; 4]],
        scores: &[f32],
        groups: &[u32],
    ) -> Result<Vec<usize>, NmsError> {
        self.run_grouped_on(&Cpu::default(), boxes, scores, groups)
    }

    /// [`Nms::run_grouped`] with the help of a device, which is worth it from some hundred boxes a group on.
    ///
    /// # Errors
    /// As [`Nms::run`]; a device that fails.
    pub fn run_grouped_on<D: NmsKernel>(
        &self,
        device: &D,
        boxes: &[[f32; 4]],
        scores: &[f32],
        groups: &[u32],
    ) -> Result<Vec<usize>, NmsError> {
        self.check(boxes.len(), &[("scores", scores.len()), ("groups", groups.len())])?;
        let mut order = valid(boxes, scores);
        order.sort_unstable_by(|&a, &b| groups[a].cmp(&groups[b]).then_with(|| by_score(scores, a, b)));
        let runs: Vec<&[usize]> = order.chunk_by(|&a, &b| groups[a] == groups[b]).collect();
        let kept = device.suppress_runs(boxes, &runs, self);
        let mut kept = kept.map_err(|error| NmsError::Device(error.to_string()))?;
        kept.sort_unstable_by(|&a, &b| by_score(scores, a, b));
        kept.truncate(self.max_kept);
        Ok(kept)
    }

    fn check(&self, boxes: usize, lengths: &[(&'static str, usize)]) -> Result<(), NmsError> {
        for &(what, found) in lengths {
            if found != boxes {
                return Err(NmsError::Length { what, found, expected: boxes });
            }
        }
        if !(0.0..=1.0).contains(&self.iou_threshold) {
            return Err(NmsError::Threshold(self.iou_threshold));
        }
        Ok(())
    }

    /// The largest f32 not above the threshold: an f32 exceeds it exactly when it exceeds the threshold.
    fn threshold(&self) -> f32 {
        let rounded = self.iou_threshold as f32;
        if f64::from(rounded) > self.iou_threshold { rounded.next_down() } else { rounded }
    }
}

fn valid(boxes: &[[f32; 4]], scores: &[f32]) -> Vec<usize> {
    (0..boxes.len()).filter(|&i| !scores[i].is_nan() && boxes[i].iter().all(|c| c.is_finite())).collect()
}

/// Falling score, then rising index.
fn by_score(scores: &[f32], a: usize, b: usize) -> std::cmp::Ordering {
    scores[b].partial_cmp(&scores[a]).unwrap_or(std::cmp::Ordering::Equal).then(a.cmp(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Plain loops in f64: a box stays unless a better one of its group that stayed overlaps it.
    fn reference(boxes: &[[f32; 4]], scores: &[f32], groups: &[u32], threshold: f64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..boxes.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        let mut kept: Vec<usize> = Vec::new();
        for i in order {
            if kept.iter().all(|&k| groups[k] != groups[i] || iou(boxes[k], boxes[i]) <= threshold) {
                kept.push(i);
            }
        }
        kept
    }

    fn iou(a: [f32; 4], b: [f32; 4]) -> f64 {
        let (a, b) = (a.map(f64::from), b.map(f64::from));
        let w = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
        let h = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
        let area = |r: [f64; 4]| (r[2] - r[0]) * (r[3] - r[1]);
        w * h / (area(a) + area(b) - w * h)
    }

    fn random(n: usize, seed: u64) -> (Vec<[f32; 4]>, Vec<f32>, Vec<u32>) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let boxes = (0..n)
            .map(|_| {
                let (x, y) = (rng.random_range(0.0..500f32), rng.random_range(0.0..500f32));
                [x, y, x + rng.random_range(1.0..120f32), y + rng.random_range(1.0..120f32)]
            })
            .collect();
        // Few distinct scores, so that ties occur.
        let scores = (0..n).map(|_| (rng.random_range(0.0..1f32) * 400.0).round() / 400.0).collect();
        let groups = (0..n).map(|_| rng.random_range(0..5u32)).collect();
        (boxes, scores, groups)
    }

    #[test]
    fn worked_by_hand() {
        // IoU(0, 1) = 50/150 = 1/3; IoU(1, 2) = 50/150; 0 and 2 only touch.
        let boxes = [[0., 0., 10., 10.], [5., 0., 15., 10.], [10., 0., 20., 10.]];
        let scores = [0.7, 0.8, 0.9];
        assert_eq!(Nms::new(0.3).run(&boxes, &scores).unwrap(), [2, 0]);
        assert_eq!(Nms::new(0.34).run(&boxes, &scores).unwrap(), [2, 1, 0]);
        assert_eq!(Nms { iou_threshold: 0.34, max_kept: 2 }.run(&boxes, &scores).unwrap(), [2, 1]);
        assert_eq!(Nms::new(0.3).run_grouped(&boxes, &scores, &[0, 1, 0]).unwrap(), [2, 1, 0]);
    }

    #[test]
    fn equal_scores_keep_the_first() {
        let boxes = [[0., 0., 4., 4.]; 3];
        assert_eq!(Nms::new(0.5).run(&boxes, &[1.0; 3]).unwrap(), [0]);
    }

    #[test]
    fn agrees_with_plain_loops() {
        for (n, seed) in [(0, 1), (1, 2), (63, 3), (64, 4), (65, 5), (2500, 6)] {
            let (boxes, scores, groups) = random(n, seed);
            for threshold in [0.0, 0.3, 0.7, 1.0] {
                let nms = Nms::new(threshold);
                let one = vec![0; n];
                assert_eq!(nms.run(&boxes, &scores).unwrap(), reference(&boxes, &scores, &one, threshold));
                assert_eq!(
                    nms.run_grouped(&boxes, &scores, &groups).unwrap(),
                    reference(&boxes, &scores, &groups, threshold)
                );
            }
        }
    }

    #[test]
    fn bad_numbers_are_never_kept() {
        let boxes = [[0., 0., 4., 4.], [0., 0., f32::NAN, 4.], [0., 0., f32::INFINITY, 4.], [9., 9., 9., 9.]];
        assert_eq!(Nms::new(0.5).run(&boxes, &[f32::NAN, 1.0, 1.0, 0.5]).unwrap(), [3]);
    }

    #[test]
    fn misuse_is_named() {
        let error = Nms::new(0.5).run(&[[0.; 4]], &[]).unwrap_err();
        assert_eq!(error.to_string(), "nms: 0 scores for 1 boxes; one is needed for each box");
        assert!(Nms::new(f64::NAN).run(&[], &[]).is_err());
        assert_eq!(Nms::new(1.5).run(&[], &[]), Err(NmsError::Threshold(1.5)));
    }
}
