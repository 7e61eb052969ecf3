//! The program `segment` as a user runs it: trained, evaluated, used, and given what it cannot use.

use image::{GrayImage, Luma, RgbImage};
use kat_tests::program::{Run, run, run_with_input};
use std::path::Path;

const CONFIG: &str = "
[model]
image_size = 32
patch = 8
dim = 32
depth = 4
heads = 2
[data]
dataset = \"shapes\"
dir = \"shapes\"
generate_train = 12
generate_val = 5
generate_size = 32
[train]
steps = 4
batch_size = 4
ema_decay = 0.5
[optimizer]
lr = 1e-3
[augment]
scale = [0.8, 1.2]
[segment]
out_blocks = [0, 1, 2, 3]
channels = 16
pool_scales = [1, 2]
aux_channels = 8
crop = 32
[eval]
examples = 4
[output]
dir = \"run\"
tensorboard = false
";

fn segment(dir: &Path, args: &[&str]) -> Run {
    run("segment", args, dir)
}

fn succeeds(dir: &Path, args: &[&str]) -> Run {
    let done = segment(dir, args);
    assert_eq!(done.status, 0, "{done:?}");
    done
}

/// An error is one line that names what is wrong, never a panic.
fn refused(dir: &Path, args: &[&str], status: i32, names: &str) {
    let done = segment(dir, args);
    assert_eq!(done.status, status, "{done:?}");
    assert!(done.stderr.contains(names) && !done.stderr.contains("panicked"), "{names}: {done:?}");
}

/// A folder with a run of a few steps in it.
fn trained(changes: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("c.toml"), CONFIG).unwrap();
    succeeds(dir.path(), &[&["-q", "train", "--config", "c.toml"], changes].concat());
    dir
}

fn figures(run: &Run) -> serde_json::Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {run:?}"))
}

#[test]
fn eval_says_what_miou_says_of_the_label_maps_it_wrote() {
    for (reduce, classes) in [("true", "10"), ("false", "11")] {
        let change = format!("segment.reduce_zero_label={reduce}");
        let temp = trained(&["--set", &change]);
        let dir = temp.path();
        assert!(std::fs::read_to_string(dir.join("run/report.html")).unwrap().contains("IoU by class"));
        for views in [&[][..], &["--stride", "20"], &["--scales", "0.5,1", "--flip", "--window", "24"]] {
            let eval = ["eval", "--checkpoint", "run/best.safetensors", "--data", "shapes", "--json"];
            let out = ["--predictions", "out", "--output", "figures.json"];
            let eval = succeeds(dir, &[&eval[..], &out, views].concat());
            assert_eq!(std::fs::read_to_string(dir.join("figures.json")).unwrap(), eval.stdout);
            let labels = "shapes/annotations/validation";
            let mut miou =
                vec!["miou", "--labels", labels, "--predictions", "out", "--classes", classes, "--json"];
            if reduce == "true" {
                miou.push("--reduce-zero-label");
            }
            let (a, b) = (figures(&eval), figures(&succeeds(dir, &miou)));
            for key in ["a_acc", "m_iou", "m_acc", "iou", "acc", "images"] {
                assert_eq!(a[key], b[key], "{key} with {views:?}");
            }
            assert!(a["m_iou"].is_number() && a["images"] == 5);
        }
    }
}

#[test]
fn a_resumed_run_goes_on_with_its_batch_statistics() {
    let whole = trained(&["--set", "train.steps=6"]);
    let cut = trained(&["--set", "train.steps=6", "--set", "train.save_every=1"]);
    // The whole run once more from the checkpoint of its third step would need that checkpoint; a run that was stopped
    // at step 3 by its length is one, the schedule being constant.
    let constant = ["--set", "schedule.kind=constant"];
    let dir = cut.path();
    let args = ["-q", "train", "--config", "c.toml", "--overwrite", "--set", "train.steps=3"];
    succeeds(dir, &[&args[..], &constant].concat());
    let args = ["-q", "train", "--config", "c.toml", "--resume", "--set", "train.steps=6"];
    succeeds(dir, &[&args[..], &constant].concat());
    let args = ["-q", "train", "--config", "c.toml", "--overwrite", "--set", "train.steps=6"];
    succeeds(whole.path(), &[&args[..], &constant].concat());
    let tensors = |dir: &Path| {
        let bytes = std::fs::read(dir.join("run/last.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let all = file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec()));
        all.collect::<std::collections::BTreeMap<_, _>>()
    };
    let (a, b) = (tensors(whole.path()), tensors(dir));
    assert!(a.contains_key("ema.decode_head.bottleneck.bn.running_var"));
    for (name, values) in &a {
        assert!(b[name] == *values, "{name} differs");
    }
}

#[test]
fn predict_labels_images_of_any_size_and_names_those_it_cannot_read() {
    let temp = trained(&[]);
    let dir = temp.path();
    std::fs::create_dir(dir.join("in")).unwrap();
    for (width, height) in [(1, 1), (200, 3), (50, 70)] {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 90]))
            .save(dir.join(format!("in/{width}x{height}.png")))
            .unwrap();
    }
    let base = ["predict", "--checkpoint", "run/last.safetensors", "--output", "out"];
    for views in [&[][..], &["--native"], &["--native", "--flip", "--scales", "0.7,1.5"]] {
        let done = succeeds(dir, &[&base[..], &["in", "--json"], views].concat());
        assert_eq!(done.stdout.lines().count(), 3);
        for (width, height) in [(1, 1), (200, 3), (50, 70)] {
            let labels = image::open(dir.join(format!("out/{width}x{height}_labels.png"))).unwrap();
            let labels = labels.into_luma8();
            assert_eq!(labels.dimensions(), (width, height));
            assert!(labels.pixels().all(|p| p[0] < 10));
            let overlay = image::open(dir.join(format!("out/{width}x{height}_overlay.png"))).unwrap();
            assert!(overlay.width() > width && overlay.height() >= height);
        }
    }
    let png = std::fs::read(dir.join("in/50x70.png")).unwrap();
    let done = run_with_input("segment", &[&base[..], &["-"]].concat(), dir, &png);
    assert_eq!(done.status, 0, "{done:?}");
    assert!(dir.join("out/stdin_labels.png").is_file() && done.stdout.starts_with("-: "), "{done:?}");

    std::fs::write(dir.join("in/broken.jpg"), b"\xff\xd8\xff no image").unwrap();
    refused(dir, &[&base[..], &["in"]].concat(), 1, "broken.jpg");
    refused(dir, &[&base[..], &["in", "--stride", "40"]].concat(), 2, "--stride 40");
    refused(dir, &[&base[..], &["none.png"]].concat(), 1, "none.png");
    refused(dir, &["predict", "--checkpoint", "in/1x1.png", "in"], 1, "1x1.png");
}

#[test]
fn label_maps_that_do_not_fit_are_named() {
    let temp = trained(&[]);
    let dir = temp.path();
    let train = ["-q", "train", "--config", "c.toml", "--output", "again", "--overwrite"];
    let eval = ["eval", "--checkpoint", "run/best.safetensors", "--data", "shapes"];
    let label = |split: &str, i: usize| {
        let short = if split == "training" { "train" } else { "val" };
        dir.join(format!("shapes/annotations/{split}/SHAPES_{short}_{i:08}.png"))
    };
    let kept = std::fs::read(label("validation", 2)).unwrap();
    for (map, says) in [
        (GrayImage::from_pixel(31, 32, Luma([1])), "31x32 pixels"),
        (GrayImage::from_pixel(32, 32, Luma([11])), "label 11 at x 0, y 0; 10 classes allow"),
    ] {
        map.save(label("validation", 2)).unwrap();
        refused(dir, &eval, 1, says);
        refused(dir, &eval, 1, "SHAPES_val_00000002");
        refused(dir, &train, 1, says);
    }
    std::fs::write(label("validation", 2), kept).unwrap();

    // Nothing but ignored pixels to train on is a loss of 0; nothing but those to evaluate on is an error.
    for i in 1..=12 {
        GrayImage::from_pixel(32, 32, Luma([if i % 2 == 0 { 0 } else { 255 }]))
            .save(label("training", i))
            .unwrap();
    }
    succeeds(dir, &train);
    for i in 1..=5 {
        GrayImage::from_pixel(32, 32, Luma([255])).save(label("validation", i)).unwrap();
    }
    refused(dir, &train, 1, "every pixel of every label map is ignored");

    std::fs::write(dir.join("shapes/objectInfo.txt"), "Idx\tName\n1\tcat\n").unwrap();
    refused(dir, &eval, 2, "shapes has 1 classes, the checkpoint 10, \"cat\" is \"arrow\" there");
}

#[test]
fn data_and_bench_report_in_words_and_json() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    succeeds(dir, &["data", "make-shapes", "made", "--images", "10"]);
    let check = succeeds(dir, &["data", "check", "made", "--strict"]);
    assert!(check.stdout.contains("nothing is wrong"), "{check:?}");
    std::fs::write(dir.join("c.toml"), CONFIG).unwrap();
    for mode in ["infer", "train"] {
        let args = ["bench", "--config", "c.toml", "--rounds", "1", "--mode", mode, "--json"];
        let report = figures(&succeeds(dir, &args));
        assert!(
            report["images_per_second"].as_f64().unwrap() > 0.0
                && report["stages"].as_array().unwrap().len() == 4
        );
    }
    refused(dir, &["bench", "--config", "c.toml", "--side", "33"], 2, "33");
    refused(dir, &["train", "--config", "c.toml", "--set", "segment.crop=33"], 2, "segment.crop is 33");
    refused(dir, &["train", "--config", "c.toml", "--set", "train.batch_size=1"], 2, "train.batch_size is 1");
}

/// Targets, loss, network, inference and metric together: eight images are learnt by heart.
#[test]
#[ignore = "takes over a minute; CI runs it"]
fn eight_images_are_learnt_by_heart() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    std::fs::write(dir.join("c.toml"), CONFIG).unwrap();
    let mut args = vec!["-q", "train", "--config", "c.toml"];
    for change in [
        "data.generate_train=8",
        "data.generate_classes=5",
        "data.val=training",
        "segment.reduce_zero_label=false",
        "segment.channels=64",
        "segment.dropout=0",
        "model.patch=4",
        "model.dim=64",
        "train.steps=250",
        "train.batch_size=8",
        "train.ema_decay=0",
        "train.eval_every=1000",
        // At three times this rate every feature of some class dies before the last ReLU, and the class with it.
        "optimizer.lr=1e-3",
        "schedule.warmup_steps=20",
        "augment.scale=[1.0, 1.0]",
        "augment.hflip=0.0",
        "output.report=false",
    ] {
        args.extend(["--set", change]);
    }
    let done = succeeds(dir, &args);
    let figure = done.stdout.lines().find_map(|line| line.strip_prefix("val/mIoU "));
    let miou: f64 = figure.unwrap_or_else(|| panic!("{done:?}")).parse().unwrap();
    assert!(miou >= 0.95, "mIoU {miou}");
}
