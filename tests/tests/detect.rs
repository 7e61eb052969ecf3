//! `detect` as a user runs it: training, evaluation and prediction on odd data, and whether it learns.

use kat_tests::program::{Run, run};
use serde_json::{Value, json};
use std::path::Path;

/// A detector that a test can afford.
const SMALL: [&str; 16] = [
    "model.image_size=64",
    "model.patch=8",
    "model.dim=64",
    "model.depth=2",
    "model.heads=2",
    "detect.window=4",
    "detect.global_blocks=[1]",
    "detect.pretrain_size=64",
    "detect.channels=32",
    "detect.rpn_convs=1",
    "detect.box_head=two_fc",
    "detect.box_hidden=128",
    "detect.anchor_sizes=[8, 16, 28, 44, 64]",
    "detect.roi_samples=64",
    "detect.proposals_train=[400, 200]",
    "detect.proposals_eval=[200, 100]",
];

fn detect(dir: &Path, args: &[&str]) -> Run {
    run("detect", args, dir)
}

fn train(dir: &Path, changes: &[&str]) -> Run {
    let mut args = vec!["-q", "train", "-o", "run", "--overwrite"];
    SMALL.iter().chain(changes).for_each(|change| args.extend(["--set", change]));
    let done = detect(dir, &args);
    assert_eq!(done.status, 0, "{done:?}");
    done
}

fn json_of(run: &Run) -> Value {
    assert_eq!(run.status, 0, "{run:?}");
    serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {run:?}"))
}

/// Writes a split of images of these sizes with these annotations.
fn write_split(dir: &Path, split: &str, sizes: &[(u32, u32)], annotations: &[Value]) {
    std::fs::create_dir_all(dir.join("annotations")).unwrap();
    std::fs::create_dir_all(dir.join(split)).unwrap();
    let mut images = Vec::new();
    for (i, (width, height)) in sizes.iter().enumerate() {
        let name = format!("{i}.png");
        let pixels = image::RgbImage::from_fn(*width, *height, |x, y| {
            image::Rgb([(x * 7 % 256) as u8, (y * 5 % 256) as u8, ((x + y) * 3 % 256) as u8])
        });
        pixels.save(dir.join(split).join(&name)).unwrap();
        images.push(json!({"id": i + 1, "file_name": name, "width": width, "height": height}));
    }
    let numbered: Vec<Value> = annotations
        .iter()
        .enumerate()
        .map(|(i, annotation)| {
            let mut annotation = annotation.clone();
            annotation["id"] = json!(i + 1);
            annotation
        })
        .collect();
    let categories = json!([{"id": 1, "name": "cat"}, {"id": 5, "name": "dog"}, {"id": 9, "name": "yeti"}]);
    let file = json!({"images": images, "categories": categories, "annotations": numbered});
    std::fs::write(dir.join(format!("annotations/instances_{split}.json")), file.to_string()).unwrap();
}

fn object(image: usize, category: u32, [x, y, w, h]: [f64; 4]) -> Value {
    json!({
        "image_id": image, "category_id": category, "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0,
        "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
    })
}

fn crowd(image: usize, (width, height): (u32, u32)) -> Value {
    let rest = height * width - 30 * height;
    json!({
        "image_id": image, "category_id": 1, "bbox": [0, 0, 30, height], "area": 30 * height, "iscrowd": 1,
        "segmentation": {"size": [height, width], "counts": [0, 30 * height, rest]},
    })
}

/// Images without objects, with crowds only, with one-pixel objects, 10,000 objects, objects outside, a panorama.
fn write_odd(dir: &Path) {
    let sizes = [(64, 64), (64, 64), (64, 48), (64, 64), (64, 64), (64, 64), (4000, 32)];
    let mut annotations = vec![object(1, 1, [5., 5., 20., 20.]), object(1, 5, [30., 30., 30., 20.])];
    annotations.push(crowd(3, sizes[2]));
    annotations.push(object(4, 1, [5., 5., 1., 1.]));
    annotations.push(object(4, 5, [63., 63., 1., 1.]));
    for i in 0..10_000u32 {
        let (x, y) = (f64::from(i % 100) * 0.6, f64::from(i / 100) * 0.6);
        annotations.push(object(5, [1, 5][i as usize % 2], [x, y, 3.0, 3.0]));
    }
    annotations.push(object(6, 1, [-20., -20., 10., 10.]));
    annotations.push(object(6, 5, [200., 3., 10., 10.]));
    annotations.push(object(6, 5, [60., 60., 50., 50.]));
    annotations.push(object(6, 1, [-5., 10., 30., 300.]));
    annotations.push(object(7, 1, [1000., 2., 500., 28.]));
    write_split(dir, "train", &sizes, &annotations);
    annotations.push(object(2, 9, [8., 8., 40., 40.])); // a category that no training image shows
    write_split(dir, "val", &sizes, &annotations);
}

#[test]
fn odd_data_are_trained_on_and_evaluated_and_the_results_file_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_odd(&dir.join("data"));
    let changes =
        ["data.dir=data", "train.epochs=2", "train.batch_size=2", "train.ema_decay=0.9", "train.log_every=1"];
    let done = train(dir, &changes);
    assert!(done.stdout.contains("val/box_AP") && done.stdout.contains("val/mask_AP"), "{done:?}");
    let log = std::fs::read_to_string(dir.join("run/metrics.jsonl")).unwrap();
    assert!(log.lines().count() >= 6 && !log.contains("NaN") && !log.contains("null"), "{log}");
    for part in ["loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask"] {
        assert!(log.contains(&format!("\"{part}\"")), "{part}: {log}");
    }
    assert!(std::fs::read_to_string(dir.join("run/report.html")).unwrap().contains("Ground truth"));

    let eval = ["eval", "--checkpoint", "run/best.safetensors", "--data", "data", "--results", "found.json"];
    let figures = json_of(&detect(dir, &[&eval[..], &["--json"]].concat()));
    for (kind, iou_type) in [("bbox", "bbox"), ("segm", "segm")] {
        let alone = ["coco-eval", "--gt", "data/annotations/instances_val.json", "--dets", "found.json"];
        let alone = json_of(&detect(dir, &[&alone[..], &["--iou-type", iou_type, "--json"]].concat()));
        assert_eq!(figures[kind], alone);
        let stats = figures[kind]["stats"].as_object().unwrap();
        assert_eq!(stats.len(), 12);
        assert!(stats.values().all(|v| (-1.0..=1.0).contains(&v.as_f64().unwrap())), "{stats:?}");
        let yeti = figures[kind]["categories"].as_array().unwrap().iter().find(|c| c["name"] == "yeti");
        assert_eq!(yeti.unwrap()["ap"], 0.0, "annotated, never learnt");
    }

    // what eval and predict take, exported: images, JSON, a folder, a broken file
    let export = detect(dir, &["export", "--checkpoint", "run/last.safetensors", "small.safetensors"]);
    assert_eq!(export.status, 0, "{export:?}");
    let predict =
        ["predict", "--checkpoint", "small.safetensors", "--threshold", "0", "--json", "--to", "drawn"];
    let shown = detect(dir, &[&predict[..], &["data/val"]].concat());
    assert_eq!((shown.status, shown.stdout.lines().count()), (0, 7), "{shown:?}");
    for line in shown.stdout.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        for found in line["objects"].as_array().unwrap() {
            let size = found["segmentation"]["size"].as_array().unwrap();
            assert_eq!((&size[0], &size[1]), (&line["height"], &line["width"]));
        }
    }
    assert_eq!(image::image_dimensions(dir.join("drawn/6.png")).unwrap(), (4000, 32));
    // in words, drawn or not, and what came closest where nothing passes
    let words =
        detect(dir, &["predict", "--checkpoint", "small.safetensors", "--threshold", "1", "data/val/0.png"]);
    assert_eq!(words.status, 0, "{words:?}");
    assert!(words.stdout.contains("0.png: nothing from --threshold 1 on; the best is "), "{words:?}");
    std::fs::write(dir.join("broken.png"), b"no image").unwrap();
    let broken = detect(dir, &[&predict[..], &["data/val/0.png", "broken.png"]].concat());
    assert_eq!((broken.status, broken.stdout.lines().count()), (1, 1), "{broken:?}");
    assert!(broken.stderr.contains("broken.png") && !broken.stderr.contains("panicked"), "{broken:?}");
}

#[test]
fn bench_times_every_stage() {
    let dir = tempfile::tempdir().unwrap();
    for (mode, stages) in [
        ("infer", &["backbone", "pyramid", "RPN", "boxes", "masks", "post-processing"][..]),
        ("train", &["forward", "backward", "update"]),
    ] {
        let mut args = vec!["bench", "--rounds", "1", "--mode", mode, "--classes", "3", "--json"];
        SMALL.iter().for_each(|change| args.extend(["--set", change]));
        let report = json_of(&detect(dir.path(), &args));
        let timed: Vec<_> = report["stages"].as_array().unwrap().iter().map(|s| &s["name"]).collect();
        assert_eq!(timed, stages);
        assert!(report["ms"].as_f64().unwrap() > 0.0, "{report}");
    }
}

#[test]
fn misuse_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_split(&dir.join("data"), "train", &[(64, 64)], &[object(1, 1, [5., 5., 20., 20.])]);
    let train = |changes: &[&str]| {
        let mut args = vec!["-q", "train", "-o", "run", "--data", "data", "--set", "train.steps=1"];
        SMALL.iter().chain(changes).for_each(|change| args.extend(["--set", change]));
        detect(dir, &args)
    };
    for (changes, text) in [
        (&["data.train=test"][..], "no split test among [\"train\"]"),
        (&[], "too few to hold out 1; name a held-out part with data.val"),
        (&["detect.box_head=five"], "box_head"),
        (&["data.val=train", "detect.global_blocks=[7]"], "block 7 of 2"),
    ] {
        let refused = train(changes);
        assert!(refused.status != 0 && refused.stderr.contains(text), "{text}: {refused:?}");
        assert!(!refused.stderr.contains("panicked"), "{refused:?}");
    }
    std::fs::write(dir.join("x.safetensors"), b"").unwrap();
    let refused = detect(dir, &["eval", "--checkpoint", "x.safetensors", "--data", "data"]);
    assert!(refused.status == 1 && refused.stderr.contains("x.safetensors"), "{refused:?}");
}

/// Targets, losses and post-processing fit together: eight images are learnt by heart.
#[test]
#[ignore = "trains for a minute: cargo test -p kat-tests --test detect -- --ignored"]
fn eight_images_are_learnt_by_heart() {
    let dir = tempfile::tempdir().unwrap();
    let changes = [
        "data.dir=data",
        "data.dataset=shapes",
        "data.generate_train=8",
        "data.generate_val=1",
        "data.generate_size=64",
        "data.generate_classes=3",
        "data.generate_objects=3",
        "data.val=train",
        "train.steps=300",
        "train.batch_size=8",
        "train.clip_grad=1.0",
        "train.eval_every=1000",
        "optimizer.lr=2e-3",
        "optimizer.weight_decay=0.0",
        "schedule.warmup_steps=20",
        "augment.scale=[1.0, 1.0]",
        "augment.hflip=0.0",
        "output.report=false",
    ];
    let done = train(dir.path(), &changes);
    let figure = |name: &str| -> f64 {
        let line = done.stdout.lines().find(|line| line.starts_with(name)).expect(name);
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(figure("val/box_AP ") >= 0.9, "{}", done.stdout);
    assert!(figure("val/mask_AP ") >= 0.8, "{}", done.stdout);
}
