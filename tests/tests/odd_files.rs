//! Files from outside as users have them: what is read wrongly, or ends a program, by its row of the field reports.

use std::io::Write as _;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};
use kat_tests::program::{Run, run};
use serde_json::{Value, json};

fn failed(done: &Run, status: i32, text: &str) {
    assert_eq!(done.status, status, "{text}: {done:?}");
    assert!(done.stderr.contains(text) && !done.stderr.contains("panicked"), "{text}: {done:?}");
}

/// Two classes of twelve images each, right below `dir`.
fn write_classes(dir: &Path) {
    for (class, color) in [("dark", 40), ("light", 200)] {
        std::fs::create_dir_all(dir.join(class)).unwrap();
        for i in 0..12u8 {
            let image = RgbImage::from_fn(20, 16, |x, _| Rgb([color + i, color, x as u8]));
            image.save(dir.join(class).join(format!("{i}.png"))).unwrap();
        }
    }
}

/// A PNG of one column, whose rows are all the same: small in the file, long once resized.
fn strip(height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let image = RgbImage::from_pixel(1, height, Rgb([9, 9, 9]));
    image.write_to(&mut std::io::Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
    bytes
}

#[test]
fn classify_names_the_file_and_goes_on() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    write_classes(&dir.join("data"));
    let mut train = vec!["-q", "train", "--data", "data", "-o", "run", "--overwrite"];
    for change in [
        "model.image_size=16",
        "model.patch=8",
        "model.dim=16",
        "model.depth=1",
        "model.heads=1",
        "model.groups=4",
        "train.steps=2",
        "train.batch_size=4",
        "output.report=false",
    ] {
        train.extend(["--set", change]);
    }
    let classify = |args: &[&str]| run("classify", args, dir);
    let with = |change: &'static str| classify(&[&train[..], &["--set", change]].concat());
    let trained = classify(&train);
    assert_eq!(trained.status, 0, "{trained:?}");

    // too long once resized, and damaged: the others are still named
    std::fs::write(dir.join("strip.png"), strip(4_200_000)).unwrap();
    let mut jpeg = Vec::new();
    RgbImage::new(64, 64).write_to(&mut std::io::Cursor::new(&mut jpeg), ImageFormat::Jpeg).unwrap();
    std::fs::write(dir.join("cut.jpg"), &jpeg[..jpeg.len() - 20]).unwrap();
    let predict = ["predict", "--checkpoint", "run/last.safetensors"];
    let good = "data/dark/1.png";
    let done = classify(&[&predict[..], &["cut.jpg", good]].concat());
    failed(&done, 1, "cut.jpg");
    assert_eq!(done.stdout.lines().count(), 1, "{done:?}");
    let done = classify(&[&predict[..], &["strip.png", good]].concat());
    failed(&done, 1, "strip.png");
    assert!(done.stderr.contains("more than the limit"), "{done:?}");
    assert_eq!(done.stdout.lines().count(), 1, "{done:?}");
    failed(&classify(&[&predict[..], &["--max-image-mb", "0", good]].concat()), 1, "--max-image-mb");
    #[cfg(unix)]
    failed(&classify(&[&predict[..], &["/dev/zero"]].concat()), 1, "regular file");

    // sizes that no memory holds are refused
    failed(&with("model.image_size=4294967296"), 2, "at most 1048576 pixels");
    failed(&with("model.image_size=80000"), 2, "this machine has");
}

#[test]
fn weights_that_are_no_numbers_give_no_answer() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    write_classes(&dir.join("data"));
    let mut train = vec!["-q", "train", "--data", "data", "-o", "run"];
    for change in ["model.image_size=16", "model.patch=8", "model.dim=16", "model.depth=1", "model.heads=1"] {
        train.extend(["--set", change]);
    }
    train.extend(["--set", "model.groups=4", "--set", "train.steps=1", "--set", "train.batch_size=4"]);
    let done = run("classify", &train, dir);
    assert_eq!(done.status, 0, "{done:?}");
    let path = dir.join("run/last.safetensors");
    let mut map = kat_backbone::checkpoint::safetensors::load(&path).unwrap();
    let tensor = map.tensors.get_mut("head.bias").unwrap();
    tensor.data[0] = f32::NAN;
    kat_backbone::checkpoint::safetensors::save(&dir.join("nan.safetensors"), &map).unwrap();
    let done = run("classify", &["predict", "--checkpoint", "nan.safetensors", "data/dark/1.png"], dir);
    failed(&done, 1, "head.bias");
    assert!(!done.stdout.contains("NaN"), "{done:?}");
}

fn coco(dir: &Path, annotations: &Value) {
    let image = |id: u32| json!({"id": id, "file_name": format!("{id}.png"), "width": 100.0, "height": 80});
    let file = json!({
        "images": [image(1), image(2)], "annotations": annotations,
        "categories": [{"id": 1, "name": 7, "supercategory": null}],
    });
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("gt.json"), file.to_string()).unwrap();
}

fn object(id: u32, image: u32, segmentation: &Value) -> Value {
    json!({
        "id": id, "image_id": image, "category_id": 1, "bbox": [10, 10, 40, 40], "area": 1600, "iscrowd": null,
        "segmentation": segmentation,
    })
}

#[test]
fn coco_eval_blames_the_file_at_fault() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let square = json!([[10, 10, 50, 10, 50, 50, 10, 50]]);
    let detection =
        |image: u32| json!({"image_id": image, "category_id": 1, "bbox": [10, 10, 40, 40], "score": 0.5});
    let write = |detections: &Value| {
        std::fs::File::create(dir.join("dt.json"))
            .unwrap()
            .write_all(detections.to_string().as_bytes())
            .unwrap()
    };
    let eval = |more: &[&str]| {
        run("detect", &[&["coco-eval", "--gt", "gt.json", "--dets", "dt.json"][..], more].concat(), dir)
    };
    // whole floats, numbers as names, null for what is missing, an id twice
    coco(dir, &json!([object(1, 1, &square), object(1, 2, &square)]));
    write(&json!([detection(1), detection(2)]));
    let done = eval(&["--json", "--max-dets", "1", "10", "300"]);
    assert_eq!(done.status, 0, "{done:?}");
    let figures: Value = serde_json::from_str(&done.stdout).unwrap();
    assert!((figures["stats"]["AP"].as_f64().unwrap() - 1.0).abs() < 1e-9, "both objects count: {figures}");
    assert!(figures["stats"]["AR_300"].is_number() && figures["stats"]["AR_100"].is_null(), "{figures}");
    assert_eq!(figures["categories"][0]["name"], "7");
    // the results file and the place in it
    write(&json!([detection(1), detection(9)]));
    failed(&eval(&[]), 1, "dt.json: results[1], field `image_id`: 9 is not an image of gt.json");
    write(&json!([{"image_id": 1, "category_id": 5, "bbox": [0, 0, 9, 9], "score": 0.5}]));
    failed(&eval(&[]), 1, "none of its 1 detections is of a category of gt.json");
    // a ring of two points is no mask
    coco(dir, &json!([object(1, 1, &square), object(2, 2, &json!([[10, 10, 50, 50]]))]));
    write(&json!([detection(1)]));
    failed(
        &eval(&["--iou-type", "segm"]),
        1,
        "annotation 2 (image 2), field `segmentation`: a ring of 2 points",
    );
    // a path that leads out, a key twice
    let text = std::fs::read_to_string(dir.join("gt.json")).unwrap();
    std::fs::write(dir.join("gt.json"), text.replace("1.png", "../../etc/hostname")).unwrap();
    failed(&eval(&[]), 1, "leads out of the folder");
    std::fs::write(dir.join("gt.json"), format!("{{\"annotations\": [], {}", &text[1..])).unwrap();
    failed(&eval(&[]), 1, "a second `annotations`");
}
