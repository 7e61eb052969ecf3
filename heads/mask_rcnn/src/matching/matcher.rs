//! Which annotated box each anchor or proposal stands for.
//!
//! The overlaps are never held as a whole: 10,000 annotated boxes against the 262,000 anchors of a 1024² image would
//! take 10 GB. Anchors are taken a chunk a task; of each chunk the best overlap with each annotated box is kept, and
//! only chunks that hold the best overlap of all are looked at again.
//!
//! # Shapes
//! M candidates (anchors or proposals), G annotated boxes.

use kat_images::simd::vectorized;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::HeadError;
use kat_images::BoxColumns;

/// Candidates a task.
const CHUNK: usize = 1024;

/// What a candidate counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchLabel {
    /// No object.
    Background,
    /// Neither: left out of the loss.
    Ignored,
    /// The object it is matched to.
    Foreground,
}

/// Thresholds on the overlap with the best annotated box.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matcher {
    /// IoU below which a candidate is background.
    pub background_below: f32,
    /// IoU from which on it is foreground; in between it is ignored.
    pub foreground_from: f32,
    /// Make every candidate foreground that has, of all, the best overlap with some annotated box, however low:
    /// each object then has an anchor. (An object that nothing overlaps has none.)
    pub keep_best_of_each: bool,
}

/// One entry a candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Matches {
    /// Index of the annotated box with the highest overlap (the first of equals; 0 where there is none).
    pub gt: Vec<u32>,
    /// That overlap.
    pub iou: Vec<f32>,
    /// What the candidate counts as.
    pub labels: Vec<MatchLabel>,
}

impl Matcher {
    /// The RPN's: 0.3, 0.7, each object's best anchor kept.
    pub const RPN: Self = Self { background_below: 0.3, foreground_from: 0.7, keep_best_of_each: true };
    /// The box head's: one threshold at 0.5.
    pub const BOX_HEAD: Self = Self { background_below: 0.5, foreground_from: 0.5, keep_best_of_each: false };

    /// Matches `candidates` to `gt_boxes`. Without annotated boxes every candidate is background. A box that is
    /// not finite overlaps nothing.
    ///
    /// # Errors
    /// Thresholds outside [0, 1] or in the wrong order.
    pub fn run(&self, candidates: &[[f32; 4]], gt_boxes: &[[f32; 4]]) -> Result<Matches, HeadError> {
        let (low, high) = (self.background_below, self.foreground_from);
        if !(0.0 <= low && low <= high && high <= 1.0) {
            return Err(HeadError::value(
                "match thresholds",
                (low, high),
                "0 <= background <= foreground <= 1",
            ));
        }
        let chunks: Vec<Chunk> = candidates
            .par_chunks(CHUNK)
            .map(|boxes| {
                let mut chunk = Chunk::new(boxes.len(), gt_boxes.len());
                vectorized(|| chunk.fill(&BoxColumns::new(boxes), gt_boxes));
                chunk
            })
            .collect();
        let mut matches = Matches {
            gt: chunks.iter().flat_map(|c| c.gt.iter().copied()).collect(),
            iou: chunks.iter().flat_map(|c| c.iou.iter().copied()).collect(),
            labels: Vec::new(),
        };
        matches.labels = matches.iou.iter().map(|&iou| self.label(iou, gt_boxes.is_empty())).collect();
        if self.keep_best_of_each {
            promote(&chunks, candidates, gt_boxes, &mut matches.labels);
        }
        Ok(matches)
    }

    fn label(&self, iou: f32, nothing_annotated: bool) -> MatchLabel {
        if nothing_annotated || iou < self.background_below {
            MatchLabel::Background
        } else if iou < self.foreground_from {
            MatchLabel::Ignored
        } else {
            MatchLabel::Foreground
        }
    }
}

/// Overlaps of one chunk of candidates, reduced both ways.
struct Chunk {
    /// Best annotated box of each candidate, and the overlap.
    gt: Vec<u32>,
    iou: Vec<f32>,
    /// Best overlap within the chunk with each annotated box.
    best_of_gt: Vec<f32>,
}

impl Chunk {
    fn new(candidates: usize, gts: usize) -> Self {
        Self { gt: vec![0; candidates], iou: vec![0.0; candidates], best_of_gt: vec![0.0; gts] }
    }

    #[inline(always)]
    fn fill(&mut self, candidates: &BoxColumns, gt_boxes: &[[f32; 4]]) {
        let n = self.gt.len();
        let mut row = vec![0f32; n];
        for (g, &gt_box) in gt_boxes.iter().enumerate() {
            candidates.iou_into(gt_box, &mut row);
            let (gt, iou) = (&mut self.gt[..n], &mut self.iou[..n]);
            for j in 0..n {
                let better = row[j] > iou[j];
                iou[j] = if better { row[j] } else { iou[j] };
                gt[j] = if better { g as u32 } else { gt[j] };
            }
            self.best_of_gt[g] = maximum(&row);
        }
    }
}

/// The largest of non-negative numbers; in sixteen lanes, because one running maximum is a chain.
#[inline(always)]
fn maximum(row: &[f32]) -> f32 {
    let mut lanes = [0f32; 16];
    let (whole, rest) = row.as_chunks::<16>();
    for piece in whole {
        for (lane, &v) in lanes.iter_mut().zip(piece) {
            *lane = if v > *lane { v } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(0.0, |a, &b| if b > a { b } else { a })
}

/// Makes the best candidates (ties included) of each annotated box foreground.
fn promote(chunks: &[Chunk], candidates: &[[f32; 4]], gt_boxes: &[[f32; 4]], labels: &mut [MatchLabel]) {
    let best: Vec<f32> =
        (0..gt_boxes.len()).map(|g| chunks.iter().fold(0.0, |m: f32, c| m.max(c.best_of_gt[g]))).collect();
    labels.par_chunks_mut(CHUNK).zip(candidates.par_chunks(CHUNK)).zip(chunks).for_each(
        |((labels, boxes), chunk)| {
            let hits: Vec<usize> =
                (0..gt_boxes.len()).filter(|&g| best[g] > 0.0 && chunk.best_of_gt[g] == best[g]).collect();
            if hits.is_empty() {
                return;
            }
            let columns = BoxColumns::new(boxes);
            let mut row = vec![0f32; boxes.len()];
            for g in hits {
                vectorized(|| columns.iou_into(gt_boxes[g], &mut row));
                for (label, &iou) in labels.iter_mut().zip(&row) {
                    if iou == best[g] {
                        *label = MatchLabel::Foreground;
                    }
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::MatchLabel::{Background, Foreground, Ignored};
    use super::*;
    use kat_images::Boxes;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const GT: [[f32; 4]; 2] = [[0., 0., 10., 10.], [100., 100., 110., 110.]];

    #[test]
    fn thresholds_by_hand() {
        // IoU 1, 0.6, 0.2 and 0 with the first box; the last overlaps the second by 25/175 = 1/7.
        let candidates = [
            [0., 0., 10., 10.],
            [0., 0., 10., 6.],
            [0., 0., 10., 2.],
            [50., 50., 60., 60.],
            [105., 105., 115., 115.],
        ];
        let found = Matcher::RPN.run(&candidates, &GT).unwrap();
        assert_eq!(found.labels, [Foreground, Ignored, Background, Background, Foreground]);
        assert_eq!(found.gt, [0, 0, 0, 0, 1]);
        assert_eq!(found.iou, [1.0, 0.6, 0.2, 0.0, 25.0 / 175.0]);
        let found = Matcher::BOX_HEAD.run(&candidates, &GT).unwrap();
        assert_eq!(found.labels, [Foreground, Foreground, Background, Background, Background]);
    }

    #[test]
    fn nothing_annotated_or_nothing_to_match() {
        let found = Matcher::RPN.run(&GT, &[]).unwrap();
        assert_eq!((found.labels, found.gt), (vec![Background; 2], vec![0; 2]));
        assert!(Matcher::RPN.run(&[], &GT).unwrap().labels.is_empty());
    }

    #[test]
    fn an_object_nothing_overlaps_promotes_nothing() {
        let found = Matcher::RPN.run(&[[0., 0., 5., 5.]], &[[50., 50., 60., 60.]]).unwrap();
        assert_eq!(found.labels, [Background]);
        let found = Matcher::RPN.run(&[[0., 0., 5., 5.]], &[[f32::NAN; 4]]).unwrap();
        assert_eq!((found.labels, found.iou), (vec![Background], vec![0.0]));
    }

    #[test]
    fn agrees_with_the_whole_matrix() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut boxes = |n: usize| -> Vec<[f32; 4]> {
            (0..n)
                .map(|_| {
                    let (x, y) = (rng.random_range(0..200) as f32, rng.random_range(0..200) as f32);
                    [x, y, x + rng.random_range(1..40) as f32, y + rng.random_range(1..40) as f32]
                })
                .collect()
        };
        let (candidates, gts) = (boxes(3000), boxes(37));
        let iou = Boxes::from(gts.clone()).iou(&Boxes::from(candidates.clone()));
        let found = Matcher::RPN.run(&candidates, &gts).unwrap();
        let best: Vec<f32> = (0..37).map(|g| iou.row(g).iter().copied().fold(0.0, f32::max)).collect();
        for j in 0..candidates.len() {
            let of = |g: usize| iou[[g, j]];
            let top = (0..37).fold(0, |m, g| if of(g) > of(m) { g } else { m });
            assert_eq!((found.gt[j] as usize, found.iou[j]), (top, of(top)));
            let expected = if of(top) >= 0.7 || (0..37).any(|g| of(g) == best[g]) {
                Foreground
            } else if of(top) < 0.3 {
                Background
            } else {
                Ignored
            };
            assert_eq!(found.labels[j], expected, "candidate {j}");
        }
    }

    #[test]
    fn thresholds_are_checked() {
        let bad = Matcher { background_below: 0.7, foreground_from: 0.3, keep_best_of_each: false };
        assert!(bad.run(&[], &[]).is_err());
    }
}
