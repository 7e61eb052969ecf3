//! Signals, closed pipes and limits of the machine: heard at once, and nothing is lost.

#![cfg(unix)]

use std::process::Stdio;
use std::time::Duration;

use kat_tests::place::{Place, ended, ok, signal, step_of, until};
use kat_tests::program::command;

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
        let names = std::fs::read_dir(place.dir()).unwrap().map(|e| e.unwrap().file_name());
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
fn thread_counts_are_capped() {
    let place = Place::new(&[]);
    let args = ["train", "--config", "c.toml", "--set", "data.workers=1000", "--set", "train.epochs=1"];
    let mut child = command("classify", &args, place.dir());
    let child = child.env("RAYON_NUM_THREADS", "100000").stderr(Stdio::piped()).stdout(Stdio::null());
    let child = child.spawn().unwrap();
    let (status, said) = ended(child, Duration::from_secs(60));
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("RAYON_NUM_THREADS asks for 100000 threads"), "{said}");
    assert!(said.contains("data.workers asks for 1000 threads"), "{said}");
    let capped = place.classify(&["train", "--config", "c.toml", "--threads", "5000", "--overwrite"]);
    assert!(ok(capped).stderr.contains("--threads asks for 5000 threads"));
}
