//! Feeds damaged input to every parser of files from elsewhere:
//! `cargo run --release -p kat-tests --example fuzz -- SECONDS [SEED]`.
//!
//! Case n takes a valid input and damages it by the seed SEED + n; one parser after the other has its turn. A parser
//! may refuse or accept, and what it accepts must be usable. Ends with the number of cases, or at the first panic
//! with exit code 1 and the seed that gives this case first.

use std::error::Error;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use image::{GrayImage, ImageFormat, Luma, RgbImage};
use kat_ade20k::{ColorTable, label_png};
use kat_coco::check::{OnProblem, check};
use kat_coco::convert::{Format, write_coco, write_yolo};
use kat_coco::evaluate::{EvalConfig, IouType, evaluate};
use kat_coco::json::{CocoFile, parse_results};
use kat_imagenet::tar::read_shard;
use kat_images::Rect;
use kat_images::bench::sample_jpeg;
use kat_images::decode::{DecodeOptions, Encoded, ImageStream};
use kat_images::{Rle, Size};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const INSTANCES: &str = r#"{"info": {"year": 2017}, "images": [
    {"id": 1, "file_name": "a.png", "width": 10, "height": 8}, {"id": 2, "file_name": "b.png", "width": 4, "height": 4}],
    "categories": [{"id": 3, "name": "cat", "supercategory": "animal"}],
    "annotations": [
    {"id": 7, "image_id": 1, "category_id": 3, "bbox": [1, 1, 4.5, 4], "area": 8.0, "iscrowd": 0,
     "segmentation": [[1, 1, 5, 1, 5, 5], [2.5, 2, 6, 2, 6, 6, 2, 6]]},
    {"id": 8, "image_id": 1, "category_id": 3, "bbox": [0, 0, 9, 8], "iscrowd": 1,
     "segmentation": {"size": [8, 10], "counts": [70, 4, 6]}},
    {"id": 9, "image_id": 2, "category_id": 3, "bbox": [0, 0, 4, 4],
     "segmentation": {"size": [4, 4], "counts": "04442"}}]}"#;

const RESULTS: &str = r#"[{"image_id": 1, "category_id": 3, "bbox": [1, 1, 4, 4], "score": 0.5},
    {"image_id": 2, "category_id": 3, "bbox": [0, 0, 2.25, 3e0], "score": 1.0e-1,
     "segmentation": {"size": [4, 4], "counts": "04442"}}]"#;

const VOC: &str = "<annotation><filename>a.png</filename><size><width>20</width><height>10</height></size><object>\
    <name>cat</name><difficult>0</difficult><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>9.5</xmax><ymax>8</ymax></bndbox>\
    </object></annotation>";

const LABEL_ME: &str = r#"{"imagePath": "a.png", "imageWidth": 20, "imageHeight": 10, "shapes": [
    {"label": "cat", "shape_type": "polygon", "points": [[1, 1], [8, 1.5], [4, 7]]},
    {"label": "dog", "shape_type": "rectangle", "points": [[1, 1], [8, 7]]},
    {"label": "dog", "shape_type": "circle", "points": [[5, 5], [7, 5]]}]}"#;

/// Pieces that text formats tend to trip over.
const TOKENS: [&[u8]; 12] = [
    b"NaN",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"null",
    b"[",
    b"}",
    b"\"",
    b"\\u",
    b"\xff",
    b"0",
    b",",
];

/// Each parser with an input it accepts.
struct Parser {
    name: &'static str,
    input: Vec<u8>,
    parse: fn(&[u8], &mut ChaCha8Rng),
}

fn parsers() -> Result<Vec<Parser>, Box<dyn Error>> {
    let mask = GrayImage::from_fn(23, 17, |x, y| Luma([if (x * y) % 5 < 2 { 255 } else { 0 }]));
    let mut label_png = Cursor::new(Vec::new());
    mask.write_to(&mut label_png, ImageFormat::Png)?;
    let mut rgb_png = Cursor::new(Vec::new());
    RgbImage::from_fn(23, 17, |x, y| image::Rgb([x as u8, y as u8, 9]))
        .write_to(&mut rgb_png, ImageFormat::Png)?;
    let jpeg = sample_jpeg(61, 43, 1)?;
    let mut shard = tar::Builder::new(Vec::new());
    for (name, bytes) in [("a.jpg", &jpeg[..]), ("a.cls", b"3"), ("b.cls", b"0"), ("b.jpg", &jpeg[..])] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        shard.append_data(&mut header, name, bytes)?;
    }
    let parser = |name, input, parse| Parser { name, input, parse };
    Ok(vec![
        parser("instances", INSTANCES.into(), |bytes, _| {
            if let Ok(file) = CocoFile::parse(Path::new("instances.json"), bytes) {
                let _ = check(&file, OnProblem::Skip);
                let _ = check(&file, OnProblem::Fail);
            }
        }),
        parser("results", RESULTS.into(), |bytes, _| {
            if let Ok(found) = parse_results(Path::new("results.json"), bytes) {
                let truth = CocoFile::parse(Path::new("instances.json"), INSTANCES.as_bytes());
                for iou_type in [IouType::Bbox, IouType::Segm] {
                    let truth = truth.as_ref().expect("the input undamaged is valid");
                    let _ = evaluate(truth, &found, &EvalConfig::coco(iou_type));
                }
            }
        }),
        parser(
            "compressed RLE",
            Rle::from_bitmap(Size::of(&mask), mask.as_raw())?.to_text().into_bytes(),
            |bytes, rng| {
                let (height, width): (usize, usize) =
                    if rng.random() { (17, 23) } else { (rng.random_range(0..64), rng.random_range(0..64)) };
                if let Ok(rle) = Rle::from_text(Size::new(height, width), &String::from_utf8_lossy(bytes)) {
                    assert_eq!(rle.to_bitmap().len(), width * height);
                    assert_eq!(Rle::from_text(rle.size(), &rle.to_text()).ok().as_ref(), Some(&rle));
                }
            },
        ),
        parser("data.yaml", b"train: images\nnames: {0: cat, 1: \"a: dog\"}\n".into(), |bytes, _| {
            other_tool(Format::Yolo, "data.yaml", bytes);
        }),
        parser("YOLO's labels", b"1 0.2 0.5 0.5 0.5 0.2 1\n0 0.5 0.5 0.2 0.4\n".into(), |bytes, _| {
            other_tool(Format::Yolo, "labels/a.txt", bytes);
        }),
        parser("Pascal VOC", VOC.into(), |bytes, _| other_tool(Format::Voc, "Annotations/a.xml", bytes)),
        parser("LabelMe", LABEL_ME.into(), |bytes, _| other_tool(Format::LabelMe, "a.json", bytes)),
        parser("color table", b"# a\n64 128 64\tsky\n0,0,0,a car\nroad:1,2,3::\n".into(), |bytes, _| {
            let file = tempfile::NamedTempFile::new().expect("a temporary file");
            std::fs::write(file.path(), bytes).expect("the temporary file can be written");
            if let Ok(table) = ColorTable::read(file.path(), &[]) {
                assert!((1..=255).contains(&table.names().len()));
                let _ = table.labels(&RgbImage::new(2, 2));
            }
        }),
        parser("label PNG", label_png.into_inner(), |bytes, _| drop(label_png::parse(bytes))),
        parser("images in a stream", [&jpeg[..], rgb_png.get_ref()].concat(), stream),
        parser("JPEG", jpeg, decode),
        parser("PNG", rgb_png.into_inner(), decode),
        parser("tar", shard.into_inner()?, |bytes, _| {
            if let Ok(shard) = read_shard(Path::new("0.tar"), Cursor::new(bytes), 10) {
                let inside = |end: u64| end <= bytes.len() as u64;
                assert!(shard.records.iter().all(|r| inside(r.offset + r.length) && r.class < 10));
            }
        }),
    ])
}

/// A folder of another tool in which one file is damaged; what is read of it can be written.
fn other_tool(format: Format, damaged: &str, bytes: &[u8]) {
    let folder = || -> std::io::Result<tempfile::TempDir> {
        let dir = tempfile::tempdir()?;
        for place in ["images/a.png", "JPEGImages/a.png", "a.png"] {
            let path = dir.path().join(place);
            std::fs::create_dir_all(path.parent().unwrap_or(dir.path()))?;
            RgbImage::new(20, 10).save(&path).map_err(std::io::Error::other)?;
        }
        if damaged != "data.yaml" && format == Format::Yolo {
            std::fs::write(dir.path().join("data.yaml"), "train: images\nnames: [cat, dog]\n")?;
        }
        let path = dir.path().join(damaged);
        std::fs::create_dir_all(path.parent().unwrap_or(dir.path()))?;
        std::fs::write(path, bytes)?;
        Ok(dir)
    };
    let dir = folder().expect("the temporary folder can be written");
    if let Ok(set) = format.read(dir.path()) {
        let _ = write_coco(&set, &dir.path().join("coco"));
        let _ = write_yolo(&set, &dir.path().join("yolo"));
    }
}

/// The images of a stream lie in it one after another.
fn stream(bytes: &[u8], _: &mut ChaCha8Rng) {
    let (mut images, mut read) = (ImageStream::new(bytes), 0);
    while let Ok(Some(image)) = images.next_image() {
        assert!(!image.is_empty() && bytes[read..].starts_with(image), "what is given is what was there");
        read += image.len();
    }
}

/// A part of the image, then the whole: where the whole can be decoded, the part can.
fn decode(bytes: &[u8], rng: &mut ChaCha8Rng) {
    let options = DecodeOptions { max_pixels: 1 << 18, ..DecodeOptions::default() };
    let Ok(image) = Encoded::open(bytes, &options) else { return };
    let (width, height) = image.size().dimensions();
    let rect = Rect {
        x: rng.random_range(0..width),
        y: rng.random_range(0..height),
        width: rng.random_range(1..=width),
        height: rng.random_range(1..=height),
    }
    .within(image.size());
    let part = image.decode_region(rect, Vec::new());
    if let Ok(part) = &part {
        assert_eq!(part.dimensions(), (rect.width, rect.height));
    }
    if let Ok(whole) = Encoded::open(bytes, &options).and_then(|image| image.decode(Vec::new())) {
        assert_eq!(whole.dimensions(), (width, height));
        assert!(part.is_ok(), "the whole decodes, {rect:?} of it does not");
    }
}

/// One to six small changes.
fn damage(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    for _ in 0..rng.random_range(1..=6) {
        let at = rng.random_range(0..=bytes.len());
        let end = (at + rng.random_range(0..=16)).min(bytes.len());
        match rng.random_range(0..7) {
            0 if at < end => bytes[at] = rng.random(),
            1 if at < end => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => bytes.insert(at, rng.random()),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copied = bytes[at..end].to_vec();
                let to = rng.random_range(0..=bytes.len());
                bytes.splice(to..to, copied);
            }
            5 => {
                let token = TOKENS.choose(rng).copied().unwrap_or_default();
                bytes.splice(at..end, token.iter().copied());
            }
            _ if rng.random_bool(0.2) => bytes.truncate(at),
            _ => {}
        }
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    const USAGE: &str = "usage: fuzz SECONDS [SEED]";
    let mut args = std::env::args().skip(1);
    let limit = Duration::from_secs(args.next().ok_or(USAGE)?.parse().map_err(|_| USAGE)?);
    let first: u64 = args.next().map_or(Ok(0), |seed| seed.parse()).map_err(|_| USAGE)?;
    let parsers = parsers()?;
    let (start, mut cases) = (Instant::now(), 0u64);
    while cases == 0 || start.elapsed() < limit {
        let seed = first.wrapping_add(cases);
        let parser = &parsers[(seed % parsers.len() as u64) as usize];
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut input = parser.input.clone();
        damage(&mut input, &mut rng);
        if catch_unwind(AssertUnwindSafe(|| (parser.parse)(&input, &mut rng))).is_err() {
            println!("{} panicked at case {cases}, seed {seed}", parser.name);
            return Ok(ExitCode::FAILURE);
        }
        cases += 1;
    }
    println!("{cases} cases of {} parsers from seed {first}, no panic", parsers.len());
    Ok(ExitCode::SUCCESS)
}
