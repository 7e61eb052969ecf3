//! COCO results, and their evaluation.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use kat_coco::evaluate::{EvalConfig, IouType, evaluate};
use kat_coco::json::{CocoFile, parse_results};
use libfuzzer_sys::fuzz_target;

static TRUTH: LazyLock<CocoFile> = LazyLock::new(|| {
    let text = br#"{"images": [{"id": 1, "file_name": "a.png", "width": 10, "height": 8},
        {"id": 2, "file_name": "b.png", "width": 4, "height": 4}], "categories": [{"id": 3, "name": "cat"}],
        "annotations": [{"id": 7, "image_id": 1, "category_id": 3, "bbox": [1, 1, 4.5, 4], "area": 8.0, "iscrowd": 0,
        "segmentation": [[1, 1, 5, 1, 5, 5]]}, {"id": 9, "image_id": 2, "category_id": 3, "bbox": [0, 0, 4, 4],
        "segmentation": {"size": [4, 4], "counts": "04442"}}]}"#;
    CocoFile::parse(Path::new("instances.json"), text).expect("a valid file")
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(found) = parse_results(Path::new("results.json"), bytes) {
        for iou_type in [IouType::Bbox, IouType::Segm] {
            let _ = evaluate(&TRUTH, &found, &EvalConfig::coco(iou_type));
        }
    }
});
