//! `classify` from data to predictions, as a user goes through it, and what a killed run leaves.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use kat_tests::program::{Run, command, run};
use serde_json::Value;

/// A model that learns little but takes every path.
const CONFIG: &str = r#"
[model]
image_size = 32
patch = 8
dim = 32
depth = 2
heads = 2
drop_path = 0.2
[data]
dataset = "shapes"
dir = "shapes"
generate_train = 60
generate_val = 20
generate_size = 32
[train]
epochs = 3
batch_size = 8
ema_decay = 0.9
log_every = 1
save_every = 1
[augment]
mixup = 0.5
randaugment = 5.0
erase = 0.25
[output]
dir = "run"
"#;

fn ok(run: Run) -> String {
    assert_eq!(run.status, 0, "{run:?}");
    run.stdout
}

fn classify(dir: &Path, args: &[&str]) -> Run {
    run("classify", args, dir)
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

#[test]
fn a_model_is_trained_evaluated_exported_and_used() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    std::fs::write(dir.join("mine.toml"), CONFIG).unwrap();
    let shown = ok(classify(dir, &["train", "--config", "mine.toml"]));
    let run_dir = dir.join("run");
    for file in [
        "last.safetensors",
        "best.safetensors",
        "config.toml",
        "report.html",
        "plots/loss.png",
        "metrics.csv",
    ] {
        assert!(run_dir.join(file).is_file(), "{file}");
    }
    let records = json_lines(&std::fs::read_to_string(run_dir.join("metrics.jsonl")).unwrap());
    assert!(records.iter().all(|r| r["loss"].as_f64().is_none_or(f64::is_finite)));
    let last = records.iter().rev().find_map(|r| r["val/top1"].as_f64()).unwrap();
    assert!(shown.contains(&format!("val/top1 {last:.4}")), "{shown}");

    // Evaluation of the last checkpoint is what training said of it.
    let args = ["eval", "--checkpoint", "run/last.safetensors", "--data", "shapes", "--json"];
    let figures: Value = serde_json::from_str(&ok(classify(dir, &args))).unwrap();
    assert_eq!((figures["top1"].as_f64(), figures["samples"].as_u64()), (Some(last), Some(20)));

    let words = ok(classify(dir, &args[..5]));
    for part in ["is / taken for", "calibration error (ECE)", "recall precision", "of 20 images"] {
        assert!(words.contains(part), "{part}: {words}");
    }
    let page = std::fs::read_to_string(run_dir.join("report.html")).unwrap();
    for part in ["A batch of training", "classify train --config mine.toml", "accuracy over confidence"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("http-equiv"), "the page of a run that is done does not load itself again");
    assert!(ok(classify(dir, &["runs", "list", "run"])).contains("done"));

    ok(classify(dir, &["export", "--checkpoint", "run/last.safetensors", "model.safetensors"]));
    let sizes = ["model.safetensors", "run/last.safetensors"].map(|f| dir.join(f).metadata().unwrap().len());
    assert!(2 * sizes[0] < sizes[1], "an export leaves the training state out: {sizes:?}");
    let predict = |checkpoint: &str| {
        ok(classify(
            dir,
            &["predict", "--checkpoint", checkpoint, "shapes/val/star", "--json", "--explain", "why"],
        ))
    };
    let predicted = predict("model.safetensors");
    assert_eq!(predicted, predict("run/last.safetensors"));
    for line in json_lines(&predicted) {
        let classes = line["classes"].as_array().unwrap();
        assert_eq!(classes.len(), 5);
        assert!(classes[0]["probability"].as_f64() >= classes[1]["probability"].as_f64());
    }
    assert!(std::fs::read_dir(dir.join("why")).unwrap().count() >= 2);
}

#[test]
fn weights_from_elsewhere_need_a_models_name_and_must_fit() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    ok(classify(dir, &["data", "make-shapes", "shapes", "--images", "20"]));
    std::fs::write(dir.join("other.safetensors"), b"\x02\0\0\0\0\0\0\0{}").unwrap();
    let eval = |more: &[&str]| {
        let args = ["eval", "--checkpoint", "other.safetensors", "--data", "shapes"];
        classify(dir, &[&args[..], more].concat())
    };
    let refused = eval(&[]);
    assert!(refused.status == 1 && refused.stderr.contains("--model NAME"), "{refused:?}");
    let refused = eval(&["--model", "kat_tiny_patch16_225"]);
    assert!(refused.status == 2 && refused.stderr.contains("did you mean"), "{refused:?}");
    let refused = eval(&["--model", "kat_tiny_patch16_224"]);
    assert!(refused.status == 1 && refused.stderr.contains("other.safetensors"), "{refused:?}");
}

/// A generator good enough to choose moments (an LCG); the moments differ on every machine anyway.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    *state >> 33
}

#[test]
fn twenty_kills_and_resumes_end_in_the_weights_of_an_unbroken_run() {
    let temp = tempfile::tempdir().unwrap();
    let [unbroken, broken] = ["unbroken", "broken"].map(|name| {
        let dir = temp.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("mine.toml"), CONFIG.replace("epochs = 3", "epochs = 40")).unwrap();
        dir
    });
    let train = ["train", "--config", "mine.toml", "--set", "output.report=false"];
    ok(classify(&unbroken, &train));
    let resume = [&train[..], &["--resume"]].concat();
    let afresh = [&train[..], &["--overwrite"]].concat();
    let mut state = 7;
    for _ in 0..20 {
        let saved = broken.join("run/last.safetensors").is_file();
        let mut child = command("classify", if saved { &resume } else { &afresh }, &broken)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        std::thread::sleep(Duration::from_millis(40 + next(&mut state) % 260));
        // SIGKILL: the process gets no chance to tidy up.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(broken.join("run/last.safetensors").is_file(), "twenty starts, and no step was saved");
    ok(classify(&broken, &resume));
    for file in ["last.safetensors", "best.safetensors"] {
        let [a, b] = [&unbroken, &broken].map(|dir| std::fs::read(dir.join("run").join(file)).unwrap());
        assert!(a == b, "{file} differs");
    }
    let metrics = |dir: &Path| json_lines(&std::fs::read_to_string(dir.join("run/metrics.jsonl")).unwrap());
    assert_eq!(metrics(&unbroken), metrics(&broken), "each step is recorded once");
}
