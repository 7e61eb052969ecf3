//! The metrics against golden numbers: COCO's figures by pycocotools, mean IoU.

use std::path::PathBuf;

use kat_ade20k::miou::{ConfusionMatrix, LabelConfig};
use kat_coco::evaluate::{EvalConfig, IouType, evaluate};
use kat_coco::json::{CocoFile, read_results};
use safetensors::{Dtype, SafeTensors};

fn golden(file: &str) -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden");
    std::env::var_os("KAT_GOLDEN_DIR").map_or(own, PathBuf::from).join(file)
}

fn assert_close(name: &str, found: f64, expected: f64, tolerance: f64) {
    let same = found.is_nan() && expected.is_nan() || (found - expected).abs() <= tolerance;
    assert!(same, "{name}: found {found}, expected {expected} within {tolerance}");
}

/// A figure of pycocotools: −1 or NaN (`null` in JSON) where there is nothing to measure.
fn figure(value: &serde_json::Value) -> Option<f64> {
    value.as_f64().filter(|v| *v > -1.0)
}

fn coco_figures_agree(key: &str, iou_type: IouType) {
    let truth = CocoFile::read(&golden("coco_gt.json")).unwrap();
    let found = read_results(&golden("coco_dets.json")).unwrap();
    let text = std::fs::read(golden("coco_expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let result = evaluate(&truth, &found, &EvalConfig::coco(iou_type)).unwrap();

    let stats = expected[key].as_array().unwrap();
    assert_eq!(result.stats().len(), stats.len());
    for (i, (found, expected)) in result.stats().iter().zip(stats).enumerate() {
        assert_close(&format!("{key}[{i}]"), *found, figure(expected).unwrap_or(-1.0), 1e-9);
    }
    let per_category = expected[format!("{key}_per_category_ap")].as_array().unwrap();
    let categories = result.categories();
    assert_eq!(categories.len(), per_category.len());
    for (category, expected) in categories.iter().zip(per_category) {
        let (found, expected) = (category.ap.unwrap_or(-1.0), figure(expected).unwrap_or(-1.0));
        assert_close(&category.name, found, expected, 1e-9);
    }
}

#[test]
fn golden_coco_boxes() {
    coco_figures_agree("bbox", IouType::Bbox);
}

#[test]
fn golden_coco_masks() {
    coco_figures_agree("segm", IouType::Segm);
}

#[test]
fn golden_mean_iou() {
    let bytes = std::fs::read(golden("miou.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let doubles = |name: &str| -> Vec<f64> {
        let tensor = file.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::F64, "{name}");
        let chunks = tensor.data().chunks_exact(8);
        chunks.map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let (iou, acc) = (doubles("iou"), doubles("acc"));
    let labels = file.tensor("label_png").unwrap();
    let predictions = file.tensor("prediction").unwrap();

    let config = LabelConfig { reduce_zero_label: true, ..LabelConfig::new(iou.len()) };
    let mut matrix = ConfusionMatrix::new(config.clone()).unwrap();
    let images = labels.shape()[0];
    let size = labels.data().len() / images;
    for (l, p) in labels.data().chunks(size).zip(predictions.data().chunks(size)) {
        // By image and merged, as an evaluation on several ranks does.
        let mut one = ConfusionMatrix::new(config.clone()).unwrap();
        one.update(l, p).unwrap();
        matrix.merge(&one).unwrap();
    }
    let scores = matrix.scores();
    for (class, (found, expected)) in scores.iou.iter().zip(&iou).enumerate() {
        assert_close(&format!("iou[{class}]"), *found, *expected, 1e-12);
    }
    for (class, (found, expected)) in scores.acc.iter().zip(&acc).enumerate() {
        assert_close(&format!("acc[{class}]"), *found, *expected, 1e-12);
    }
    let means = [scores.a_acc, scores.m_iou, scores.m_acc];
    for (name, (found, expected)) in
        ["aAcc", "mIoU", "mAcc"].iter().zip(means.iter().zip(doubles("aAcc_mIoU_mAcc")))
    {
        assert_close(name, *found, expected, 1e-12);
    }
}
