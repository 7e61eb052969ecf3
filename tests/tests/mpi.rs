//! Several processes under `mpirun`: the same training, evaluation and resumed run as one process, and an end of all in
//! time where one fails. With the feature `mpi`, and skipped where there is no launcher.

#![cfg(all(target_os = "linux", feature = "mpi"))]

use std::path::Path;
use std::time::{Duration, Instant};

use kat_backbone::checkpoint::compare::furthest;
use kat_backbone::checkpoint::{TensorMap, safetensors};
use kat_tests::mpi::{can_launch, finished, processes, run, run_in_shell, start};
use kat_tests::place::{Place, ok, refused, step_of, until};
use kat_tests::program;

/// Within which all processes end after one of them did.
const IN_TIME: Duration = Duration::from_secs(30);

/// Weights and averaged weights of a run.
fn weights(dir: &Path, name: &str) -> TensorMap {
    safetensors::load(&dir.join(name).join("last.safetensors")).unwrap()
}

/// Three epochs of a quickstart's first steps on one process, twice on two, with the same batch over all. Where a gradient
/// is 0 but for rounding (a key's bias, one before a batch norm), Adam would make steps of the full rate of that rounding:
/// `more` puts its eps above it. The first moments, which are means of gradients, are compared too; over more steps they
/// part, since what rounding decides (the side of a ReLU, the sign of a denominator's coefficient near 0) has jumps.
fn quickstart(name: &str, batch: usize, more: &[&str]) {
    if !can_launch() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let config = format!("{}/../configs/{name}/quickstart.toml", env!("CARGO_MANIFEST_DIR"));
    let train = |ranks: usize, output: &str| {
        let (output, batch) = (format!("output.dir={output}"), format!("train.batch_size={}", batch / ranks));
        let keys = ["data.dir=data", "train.steps=6", "output.report=false", &output, &batch];
        let mut args = vec!["train", "--config", &config];
        keys.iter().chain(more).for_each(|key| args.extend(["--set", key]));
        match ranks {
            1 => ok(program::run(name, &args, temp.path())),
            _ => ok(run(ranks, name, &args, temp.path())),
        }
    };
    train(1, "one");
    let said = train(2, "two").stderr;
    assert!(
        said.contains(&format!("global batch {batch} = 2 ranks × {} × 1 accumulated", batch / 2)),
        "{said}"
    );
    train(2, "again");
    let [one, two, again] = ["one", "two", "again"].map(|run| weights(temp.path(), run));
    assert!(two.tensors == again.tensors, "two runs on two processes have other bits");
    let moment = |name: &str| name.starts_with("optimizer.");
    let (distance, name) = furthest(&two, &one, 1e-2, |name| !moment(name)).unwrap();
    assert!(distance <= 1e-5, "{name} differs by {distance:.1e}");
    // The gradient of a rational's coefficient is a sum over all tokens of terms of both signs, with powers up to five:
    // rounding is a larger share of it.
    for (rational, bound) in [(false, 1e-3), (true, 1e-2)] {
        let among = |name: &str| name.starts_with("optimizer.first.") && name.contains(".act") == rational;
        let (distance, name) = furthest(&two, &one, 1e-4, among).unwrap();
        assert!(distance <= bound, "{name} differs by {distance:.1e}");
    }
}

/// Two steps an epoch, at a rate that stays small.
const FEW: [&str; 4] =
    ["data.generate_train=20", "data.generate_val=7", "optimizer.eps=1", "optimizer.lr=1e-4"];

#[test]
fn the_quickstart_of_classify_is_the_same_on_two_processes() {
    quickstart("classify", 50, &["data.generate_train=100", "data.generate_val=20", "optimizer.eps=1e-3"]);
}

#[test]
fn the_quickstart_of_detect_is_the_same_on_two_processes() {
    // The scores of an untrained RPN lie so near one another that rounding changes their order. So the sampler takes
    // every proposal (a quarter of its places are for positive ones): by order it would draw others.
    let all = ["detect.proposals_train=[64, 32]", "detect.roi_samples=160"];
    quickstart("detect", 8, &[&FEW[..], &all].concat());
}

#[test]
fn the_quickstart_of_segment_is_the_same_on_two_processes() {
    quickstart("segment", 8, &FEW);
}

/// A small run of `classify`: 60 images in batches of 8.
fn place(changes: &[(&str, &str)]) -> Option<Place> {
    can_launch().then(|| Place::new(changes))
}

fn train(place: &Place, ranks: usize, more: &[&str]) -> program::Run {
    run(ranks, "classify", &[&["train", "--config", "c.toml"], more].concat(), place.dir())
}

#[test]
fn held_out_images_are_counted_once_on_any_number_of_processes() {
    let Some(place) = place(&[("generate_val = 20", "generate_val = 7")]) else { return };
    ok(place.train(&["--set", "train.epochs=1"]));
    let args = ["eval", "--checkpoint", "run/last.safetensors", "--data", "shapes", "--json"];
    let one = ok(place.classify(&args)).stdout;
    assert!(one.contains("\"samples\":7"), "{one}");
    for ranks in [2, 3] {
        assert_eq!(ok(run(ranks, "classify", &args, place.dir())).stdout, one);
    }
}

#[test]
fn a_run_of_two_processes_goes_on_with_one_and_with_three() {
    let Some(place) = place(&[("epochs = 2", "epochs = 1")]) else { return };
    ok(train(&place, 2, &[]));
    // 60 images: 3 steps of 2 × 8, 2 of 3 × 8, 7 of 8.
    assert_eq!(step_of(&place.path("run/last.safetensors")), 3);
    ok(train(&place, 3, &["--resume", "--set", "train.epochs=2"]));
    assert_eq!(step_of(&place.path("run/last.safetensors")), 5);
    ok(place.train(&["--resume", "--set", "train.epochs=3"]));
    assert_eq!(step_of(&place.path("run/last.safetensors")), 12);
}

#[test]
fn a_sharded_optimizer_is_the_same_training_and_goes_on_with_one_process_and_with_three() {
    let Some(place) = place(&[]) else { return };
    let sharded = ["--set", "train.shard_optimizer=true", "--set", "optimizer.eps=1e-3"];
    let said = ok(train(&place, 2, &[&sharded[..], &["-o", "parts"]].concat())).stderr;
    assert!(said.contains("hidden behind the backward pass"), "{said}");
    ok(train(&place, 2, &["-o", "whole", sharded[2], sharded[3]]));
    let [whole, parts] = ["whole", "parts"].map(|name| weights(place.dir(), name));
    let (distance, name) = furthest(&parts, &whole, 1e-2, |name| !name.starts_with("optimizer.")).unwrap();
    assert!(distance <= 1e-5, "{name} differs by {distance:.1e}");
    let args = ["--resume", "-o", "parts", "--set", "train.epochs=3"];
    ok(train(&place, 3, &args));
    assert_eq!(step_of(&place.path("parts/last.safetensors")), 8);
    ok(place.train(&["--resume", "-o", "parts", "--set", "train.epochs=4"]));
    assert_eq!(step_of(&place.path("parts/last.safetensors")), 15);
}

#[test]
fn four_processes_give_the_same_bits_twice() {
    let Some(place) = place(&[("epochs = 2", "epochs = 1"), ("batch_size = 8", "batch_size = 3")]) else {
        return;
    };
    for output in ["a", "b"] {
        ok(train(&place, 4, &["-o", output]));
    }
    let [a, b] = ["a", "b"].map(|name| weights(place.dir(), name));
    assert!(a.tensors == b.tensors, "two runs on four processes have other bits");
}

#[test]
fn a_process_that_is_killed_ends_all_and_the_run_goes_on_to_the_same_weights() {
    let Some(place) = place(&[("epochs = 2", "epochs = 12")]) else { return };
    let every = ["--set", "train.save_every=1"];
    ok(train(&place, 2, &[&every[..], &["-o", "whole"]].concat()));
    for rank in [1, 0] {
        // what an earlier run left would be taken for this one's
        let _ = std::fs::remove_dir_all(place.path("run"));
        let args = ["train", "--config", "c.toml", "--overwrite", every[0], every[1]];
        let child = start(2, "classify", &args, place.dir());
        until("training", || {
            std::fs::read_to_string(place.path("run/metrics.jsonl"))
                .is_ok_and(|text| text.lines().count() > 4)
        });
        let all = processes(&child);
        assert_eq!(all.len(), 2, "{all:?}");
        let killed = std::process::Command::new("kill").args(["-KILL", &all[rank].to_string()]).status();
        assert!(killed.unwrap().success());
        let ended = finished(child, IN_TIME);
        assert_ne!(ended.status, 0, "{ended:?}");
        assert!(ended.stderr.contains(&format!("rank {rank}")), "{ended:?}");
        ok(train(&place, 2, &["--resume"]));
        let [whole, parts] = ["whole", "run"].map(|name| weights(place.dir(), name));
        assert!(whole.tensors == parts.tensors, "killed rank {rank}");
    }
}

#[test]
fn a_signal_to_one_process_or_to_the_launcher_saves_and_ends_all() {
    let Some(place) = place(&[("epochs = 2", "epochs = 100000")]) else { return };
    for to_launcher in [false, true] {
        let child = start(2, "classify", &["train", "--config", "c.toml", "--overwrite"], place.dir());
        until("training", || place.path("run/metrics.jsonl").is_file());
        std::thread::sleep(Duration::from_millis(500));
        let to = if to_launcher { child.id() } else { processes(&child)[1] };
        assert!(
            std::process::Command::new("kill").args(["-TERM", &to.to_string()]).status().unwrap().success()
        );
        let ended = finished(child, IN_TIME);
        assert_ne!(ended.status, 0, "{ended:?}");
        let step = step_of(&place.path("run/last.safetensors"));
        assert_eq!(
            ended.stderr.matches(&format!("is at step {step}; --resume goes on")).count(),
            1,
            "{ended:?}"
        );
    }
}

#[test]
fn what_one_process_fails_at_is_told_once_with_its_rank_and_ends_all() {
    let Some(place) = place(&[]) else { return };
    ok(train(&place, 2, &["--set", "train.epochs=1"]));
    let good = std::fs::read(place.path("run/last.safetensors")).unwrap();
    let begun = Instant::now();
    // A loss that is no number: all processes know it, and the first tells.
    let wild = train(&place, 2, &["--resume", "--set", "train.epochs=2", "--set", "optimizer.lr=1e38"]);
    refused(&wild, &["is NaN at step", "The last good checkpoint is run/last.safetensors"]);
    assert_eq!(wild.stderr.matches("training stopped").count(), 1, "{wild:?}");
    assert!(
        std::fs::read(place.path("run/last.safetensors")).unwrap() == good,
        "the good checkpoint is kept"
    );
    // A damaged image, which one of them reads.
    let image = std::fs::read_dir(place.path("shapes/train/star")).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&image).unwrap();
    std::fs::write(&image, "damaged").unwrap();
    let damaged = train(&place, 3, &["-o", "other"]);
    refused(&damaged, &["classify: rank ", &image.file_name().unwrap().to_string_lossy()]);
    assert_eq!(damaged.stderr.matches("classify: rank ").count(), 1, "{damaged:?}");
    std::fs::write(&image, whole).unwrap();
    // A disk that takes no more: the first process cannot write its checkpoint, of 28 MB. MPI's own files have 4.
    let large = ["--set", "model.dim=192", "--set", "model.depth=4", "--set", "model.heads=3", "-o", "full"];
    let args = [&["train", "--config", "c.toml"], &large[..]].concat();
    let full = run_in_shell(2, "classify", &args, place.dir(), "trap '' XFSZ; ulimit -f 32768; ");
    refused(&full, &["classify: rank 0: error: ", "last.safetensors"]);
    assert!(begun.elapsed() < 3 * IN_TIME);
    // Misuse is told before anything is exchanged.
    let unknown = train(&place, 2, &["--set", "train.batchsize=3"]);
    refused(&unknown, &["batchsize"]);
}
