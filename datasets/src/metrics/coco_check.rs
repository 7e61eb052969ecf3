//! What cannot be evaluated is named before pycocotools' arithmetic would crash on it or miscount.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use rayon::prelude::*;

use super::coco_map::IouType;
use crate::coco::arena::{Annotations, Record, Segmentation};
use crate::coco::error::CocoError;
use crate::coco::json::CocoFile;
use crate::coco::polygon;
use crate::coco::rle::Rle;

pub(super) fn record_error(
    path: &Path,
    record: Option<&Record>,
    field: &'static str,
    reason: String,
) -> CocoError {
    CocoError::Annotation {
        path: path.to_owned(),
        annotation: record.map_or(0, |r| r.id),
        image: record.map_or(0, |r| r.image_id),
        field,
        reason,
    }
}

/// The first of these ids, each once.
pub(super) fn few(ids: impl Iterator<Item = u64>) -> String {
    let ids: std::collections::BTreeSet<u64> = ids.collect();
    let shown: Vec<String> = ids.iter().take(8).map(u64::to_string).collect();
    let more = if ids.len() > shown.len() { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Numbers of a record in words.
fn shown(values: Option<&[f64]>) -> String {
    match values {
        None => "nothing".to_string(),
        Some([one]) => one.to_string(),
        Some(all) => format!("{all:?}"),
    }
}

/// Whether masks can be evaluated against `truth`.
///
/// # Errors
/// Names the first annotation whose outline is missing or encloses nothing, or says that there are none.
pub fn check_masks(truth: &CocoFile) -> Result<(), CocoError> {
    check_truth(truth, IouType::Segm)
}

pub(super) fn check_truth(truth: &CocoFile, iou_type: IouType) -> Result<(), CocoError> {
    let all = &truth.annotations;
    let sizes: HashMap<u64, [u32; 2]> = truth.images.iter().map(|i| (i.id, [i.height, i.width])).collect();
    let mut seen = HashSet::with_capacity(all.len());
    if let Some(twice) = all.records().iter().find(|r| !seen.insert(r.id)) {
        let (path, array) = (truth.path.clone(), "annotations");
        return Err(CocoError::DuplicateId { path, array, id: twice.id });
    }
    let fault = all.records().par_iter().find_map_first(|record| {
        let boxed = record.bbox.is_some_and(|b| b.iter().all(|v| v.is_finite()));
        if iou_type == IouType::Bbox && !boxed {
            let found = shown(record.bbox.as_ref().map(|b| &b[..]));
            return Some((record, "bbox", format!("{found}, expected 4 finite numbers")));
        }
        if iou_type == IouType::Segm {
            // pycocotools evaluates only annotations of known images, so others are not looked at.
            let size = sizes.get(&record.image_id)?;
            let outline = all.segmentation(record);
            let reason = match outline {
                Segmentation::None => "no mask, expected one for every object".to_string(),
                // one good ring is an object; an evaluator would take a mask without any as empty, and count a miss
                Segmentation::Polygons(rings) => {
                    let faults: Vec<String> = rings.iter().filter_map(|r| polygon::check(r).err()).collect();
                    let finite = rings.iter().flatten().all(|v| v.is_finite());
                    if finite && faults.len() < rings.len() {
                        return None;
                    }
                    format!("a ring of {}", faults.into_iter().next().unwrap_or_default())
                }
                runs => Rle::from_segmentation(runs, size[0], size[1]).err()?.to_string(),
            };
            return Some((record, "segmentation", reason));
        }
        None
    });
    match fault {
        Some((record, field, reason)) => Err(record_error(&truth.path, Some(record), field, reason)),
        None => Ok(()),
    }
}

pub(super) fn check_detections(
    truth: &CocoFile,
    detections: &Annotations,
    sizes: &HashMap<u64, [u32; 2]>,
    iou_type: IouType,
) -> Result<(), CocoError> {
    let boxes = detections.records().first().is_some_and(|r| r.bbox.is_some());
    let fault = detections.records().par_iter().find_map_first(|record| {
        if boxes && record.bbox.is_none() {
            // pycocotools goes by the first detection and fails on one that differs.
            return Some((record, "bbox", "no box, while the first detection has one".to_string()));
        }
        let Some(&[height, width]) = sizes.get(&record.image_id) else {
            let truth = truth.path.display();
            let reason = format!("{} is not an image of {truth}", record.image_id);
            return Some((record, "image_id", reason));
        };
        if !record.score.is_some_and(f64::is_finite) {
            let found = shown(record.score.as_ref().map(std::slice::from_ref));
            let reason = format!("{found}, expected a finite number");
            return Some((record, "score", reason));
        }
        if record.bbox.is_some_and(|b| b.iter().any(|v| !v.is_finite())) {
            let found = shown(record.bbox.as_ref().map(|b| &b[..]));
            return Some((record, "bbox", format!("{found}, expected 4 finite numbers")));
        }
        let outline = detections.segmentation(record);
        if outline == Segmentation::None {
            let reason = "neither box nor mask".to_string();
            return record.bbox.is_none().then_some((record, "bbox", reason));
        }
        if iou_type == IouType::Bbox && record.bbox.is_some() {
            return None;
        }
        let error = Rle::from_segmentation(outline, height, width).err()?;
        Some((record, "segmentation", error.to_string()))
    });
    match fault {
        Some((record, field, reason)) => Err(CocoError::Detection {
            path: detections.source().to_owned(),
            // the id is the position from 1
            index: record.id.saturating_sub(1) as usize,
            field,
            reason,
        }),
        None => Ok(()),
    }
}
