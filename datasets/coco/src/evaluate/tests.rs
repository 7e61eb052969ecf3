//! Evaluations small enough to be worked out by hand. Parity with pycocotools is tested on the golden files.

use std::path::Path;

use super::*;
use crate::json::parse_results;

const IMAGES: &str = r#""images": [{"id": 1, "file_name": "a", "width": 200, "height": 200}],
    "categories": [{"id": 2, "name": "cat"}, {"id": 7, "name": "dog"}]"#;

fn truth(annotations: &str) -> CocoFile {
    let text = format!(r#"{{{IMAGES}, "annotations": {annotations}}}"#);
    CocoFile::parse(Path::new("gt.json"), text.as_bytes()).unwrap()
}

fn dets(list: &str) -> Annotations {
    parse_results(Path::new("dt.json"), list.as_bytes()).unwrap()
}

const ONE: &str = r#"[{"id": 1, "image_id": 1, "category_id": 2, "bbox": [10, 10, 40, 40], "area": 1600,
    "segmentation": [[10, 10, 50, 10, 50, 50, 10, 50]]}]"#;

#[test]
fn a_right_and_a_wrong_detection() {
    // The wrong one scores higher: precision is 1/2 at every recall, so AP is 1/2; recall is 1.
    let found = dets(
        r#"[{"image_id": 1, "category_id": 2, "bbox": [10, 10, 40, 40], "score": 0.5},
            {"image_id": 1, "category_id": 2, "bbox": [100, 100, 40, 40], "score": 0.9},
            {"image_id": 1, "category_id": 5, "bbox": [10, 10, 40, 40], "score": 0.9}]"#,
    );
    let result = evaluate(&truth(ONE), &found, &EvalConfig::coco(IouType::Bbox)).unwrap();
    assert!((result.ap() - 0.5).abs() < 1e-12);
    assert_eq!(result.dropped(), 1);
    let [cat, dog] = &result.categories()[..] else { panic!("two categories") };
    assert_eq!((cat.name.as_str(), dog.name.as_str()), ("cat", "dog"));
    assert!((cat.ap50.unwrap() - 0.5).abs() < 1e-12 && (cat.ar.unwrap() - 1.0).abs() < 1e-12);
    assert_eq!((cat.ap_small, dog.ap, dog.ar), (None, None, None));
    assert!((cat.ap_medium.unwrap() - 0.5).abs() < 1e-12);
    let curve = result.curve(Some(2), 0.5, AreaRange::All).unwrap();
    assert_eq!((curve.len(), curve[100].recall, curve[100].score), (101, 1.0, 0.5));
    assert_eq!(result.curve(Some(7), 0.5, AreaRange::All), None);
    assert_eq!(result.curve(None, 0.5, AreaRange::All), Some(curve));
    assert_eq!(result.lines().len(), 12);
}

#[test]
fn one_detection_an_image_and_a_moved_area_bound() {
    let found = dets(
        r#"[{"image_id": 1, "category_id": 2, "bbox": [10, 10, 40, 40], "score": 0.5},
            {"image_id": 1, "category_id": 2, "bbox": [100, 100, 40, 40], "score": 0.9}]"#,
    );
    let config = EvalConfig { area_bounds: [1700.0, 9216.0], ..EvalConfig::coco(IouType::Bbox) };
    let result = evaluate(&truth(ONE), &found, &config).unwrap();
    // AR_1 sees the wrong one only; the object of 1600 pixels is small now.
    assert_eq!(result.stats()[6], 0.0);
    assert!((result.stats()[3] - 0.5).abs() < 1e-12 && result.stats()[4] == -1.0);
}

#[test]
fn masks_are_compared_by_pixels() {
    let found = dets(
        r#"[{"image_id": 1, "category_id": 2, "score": 0.5,
             "segmentation": [[10, 10, 50, 10, 50, 38, 10, 38]]}]"#,
    );
    // 28 of 40 rows: IoU 0.7, found at 0.50, 0.55, 0.60, 0.65 and 0.70.
    let result = evaluate(&truth(ONE), &found, &EvalConfig::coco(IouType::Segm)).unwrap();
    assert!((result.ap() - 0.5).abs() < 1e-12, "{}", result.ap());
    let boxes = evaluate(&truth(ONE), &found, &EvalConfig::coco(IouType::Bbox)).unwrap();
    assert!((boxes.ap() - 0.5).abs() < 1e-12, "{}", boxes.ap());
}

#[test]
fn nothing_detected_and_nothing_to_detect() {
    let config = EvalConfig::coco(IouType::Bbox);
    assert_eq!(evaluate(&truth(ONE), &dets("[]"), &config).unwrap().ap(), 0.0);
    assert_eq!(evaluate(&truth("[]"), &dets("[]"), &config).unwrap().ap(), -1.0);
}

#[test]
fn what_cannot_be_evaluated_is_named() {
    let good = r#"[{"image_id": 1, "category_id": 2, "bbox": [1, 1, 4, 4], "score": 0.5}]"#;
    let cases = [
        (ONE, good.replace("\"image_id\": 1", "\"image_id\": 9"), IouType::Bbox, "image_id"),
        (ONE, good.replace("0.5", "NaN"), IouType::Bbox, "score"),
        (ONE, good.replace("[1, 1,", "[1, NaN,"), IouType::Bbox, "bbox"),
        (ONE, good.replace("\"bbox\": [1, 1, 4, 4],", ""), IouType::Bbox, "bbox"),
        (
            ONE,
            good.replace("\"bbox\"", r#""segmentation": {"size": [2, 2], "counts": [4]}, "bbox""#),
            IouType::Segm,
            "segmentation",
        ),
        (
            r#"[{"id": 4, "image_id": 1, "category_id": 2, "bbox": [1, 1, 2, 2]}]"#,
            good.to_string(),
            IouType::Segm,
            "annotation 4",
        ),
        (
            r#"[{"id": 4, "image_id": 1, "category_id": 2, "bbox": [1, NaN, 2, 2]}]"#,
            good.to_string(),
            IouType::Bbox,
            "annotation 4",
        ),
    ];
    for (gt, found, iou_type, expected) in cases {
        let result = evaluate(&truth(gt), &dets(&found), &EvalConfig::coco(iou_type));
        let Err(error) = result.map(|r| r.ap()) else { panic!("{found} was accepted") };
        assert!(error.to_string().contains(expected), "{error}");
    }
}
