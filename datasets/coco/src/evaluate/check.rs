//! What cannot be evaluated is named before pycocotools' arithmetic would crash on it or miscount.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use rayon::prelude::*;

use super::IouType;
use crate::arena::{Annotations, Record, Segmentation};
use crate::error::CocoError;
use crate::json::CocoFile;
use crate::outline;

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
        let fault = match iou_type {
            IouType::Bbox => box_fault(record),
            // pycocotools evaluates only annotations of known images, so others are not looked at.
            IouType::Segm => mask_fault(all, record, *sizes.get(&record.image_id)?),
        };
        fault.map(|(field, reason)| (record, field, reason))
    });
    match fault {
        Some((record, field, reason)) => Err(record_error(&truth.path, Some(record), field, reason)),
        None => Ok(()),
    }
}

/// `truth` without the annotations that cannot be evaluated against: no finite box, a mask that encloses nothing or has other
/// runs than its image. So one of them does not end an evaluation; all others stay, also what training leaves out, and
/// the figures are pycocotools' of the rest.
pub fn evaluable(truth: &CocoFile) -> Cow<'_, CocoFile> {
    let all = &truth.annotations;
    let sizes: HashMap<u64, [u32; 2]> = truth.images.iter().map(|i| (i.id, [i.height, i.width])).collect();
    let can = |record: &Record| {
        let masked = all.segmentation(record) != Segmentation::None;
        let mask = sizes.get(&record.image_id).filter(|_| masked);
        box_fault(record).is_none() && mask.is_none_or(|size| mask_fault(all, record, *size).is_none())
    };
    let used: Vec<usize> =
        all.records().par_iter().enumerate().filter(|(_, record)| can(record)).map(|(at, _)| at).collect();
    if used.len() == all.len() {
        return Cow::Borrowed(truth);
    }
    let mut rest = truth.clone();
    rest.annotations.retain_indices(&used);
    Cow::Owned(rest)
}

/// Why a record's box cannot be evaluated.
fn box_fault(record: &Record) -> Option<(&'static str, String)> {
    if record.bbox.is_some_and(|b| b.iter().all(|v| v.is_finite())) {
        return None;
    }
    let found = shown(record.bbox.as_ref().map(|b| &b[..]));
    Some(("bbox", format!("{found}, expected 4 finite numbers")))
}

/// Why a record's mask cannot be evaluated, in an image of (height, width).
fn mask_fault(
    all: &Annotations,
    record: &Record,
    [height, width]: [u32; 2],
) -> Option<(&'static str, String)> {
    let reason = match all.segmentation(record) {
        Segmentation::None => "no mask, expected one for every object".to_string(),
        // one good ring is an object; an evaluator would take a mask without any as empty, and count a miss
        Segmentation::Polygons(rings) => {
            let faults: Vec<String> = rings.iter().filter_map(|r| outline::check(r).err()).collect();
            let finite = rings.iter().flatten().all(|v| v.is_finite());
            if finite && faults.len() < rings.len() {
                return None;
            }
            format!("a ring of {}", faults.into_iter().next().unwrap_or_default())
        }
        runs => outline::to_rle(runs, outline::of([height, width])).err()?.to_string(),
    };
    Some(("segmentation", reason))
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
        let error = outline::to_rle(outline, outline::of([height, width])).err()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_evaluated_is_left_out() {
        let annotations = [
            r#""bbox": [1, 1, 4, 4], "segmentation": [[1, 1, 5, 1, 5, 5]]"#,
            // outside, empty, without an outline: pycocotools counts them
            r#""bbox": [20, 1, 4, 4], "segmentation": [[20, 1, 24, 1, 24, 5]]"#,
            r#""bbox": [1, 1, 0, 4]"#,
            // no box, no number, a ring of two points, runs of another image
            r#""area": 3"#,
            r#""bbox": [1, NaN, 4, 4]"#,
            r#""bbox": [1, 1, 4, 4], "segmentation": [[1, 1, 5, 1]]"#,
            r#""bbox": [1, 1, 4, 4], "segmentation": {"size": [8, 10], "counts": [70, 9]}"#,
        ];
        let records: Vec<String> = annotations
            .iter()
            .enumerate()
            .map(|(id, fields)| format!(r#"{{"id": {}, "image_id": 1, "category_id": 3, {fields}}}"#, id + 1))
            .collect();
        let parse = |records: &[String]| {
            let text = format!(
                r#"{{"images": [{{"id": 1, "file_name": "a.png", "width": 10, "height": 8}}],
                    "categories": [{{"id": 3, "name": "cat"}}], "annotations": [{}]}}"#,
                records.join(",")
            );
            CocoFile::parse(Path::new("f.json"), text.as_bytes()).unwrap()
        };
        let file = parse(&records);
        let kept = evaluable(&file);
        assert_eq!(kept.annotations.records().iter().map(|r| r.id).collect::<Vec<_>>(), [1, 2, 3]);
        for (a, b) in kept.annotations.records().iter().zip(file.annotations.records()) {
            assert_eq!(kept.annotations.segmentation(a), file.annotations.segmentation(b));
        }
        assert!(matches!(evaluable(&parse(&records[..3])), Cow::Borrowed(_)));
    }
}
