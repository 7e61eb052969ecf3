//! Measures reading and evaluation of generated COCO files:
//! `cargo run --release -p kat-coco --example coco_speed -- FOLDER [INSTANCES]`.
//! The files stay in FOLDER, for the same measurement by another tool; INSTANCES is another file to read.

use std::path::PathBuf;

use kat_coco::bench::{CocoScale, eval_speed, generate, parse_speed};
use kat_coco::evaluate::IouType;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let dir = args.next().ok_or("usage: coco_speed FOLDER [INSTANCES]")?;
    let (truth, found) = (dir.join("gt.json"), dir.join("dt.json"));
    if !truth.exists() {
        generate(&truth, &found, CocoScale::val2017(), 1)?;
    }
    for iou_type in [IouType::Bbox, IouType::Segm] {
        println!("{}", serde_json::to_string(&eval_speed(&truth, &found, iou_type, 5)?)?);
    }
    let large = args.next().unwrap_or_else(|| dir.join("large.json"));
    if !large.exists() {
        let scale = CocoScale { images: 118_000, annotations: 860_000, detections: 0, corners: 22 };
        generate(&large, &dir.join("none.json"), scale, 2)?;
    }
    println!("{}", serde_json::to_string(&parse_speed(&large, 5)?)?);
    Ok(())
}
