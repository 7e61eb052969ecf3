//! COCO's average precision and recall of boxes and masks, the same numbers as pycocotools' `COCOeval`.
//!
//! # Shapes
//! T IoU thresholds 0.50, 0.55 … 0.95; R recall thresholds 0, 0.01 … 1; K categories by rising id; A area ranges all,
//! small, medium, large; M limits of detections an image.

use std::collections::HashMap;

use serde::Serialize;

mod check;

use check::{check_detections, check_truth, few, record_error};
pub use check::{check_masks, evaluable};

use crate::arena::Annotations;
use crate::engine::{self, Accumulated, Overlap, Settings};
use crate::error::CocoError;
use crate::json::CocoFile;

/// What overlap is taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IouType {
    /// Boxes.
    #[default]
    Bbox,
    /// Masks.
    Segm,
}

/// Settings; the default is COCO's.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalConfig {
    /// Overlap of boxes or of masks.
    pub iou_type: IouType,
    /// Detections of a category considered in an image, three limits in rising order; the last is used for AP.
    pub max_dets: [usize; 3],
    /// Areas at which small ends and large begins, in pixels².
    pub area_bounds: [f64; 2],
}

impl EvalConfig {
    /// COCO's settings: 1, 10, 100 detections; 32² and 96² pixels.
    pub fn coco(iou_type: IouType) -> Self {
        EvalConfig { iou_type, max_dets: [1, 10, 100], area_bounds: [1024.0, 9216.0] }
    }
}

/// Names of the twelve figures of [`Evaluation::stats`] with COCO's limits of detections, in pycocotools' order.
pub const STAT_NAMES: [&str; 12] = [
    "AP",
    "AP50",
    "AP75",
    "AP_small",
    "AP_medium",
    "AP_large",
    "AR_1",
    "AR_10",
    "AR_100",
    "AR_small",
    "AR_medium",
    "AR_large",
];

/// A range of object areas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AreaRange {
    /// Every object.
    All,
    /// Up to the first bound.
    Small,
    /// Between the bounds.
    Medium,
    /// From the second bound.
    Large,
}

/// Figures of one category; `None` where no object of it is annotated (in that area range).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CategoryFigures {
    /// COCO id.
    pub id: u64,
    /// Name.
    pub name: String,
    /// Over IoU 0.50 to 0.95.
    pub ap: Option<f64>,
    /// At IoU 0.50.
    pub ap50: Option<f64>,
    /// At IoU 0.75.
    pub ap75: Option<f64>,
    /// Of small objects.
    pub ap_small: Option<f64>,
    /// Of medium objects.
    pub ap_medium: Option<f64>,
    /// Of large objects.
    pub ap_large: Option<f64>,
    /// Recall with the most detections, over IoU 0.50 to 0.95.
    pub ar: Option<f64>,
}

/// One point of a precision-recall curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Recall, from 0 to 1.
    pub recall: f64,
    /// Interpolated precision.
    pub precision: f64,
    /// Score of the detection that reaches this recall; 0 where none does.
    pub score: f64,
}

/// The outcome of an evaluation.
pub struct Evaluation {
    config: EvalConfig,
    all: Accumulated,
    names: HashMap<u64, String>,
    dropped: usize,
}

/// Evaluates `detections` against `truth`.
///
/// Detections of a category that `truth` does not have can match nothing and are left out; see
/// [`Evaluation::dropped`]. Crowds, areas and ties of score are handled as pycocotools does.
///
/// # Errors
/// What pycocotools would crash on or silently miscount, naming the record: a detection of an image that `truth` does
/// not have, a box or score that is not finite, no box and no mask, a mask that does not fit its image; an annotation id
/// that appears twice; for masks, a ground truth without one or with one that encloses nothing. Detections of which none
/// is of a category that `truth` has: every figure would be 0.
pub fn evaluate(
    truth: &CocoFile,
    detections: &Annotations,
    config: &EvalConfig,
) -> Result<Evaluation, CocoError> {
    let names: HashMap<u64, String> = truth.categories.iter().map(|c| (c.id, c.name.clone())).collect();
    check_truth(truth, config.iou_type)?;
    let sizes: HashMap<u64, [u32; 2]> = truth.images.iter().map(|i| (i.id, [i.height, i.width])).collect();
    check_detections(truth, detections, &sizes, config.iou_type)?;
    let known = |r: &crate::Record| names.contains_key(&r.category_id);
    let dropped = detections.records().iter().filter(|r| !known(r)).count();
    if dropped > 0 && dropped == detections.len() {
        return Err(CocoError::NoSharedCategory {
            path: detections.source().to_owned(),
            truth: truth.path.clone(),
            detections: dropped,
            found: few(detections.records().iter().map(|r| r.category_id)),
            expected: few(truth.categories.iter().map(|c| c.id)),
        });
    }
    let settings = Settings {
        overlap: match config.iou_type {
            IouType::Bbox => Overlap::Boxes,
            IouType::Segm => Overlap::Masks,
        },
        max_dets: config.max_dets,
        area_bounds: config.area_bounds,
    };
    let all = engine::evaluate(truth, detections, &settings, &known)
        .map_err(|reason| record_error(&truth.path, None, "annotations", reason))?;
    Ok(Evaluation { config: config.clone(), all, names, dropped })
}

impl Evaluation {
    /// The twelve figures in pycocotools' order ([`STAT_NAMES`]), −1 where there is nothing to measure.
    pub fn stats(&self) -> &[f64] {
        &self.all.stats
    }

    /// The names of these figures: [`STAT_NAMES`] with the limits of detections that were used.
    pub fn stat_names(&self) -> [String; 12] {
        let mut names = STAT_NAMES.map(str::to_owned);
        for (name, limit) in names[6..9].iter_mut().zip(self.config.max_dets) {
            *name = format!("AR_{limit}");
        }
        names
    }

    /// AP over IoU 0.50 to 0.95, all areas: COCO's headline figure.
    pub fn ap(&self) -> f64 {
        self.all.stats.first().copied().unwrap_or(-1.0)
    }

    /// pycocotools' twelve lines of summary.
    pub fn lines(&self) -> &[String] {
        &self.all.lines
    }

    /// Settings evaluated with.
    pub fn config(&self) -> &EvalConfig {
        &self.config
    }

    /// Detections left out for a category that the ground truth does not have.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// Figures of each category, by rising id.
    pub fn categories(&self) -> Vec<CategoryFigures> {
        let half = self.threshold(0.5);
        let three_quarters = self.threshold(0.75);
        let ids = self.all.categories.iter().enumerate();
        ids.map(|(k, &id)| CategoryFigures {
            id,
            name: self.names.get(&id).cloned().unwrap_or_default(),
            ap: self.mean_precision(Some(k), None, AreaRange::All),
            ap50: half.and_then(|t| self.mean_precision(Some(k), Some(t), AreaRange::All)),
            ap75: three_quarters.and_then(|t| self.mean_precision(Some(k), Some(t), AreaRange::All)),
            ap_small: self.mean_precision(Some(k), None, AreaRange::Small),
            ap_medium: self.mean_precision(Some(k), None, AreaRange::Medium),
            ap_large: self.mean_precision(Some(k), None, AreaRange::Large),
            ar: self.mean_recall(k),
        })
        .collect()
    }

    /// AP of one area range at each IoU threshold, as (threshold, AP); `None` where there is nothing to measure.
    pub fn ap_by_iou(&self, area: AreaRange) -> Vec<(f64, Option<f64>)> {
        let thresholds = self.all.iou_thresholds.iter().enumerate();
        thresholds.map(|(t, &iou)| (iou, self.mean_precision(None, Some(t), area))).collect()
    }

    /// Precision at 101 recalls of one category id, or of the mean over categories; `None` if the threshold or category
    /// is not among those evaluated or has nothing to measure.
    pub fn curve(&self, category: Option<u64>, iou: f64, area: AreaRange) -> Option<Vec<CurvePoint>> {
        let t = self.threshold(iou)?;
        let categories: Vec<usize> = match category {
            Some(id) => vec![self.all.categories.iter().position(|&c| c == id)?],
            None => (0..self.all.categories.len()).collect(),
        };
        let measured: Vec<usize> = categories
            .into_iter()
            .filter(|&k| self.all.precision[self.index(t, 0, k, area)] > -1.0)
            .collect();
        if measured.is_empty() {
            return None;
        }
        let mean = |values: &[f64], r: usize| {
            let sum: f64 = measured.iter().map(|&k| values[self.index(t, r, k, area)]).sum();
            sum / measured.len() as f64
        };
        let recalls = self.all.recall_thresholds.iter().enumerate();
        Some(
            recalls
                .map(|(r, &recall)| CurvePoint {
                    recall,
                    precision: mean(&self.all.precision, r),
                    score: mean(&self.all.scores, r),
                })
                .collect(),
        )
    }

    fn threshold(&self, iou: f64) -> Option<usize> {
        self.all.iou_thresholds.iter().position(|t| (t - iou).abs() < 1e-9)
    }

    /// Into `[T, R, K, A, M]` at the last M.
    fn index(&self, t: usize, r: usize, k: usize, area: AreaRange) -> usize {
        let [_, rs, ks, areas, ms] = self.all.shape;
        (((t * rs + r) * ks + k) * areas + area as usize) * ms + ms - 1
    }

    /// Mean over what was measured, in pycocotools' order of summation (T, then R, then K).
    fn mean_precision(&self, k: Option<usize>, t: Option<usize>, area: AreaRange) -> Option<f64> {
        let [ts, rs, ks, ..] = self.all.shape;
        let ts = t.map_or(0..ts, |t| t..t + 1);
        let ks = k.map_or(0..ks, |k| k..k + 1);
        let (mut sum, mut count) = (0.0, 0usize);
        for t in ts {
            for r in 0..rs {
                for k in ks.clone() {
                    let value = self.all.precision[self.index(t, r, k, area)];
                    if value > -1.0 {
                        sum += value;
                        count += 1;
                    }
                }
            }
        }
        (count > 0).then(|| sum / count as f64)
    }

    fn mean_recall(&self, k: usize) -> Option<f64> {
        let [ts, _, ks, areas, ms] = self.all.shape;
        let values = (0..ts)
            .map(|t| self.all.recall[((t * ks + k) * areas + AreaRange::All as usize) * ms + ms - 1])
            .filter(|v| *v > -1.0);
        let (sum, count) = values.fold((0.0, 0usize), |(s, n), v| (s + v, n + 1));
        (count > 0).then(|| sum / count as f64)
    }
}

#[cfg(test)]
mod tests;
