//! The parser on small files, on broken ones and on noise.

use std::path::Path;

use proptest::prelude::*;

use super::super::arena::Segmentation;
use super::*;

const SMALL: &str = r#"{"info": {"a": [1, {"b": "}"}]}, "annotations": [
    {"id": 1, "image_id": 5, "category_id": 3, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0,
     "segmentation": [[1, 2, 3.5, 4, 5, 6], [0, 0, 1, 0, 1, 1]]},
    {"id": 2, "image_id": 5, "category_id": 9, "bbox": [0, 0, 2, NaN], "iscrowd": 1,
     "segmentation": {"size": [2, 3], "counts": [1, 2, 3]}}],
  "images": [{"id": 5, "file_name": "a.jpg", "width": 3, "height": 2, "license": 1},
             {"id": 6, "coco_url": "http://x/val2017/0006.jpg", "width": 3, "height": 2}],
  "categories": [{"id": 3, "name": "cat", "supercategory": "animal"}, {"id": 9, "name": "dog"}]}"#;

fn parse(text: &str) -> Result<CocoFile, CocoError> {
    CocoFile::parse(Path::new("x.json"), text.as_bytes())
}

#[test]
fn keys_in_any_order_unknown_ones_skipped() {
    let file = parse(SMALL).unwrap();
    assert_eq!(file.images[1].file_name, "val2017/0006.jpg");
    assert_eq!(file.categories[1].name, "dog");
    let records = file.annotations.records();
    assert!(records[1].bbox.unwrap()[3].is_nan() && records[1].crowd);
    let Segmentation::Polygons(rings) = file.annotations.segmentation(&records[0]) else {
        panic!("polygons expected")
    };
    assert_eq!(rings.iter().collect::<Vec<_>>()[1], [0.0, 0.0, 1.0, 0.0, 1.0, 1.0]);
    assert_eq!(
        file.annotations.segmentation(&records[1]),
        Segmentation::Runs { size: [2, 3], counts: &[1, 2, 3] }
    );
}

#[test]
fn many_pieces_keep_order() {
    let records: Vec<String> = (0..30_000)
        .map(|i| format!(r#"{{"id":{i},"image_id":1,"category_id":1,"segmentation":[[{i},1,2,3,4,5.25]]}}"#))
        .collect();
    let text = format!(
        r#"{{"images":[{{"id":1,"file_name":"a","width":9,"height":9}}],"annotations":[{}]}}"#,
        records.join(",\n")
    );
    assert!(text.len() > 2 * PIECE_BYTES, "the test wants several pieces");
    let file = parse(&text).unwrap();
    for (i, record) in file.annotations.records().iter().enumerate() {
        assert_eq!(record.id, i as u64);
        let Segmentation::Polygons(rings) = file.annotations.segmentation(record) else {
            panic!("polygons expected")
        };
        assert_eq!(rings.iter().next().unwrap(), [i as f64, 1.0, 2.0, 3.0, 4.0, 5.25]);
    }
}

#[test]
fn errors_name_record_id_and_field() {
    let broken = SMALL.replace("\"counts\": [1, 2, 3]", "\"counts\": [1, -2, 3]");
    let text = parse(&broken).unwrap_err().to_string();
    for part in ["x.json", "annotations[1]", "(id 2)", "segmentation", "-2"] {
        assert!(text.contains(part), "{part} not in: {text}");
    }
    let twice = SMALL.replace("\"id\": 6", "\"id\": 5");
    assert!(matches!(parse(&twice), Err(CocoError::DuplicateId { array: "images", id: 5, .. })));
    let error = parse(&SMALL[..SMALL.len() - 40]).unwrap_err().to_string();
    assert!(error.contains("truncated"), "{error}");
    assert!(parse("").is_err() && parse("[]").is_err() && parse("{}").is_err());
    assert!(parse(&format!("{SMALL} x")).is_err());
}

#[test]
fn fields_are_as_lenient_as_tools_write_them() {
    let file = parse(
        r#"{"images": [{"id": 1.0, "file_name": 12, "width": 100.0, "height": 80, "coco_url": null, "license": {"a": 1}},
                       {"id": 2, "file_name": null, "coco_url": "http://x/val/2.jpg", "width": 9, "height": 9}],
            "categories": [{"id": 1, "name": 7, "supercategory": null}, {"id": 2, "name": "b", "supercategory": [3]}],
            "annotations": [{"id": 5, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2], "iscrowd": null,
                             "area": null, "segmentation": null, "attributes": {"occluded": "no"}},
                            {"id": 5, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2], "area": NaN}]}"#,
    )
    .unwrap();
    assert_eq!((file.images[0].file_name.as_str(), file.images[0].width), ("12", 100));
    assert_eq!(file.images[1].file_name, "val/2.jpg");
    assert_eq!((file.categories[0].name.as_str(), file.categories[1].supercategory.as_str()), ("7", ""));
    let records = file.annotations.records();
    assert_eq!((records[0].area, records[0].crowd), (None, false));
    assert!(records[1].area.unwrap().is_nan());
    // an id that comes twice is given to the first alone
    assert_eq!((records[0].id, records[1].id, &file.renumbered[..]), (5, 1, &[(1, 5)][..]));
}

#[test]
fn paths_stay_in_the_folder_and_keys_come_once() {
    for name in ["../a.jpg", "/etc/hostname", "a/../../b.jpg", "C:\\\\a.jpg", "..\\\\a.jpg", "\\\\\\\\a\\\\b"]
    {
        let text = parse(&SMALL.replace("a.jpg", name)).unwrap_err().to_string();
        assert!(text.contains("leads out of the folder") && text.contains("images[0]"), "{name}: {text}");
    }
    assert!(parse(&SMALL.replace("a.jpg", "b/..a/c..jpg")).is_ok());
    let twice = SMALL.replacen('{', r#"{"images": [],"#, 1);
    let text = parse(&twice).unwrap_err().to_string();
    assert!(text.contains("a second `images`"), "{text}");
    let list = r#"{"annotations": [], "annotations": []}"#;
    let text = parse_results(Path::new("r.json"), list.as_bytes()).unwrap_err().to_string();
    assert!(text.contains("r.json") && text.contains("a second `annotations`"), "{text}");
}

#[test]
fn results_as_list_and_as_object() {
    let list = r#"[{"image_id": 1, "category_id": 2, "bbox": [0,0,1,1], "score": 0.5, "id": 77}]"#;
    let path = Path::new("r.json");
    let a = parse_results(path, list.as_bytes()).unwrap();
    let b = parse_results(path, format!(r#"{{"annotations": {list}}}"#).as_bytes()).unwrap();
    assert_eq!(a, b);
    assert_eq!(a.records()[0].id, 1);
    assert!(parse_results(path, b"[]").unwrap().is_empty());
    assert!(parse_results(path, b"{}").is_err());
}

proptest! {
    #[test]
    fn noise_never_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let path = Path::new("noise");
        let _ = CocoFile::parse(path, &text);
        let _ = parse_results(path, &text);
    }

    #[test]
    fn mutated_files_never_panic(
        cuts in proptest::collection::vec((0usize..SMALL.len(), any::<u8>(), 0u8..3), 1..6)
    ) {
        let mut text = SMALL.as_bytes().to_vec();
        for (at, byte, how) in cuts {
            let at = at.min(text.len().saturating_sub(1));
            match how {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ => { text.remove(at); }
            }
        }
        if let Ok(file) = CocoFile::parse(Path::new("mutated"), &text) {
            // Whatever was accepted must be whole: every outline can be read.
            for record in file.annotations.records() {
                if let Segmentation::Polygons(rings) = file.annotations.segmentation(record) {
                    prop_assert_eq!(rings.iter().count(), rings.len());
                }
            }
        }
    }
}
