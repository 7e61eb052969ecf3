//! The one module that knows the crate hotcoco: its evaluator behind our own types.

use std::collections::HashMap;

use hotcoco::params::{IouType, Params};
use hotcoco::types::{Annotation, Category, Dataset, Image};
use hotcoco::{COCO, COCOeval};
use rayon::prelude::*;

use super::arena::{Annotations, Record, Segmentation};
use super::json::CocoFile;
use super::outline;

/// Which overlap an evaluation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overlap {
    /// Of boxes.
    Boxes,
    /// Of masks.
    Masks,
}

/// Settings of an evaluation.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub overlap: Overlap,
    pub max_dets: [usize; 3],
    /// Upper bounds of small and medium, in pixels².
    pub area_bounds: [f64; 2],
}

/// What an evaluation accumulates: precision and recall over thresholds, categories, area ranges, maxDets.
pub(crate) struct Accumulated {
    /// pycocotools' `stats`, and the lines of its summary.
    pub stats: Vec<f64>,
    pub lines: Vec<String>,
    pub iou_thresholds: Vec<f64>,
    pub recall_thresholds: Vec<f64>,
    /// Category id of each position along that axis.
    pub categories: Vec<u64>,
    /// `[iou, recall, category, area, max_dets]`, −1 where there is nothing to measure.
    pub precision: Vec<f64>,
    /// Score at each precision, same shape.
    pub scores: Vec<f64>,
    /// `[iou, category, area, max_dets]`.
    pub recall: Vec<f64>,
    /// Lengths of the five axes.
    pub shape: [usize; 5],
}

/// Evaluates those detections, all checked against `truth`, that `wanted` accepts.
pub(crate) fn evaluate(
    truth: &CocoFile,
    detections: &Annotations,
    settings: &Settings,
    wanted: &(dyn Fn(&Record) -> bool + Sync),
) -> Result<Accumulated, String> {
    let keep_masks = settings.overlap == Overlap::Masks;
    let convert = |all: &Annotations, wanted: &(dyn Fn(&Record) -> bool + Sync)| {
        let wanted = all.records().par_iter().filter(|r| wanted(r));
        wanted.map(|r| annotation(all, r, keep_masks)).collect::<Vec<_>>()
    };
    let mut found = convert(detections, wanted);
    if detections.records().first().is_some_and(|r| r.bbox.is_none()) {
        compress(&mut found, truth, detections, wanted);
    }
    let mut gt = COCO::from_dataset(Dataset {
        images: truth
            .images
            .iter()
            .map(|i| Image { id: i.id, height: i.height, width: i.width, ..Image::default() })
            .collect(),
        annotations: convert(&truth.annotations, &|_| true),
        categories: truth.categories.iter().map(category).collect(),
        ..Dataset::default()
    });
    gt.fill_missing_areas();
    let dt = gt.load_res_anns(found).map_err(|e| e.to_string())?;
    let iou_type = if keep_masks { IouType::Segm } else { IouType::Bbox };
    let mut eval = COCOeval::new(gt, dt, iou_type);
    eval.params = params(eval.params.clone(), settings);
    eval.evaluate().map_err(|e| e.to_string())?;
    eval.accumulate();
    let lines: Vec<String> = eval.summarize_lines().iter().map(|line| padded(line)).collect();
    let stats = eval.stats().unwrap_or_default().to_vec();
    let Some(all) = eval.accumulated() else {
        return Err("the evaluator accumulated nothing".to_string());
    };
    let s = &all.shape;
    Ok(Accumulated {
        stats,
        lines,
        iou_thresholds: eval.params.iou_thrs.clone(),
        recall_thresholds: eval.params.rec_thrs.clone(),
        categories: all.cat_ids.clone(),
        precision: all.precision.clone(),
        scores: all.scores.clone(),
        recall: all.recall.clone(),
        shape: [s.t, s.r, s.k, s.a, s.m],
    })
}

/// Detections without boxes get box and area from their masks; hotcoco does so for compressed text only.
fn compress(
    found: &mut [Annotation],
    truth: &CocoFile,
    detections: &Annotations,
    wanted: &(dyn Fn(&Record) -> bool + Sync),
) {
    let sizes: HashMap<u64, [u32; 2]> = truth.images.iter().map(|i| (i.id, [i.height, i.width])).collect();
    let records = detections.records().iter().filter(|r| wanted(r));
    for (annotation, record) in found.iter_mut().zip(records) {
        let outline = detections.segmentation(record);
        let Some(&[height, width]) = sizes.get(&record.image_id) else { continue };
        if matches!(outline, Segmentation::Text { .. }) {
            continue;
        }
        // Detections were checked, so there is no error to tell of.
        if let Ok(Some(rle)) = outline::to_rle(outline, outline::of([height, width])) {
            let (size, counts) = ([height, width], rle.to_text());
            annotation.segmentation = Some(hotcoco::Segmentation::CompressedRle { size, counts });
        }
    }
}

fn params(mut params: Params, settings: &Settings) -> Params {
    params.max_dets = settings.max_dets.to_vec();
    let [small, medium] = settings.area_bounds;
    for range in &mut params.area_ranges {
        match range.label.as_str() {
            "small" => range.range[1] = small,
            "medium" => range.range = [small, medium],
            "large" => range.range[0] = medium,
            _ => {}
        }
    }
    params
}

fn category(category: &super::json::Category) -> Category {
    Category { id: category.id, name: category.name.clone(), ..Category::default() }
}

fn annotation(all: &Annotations, record: &Record, keep_mask: bool) -> Annotation {
    let segmentation = match all.segmentation(record) {
        // Boxes are evaluated without outlines, except where box or area must be had from one.
        _ if !keep_mask && record.bbox.is_some() && (record.area.is_some() || record.score.is_some()) => None,
        Segmentation::None => None,
        Segmentation::Polygons(rings) => {
            Some(hotcoco::Segmentation::Polygon(rings.iter().map(<[f64]>::to_vec).collect()))
        }
        Segmentation::Runs { size, counts } => {
            Some(hotcoco::Segmentation::UncompressedRle { size, counts: counts.to_vec() })
        }
        Segmentation::Text { size, counts } => {
            Some(hotcoco::Segmentation::CompressedRle { size, counts: counts.to_string() })
        }
    };
    Annotation {
        id: record.id,
        image_id: record.image_id,
        category_id: record.category_id,
        bbox: record.bbox,
        area: record.area,
        segmentation,
        iscrowd: record.crowd,
        score: record.score,
        ..Annotation::default()
    }
}
/// A summary line with its title padded to 18 characters, as pycocotools prints it.
fn padded(line: &str) -> String {
    match line.split_once("(A") {
        Some((title, rest)) => format!(" {:<18} (A{rest}", title.trim()),
        None => line.to_owned(),
    }
}
