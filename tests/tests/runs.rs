//! What a run survives, and what it refuses: signals, closed pipes, renamed data, damaged checkpoints, lost directories.

#![cfg(unix)]

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use kat_tests::program::{Run, command, run};

const CONFIG: &str = r#"
[model]
image_size = 32
patch = 8
dim = 32
depth = 2
heads = 2
[data]
dataset = "shapes"
dir = "shapes"
generate_train = 60
generate_val = 20
generate_size = 32
[train]
epochs = 2
batch_size = 8
ema_decay = 0.9
log_every = 1
[output]
dir = "run"
report = false
"#;

struct Place {
    temp: tempfile::TempDir,
}

impl Place {
    fn new(changes: &[(&str, &str)]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let text = changes.iter().fold(CONFIG.to_owned(), |text, (from, to)| text.replace(from, to));
        std::fs::write(temp.path().join("c.toml"), text).unwrap();
        Self { temp }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn classify(&self, args: &[&str]) -> Run {
        run("classify", args, self.temp.path())
    }

    fn train(&self, more: &[&str]) -> Run {
        self.classify(&[&["train", "--config", "c.toml"], more].concat())
    }

    fn start(&self, more: &[&str]) -> Child {
        let args = [&["train", "--config", "c.toml"], more].concat();
        let mut command = command("classify", &args, self.temp.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

fn ok(run: Run) -> Run {
    assert_eq!(run.status, 0, "{run:?}");
    run
}

fn refused(run: &Run, parts: &[&str]) {
    assert!(run.status == 1 || run.status == 2, "{run:?}");
    assert!(parts.iter().all(|part| run.stderr.contains(part)), "{parts:?}: {run:?}");
    assert!(!run.stderr.contains("panicked"), "{run:?}");
}

fn signal(child: &Child, name: &str) {
    let status = std::process::Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

/// Waits until `there` holds.
fn until(what: &str, mut there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !there() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waiting for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How a program ended and what it said, within `limit`.
fn ended(mut child: Child, limit: Duration) -> (i32, String) {
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < limit, "still running after {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code().unwrap_or(-1), said)
}

fn step_of(checkpoint: &Path) -> u64 {
    let map = kat_backbone::checkpoint::safetensors::load(checkpoint).unwrap();
    let state: serde_json::Value = serde_json::from_str(&map.metadata["kat_train_state"]).unwrap();
    state["step"].as_u64().unwrap()
}

#[test]
fn signals_save_and_have_their_exit_codes() {
    let place = Place::new(&[("epochs = 2", "epochs = 10000")]);
    for (name, status) in [("-INT", 130), ("-TERM", 143)] {
        let child = place.start(&["--overwrite"]);
        until("training", || place.path("run/metrics.jsonl").is_file());
        std::thread::sleep(Duration::from_millis(300));
        signal(&child, name);
        let (found, said) = ended(child, Duration::from_secs(10));
        assert_eq!(found, status, "{said}");
        let step = step_of(&place.path("run/last.safetensors"));
        assert!(said.contains(&format!("is at step {step}; --resume goes on")), "{said}");
    }
}

/// Evaluation of many images takes long; a signal ends it at once and loses nothing.
#[test]
fn a_signal_during_an_evaluation_ends_it_at_once_and_the_run_goes_on_with_it() {
    let changes =
        [("generate_val = 20", "generate_val = 6000"), ("generate_size = 32", "generate_size = 64")];
    let place = Place::new(&changes);
    ok(place.train(&["--set", "output.dir=whole"]));
    let child = place.start(&[]);
    until("the evaluation", || place.path("run/last.safetensors").is_file());
    signal(&child, "-INT");
    let (status, said) = ended(child, Duration::from_secs(2));
    assert_eq!(status, 130, "{said}");
    assert!(said.contains("last.safetensors is at step 7; --resume goes on"), "{said}");
    assert!(!std::fs::read_to_string(place.path("run/metrics.jsonl")).unwrap().contains("val/"));
    // Killed in the evaluation that the resumed run begins with, and resumed again.
    let mut child = place.start(&["--resume"]);
    std::thread::sleep(Duration::from_millis(400));
    child.kill().unwrap();
    child.wait().unwrap();
    ok(place.train(&["--resume"]));
    for file in ["last.safetensors", "best.safetensors", "metrics.jsonl"] {
        let same = if file.ends_with("jsonl") { same_records(&place) } else { same_weights(&place, file) };
        assert!(same, "{file} differs");
    }
    assert!(!place.path("run/previous.safetensors").exists());
}

/// Whether the checkpoints of both directories hold the same tensors (their configurations name other directories).
fn same_weights(place: &Place, file: &str) -> bool {
    let [a, b] = ["whole", "run"]
        .map(|dir| kat_backbone::checkpoint::safetensors::load(&place.path(dir).join(file)).unwrap());
    a.tensors == b.tensors && a.metadata["kat_train_state"] == b.metadata["kat_train_state"]
}

/// Whether the records of both are the same, each there once.
fn same_records(place: &Place) -> bool {
    let [a, b] = ["whole", "run"].map(|dir| {
        let text = std::fs::read_to_string(place.path(dir).join("metrics.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<serde_json::Value>>()
    });
    a == b
}

#[test]
fn a_signal_while_data_are_generated_leaves_nothing() {
    let place = Place::new(&[("generate_train = 60", "generate_train = 2000000")]);
    let child = place.start(&[]);
    let hidden = |place: &Place| {
        let names = std::fs::read_dir(place.temp.path()).unwrap().map(|e| e.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().contains("partial")).count()
    };
    until("generated images", || hidden(&place) > 0);
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, "-TERM");
    let (status, said) = ended(child, Duration::from_secs(5));
    assert_eq!(status, 143, "{said}");
    assert!(hidden(&place) == 0 && !place.path("shapes").exists(), "{said}");
}

#[test]
fn a_closed_pipe_does_not_stop_training() {
    for stdout_only in [true, false] {
        let place = Place::new(&[("report = false", "report = true")]);
        let mut child = place.start(&[]);
        drop(child.stdout.take());
        if stdout_only {
            let (status, said) = ended(child, Duration::from_secs(60));
            assert_eq!(status, 0, "{said}");
        } else {
            drop(child.stderr.take());
            assert_eq!(child.wait().unwrap().code(), Some(0));
        }
        assert_eq!(step_of(&place.path("run/last.safetensors")), 14);
        assert!(place.path("run/report.html").is_file());
    }
}

#[test]
fn renamed_classes_and_images_are_refused_on_resume() {
    let place = Place::new(&[]);
    ok(place.train(&[]));
    let before = std::fs::read(place.path("run/last.safetensors")).unwrap();
    let config = std::fs::read(place.path("run/config.toml")).unwrap();
    let resume = ["--resume", "--set", "train.epochs=3"];
    for part in ["train", "val"] {
        std::fs::rename(
            place.path("shapes").join(part).join("star"),
            place.path("shapes").join(part).join("a"),
        )
        .unwrap();
    }
    refused(
        &place.train(&resume),
        &["last.safetensors", "only then \"star\"", "only now \"a\"", "model.init_from"],
    );
    for part in ["train", "val"] {
        std::fs::rename(
            place.path("shapes").join(part).join("a"),
            place.path("shapes").join(part).join("star"),
        )
        .unwrap();
    }
    let mut images = std::fs::read_dir(place.path("shapes/train/star")).unwrap();
    let image = images.next().unwrap().unwrap().path();
    std::fs::rename(&image, image.with_file_name("zzz.JPEG")).unwrap();
    refused(&place.train(&resume), &["the list of training images", "expected 60 crc32c:"]);
    assert!(std::fs::read(place.path("run/last.safetensors")).unwrap() == before);
    assert!(std::fs::read(place.path("run/config.toml")).unwrap() == config, "nothing is rewritten before");
    std::fs::rename(image.with_file_name("zzz.JPEG"), &image).unwrap();
    ok(place.train(&resume));
    assert_eq!(step_of(&place.path("run/last.safetensors")), 21);
}

#[test]
fn a_resumed_run_starts_from_its_own_configuration() {
    let place = Place::new(&[]);
    ok(place.train(&["--set", "optimizer.lr=0.002", "--set", "train.epochs=1", "-o", "mine"]));
    let lr = |name: &str| {
        let text = std::fs::read_to_string(place.path(name)).unwrap();
        text.lines().find(|line| line.starts_with("lr =")).unwrap().to_owned()
    };
    // Without any configuration, and with the file that the value was changed against.
    let resumed = ok(place.classify(&["train", "--resume", "-o", "mine", "--set", "train.epochs=2"]));
    assert!(resumed.stderr.contains("train.epochs: 1 -> 2"), "{resumed:?}");
    assert_eq!(
        (lr("mine/config.toml").as_str(), step_of(&place.path("mine/last.safetensors"))),
        ("lr = 0.002", 14)
    );
    let resumed = ok(place.train(&["--resume", "-o", "mine", "--set", "train.epochs=3"]));
    assert!(resumed.stderr.contains("c.toml: optimizer.lr: 0.001 -> 0.002"), "{resumed:?}");
    assert_eq!(
        (lr("mine/config.toml").as_str(), step_of(&place.path("mine/last.safetensors"))),
        ("lr = 0.002", 21)
    );
    // The run directory of an older version may have lost its configuration: the checkpoint has it too.
    std::fs::remove_file(place.path("mine/config.toml")).unwrap();
    ok(place.classify(&["train", "--resume", "-o", "mine", "--set", "train.epochs=4"]));
    assert_eq!(lr("mine/config.toml"), "lr = 0.002");
    refused(&place.classify(&["train", "--resume", "-o", "nowhere"]), &["nothing to resume in nowhere"]);
    assert!(!place.path("nowhere").exists());
}

#[test]
fn a_start_that_failed_does_not_block_the_corrected_one_and_an_overwrite_loses_nothing_before_it_begins() {
    let place = Place::new(&[]);
    refused(&place.train(&["--set", "model.init_from=missing.pth"]), &["missing.pth"]);
    std::fs::write(place.path("run/config.toml"), "[train]\n").unwrap();
    std::fs::write(place.path("run/metrics.jsonl"), "{\"step\":1}\n").unwrap();
    ok(place.train(&[]));
    refused(&place.train(&[]), &["already holds a run", "--resume", "--overwrite"]);
    let before = std::fs::read(place.path("run/last.safetensors")).unwrap();
    refused(&place.train(&["--overwrite", "--set", "model.init_from=missing.pth"]), &["missing.pth"]);
    assert!(std::fs::read(place.path("run/last.safetensors")).unwrap() == before);
    std::fs::write(place.path("run/.last.safetensors.4711.0.tmp"), "part").unwrap();
    ok(place.train(&["--overwrite", "--set", "train.epochs=1"]));
    assert_eq!(step_of(&place.path("run/last.safetensors")), 7);
    let hidden = std::fs::read_dir(place.path("run")).unwrap().map(|e| e.unwrap().file_name());
    assert_eq!(hidden.filter(|name| name.to_string_lossy().starts_with('.')).count(), 0);
}

#[test]
fn a_directory_removed_during_a_run_ends_it() {
    let place = Place::new(&[("epochs = 2", "epochs = 10000")]);
    let child = place.start(&[]);
    until("a checkpoint", || place.path("run/last.safetensors").is_file());
    std::fs::rename(place.path("run"), place.path("moved")).unwrap();
    let (status, said) = ended(child, Duration::from_secs(20));
    assert!(
        status == 1 && said.contains("run was removed or replaced while the run was under way"),
        "{said}"
    );
    assert!(!place.path("run").exists());
}

#[test]
fn damage_in_a_checkpoint_is_noticed_everywhere() {
    let place = Place::new(&[]);
    ok(place.train(&[]));
    let good = std::fs::read(place.path("run/last.safetensors")).unwrap();
    let header = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize + 8;
    for (i, at) in [header + 4, header + (good.len() - header) / 2, good.len() - 1].into_iter().enumerate() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (i * 3);
        std::fs::write(place.path("run/last.safetensors"), &bytes).unwrap();
        let parts = ["last.safetensors", "is damaged", "checksum"];
        refused(&place.train(&["--resume", "--set", "train.epochs=3"]), &parts);
        let checkpoint = ["--checkpoint", "run/last.safetensors"];
        refused(&place.classify(&[&["eval", "--data", "shapes"], &checkpoint[..]].concat()), &parts);
        refused(&place.classify(&[&["predict", "shapes/val/star"], &checkpoint[..]].concat()), &parts);
        refused(&place.classify(&[&["export"], &checkpoint[..], &["out.safetensors"]].concat()), &parts);
        refused(&place.train(&["-o", "other", "--set", "model.init_from=run/last.safetensors"]), &parts);
    }
}

#[test]
fn thread_counts_are_capped() {
    let place = Place::new(&[]);
    let args = ["train", "--config", "c.toml", "--set", "data.workers=1000", "--set", "train.epochs=1"];
    let mut child = command("classify", &args, place.temp.path());
    let child = child.env("RAYON_NUM_THREADS", "100000").stderr(Stdio::piped()).stdout(Stdio::null());
    let child = child.spawn().unwrap();
    let (status, said) = ended(child, Duration::from_secs(60));
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("RAYON_NUM_THREADS asks for 100000 threads"), "{said}");
    assert!(said.contains("data.workers asks for 1000 threads"), "{said}");
    let capped = place.classify(&["train", "--config", "c.toml", "--threads", "5000", "--overwrite"]);
    assert!(ok(capped).stderr.contains("--threads asks for 5000 threads"));
}
