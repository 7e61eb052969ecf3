//! The three programs on a GPU, in mixed precision: a few steps of training, evaluation, prediction, timing.
//!
//! Only where the feature `cuda` is on, and there is a GPU (or what stands for one, tests/gpu/host).
#![cfg(feature = "cuda")]

use kat_backbone::checkpoint::compare::furthest;
use kat_backbone::collective::Nccl;
use kat_backbone::{Cuda, Precision};
use kat_tests::place::{ended, until};
use kat_tests::program::{Run, program, run};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Whether there is a GPU; a failure where one must be.
fn gpu() -> bool {
    match Cuda::open(0, Precision::F32) {
        Ok(_) => true,
        Err(error) if std::env::var_os("KAT_REQUIRE_CUDA").is_some() => panic!("no GPU: {error}"),
        Err(error) => {
            eprintln!("skipped: no GPU: {error}");
            false
        }
    }
}

fn succeeds(program: &str, args: &[&str], dir: &Path) -> Run {
    let done = run(program, args, dir);
    assert_eq!(done.status, 0, "{program} {args:?}: {done:?}");
    done
}

/// Trains with these settings, and looks at the checkpoint through `eval`.
fn trains(program: &str, settings: &[&str], data: &str) {
    if !gpu() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let common = [
        "output.dir=run",
        "output.tensorboard=false",
        "data.dir=data",
        "data.generate_train=4",
        "data.generate_val=2",
        "data.generate_size=32",
        "train.steps=2",
        "train.batch_size=2",
        "train.log_every=1",
        "optimizer.lr=1e-3",
        "model.image_size=32",
        "model.patch=8",
        "model.dim=32",
        "model.depth=2",
        "model.heads=2",
        "eval.examples=1",
    ];
    let mut args = vec!["-q", "train", "--device", "cuda:0", "--amp", "bf16"];
    common.iter().chain(settings).for_each(|setting| args.extend(["--set", setting]));
    succeeds(program, &args, dir.path());
    let log = std::fs::read_to_string(dir.path().join("run/metrics.jsonl")).unwrap();
    assert!(log.contains("\"loss\"") && !log.contains("null"), "{log}");
    let checkpoint = "run/last.safetensors";
    for amp in ["off", "bf16"] {
        let eval = [
            "eval",
            "--checkpoint",
            checkpoint,
            "--data",
            data,
            "--json",
            "--device",
            "cuda:0",
            "--amp",
            amp,
        ];
        let figures: serde_json::Value =
            serde_json::from_str(&succeeds(program, &eval, dir.path()).stdout).unwrap();
        assert!(figures.is_object(), "{figures}");
    }
}

#[test]
fn classify() {
    trains("classify", &["data.dataset=shapes", "model.drop_path=0.1"], "data");
}

#[test]
fn segment() {
    let settings = [
        "data.dataset=shapes",
        "model.depth=4",
        "segment.out_blocks=[0, 1, 2, 3]",
        "segment.channels=16",
        "segment.pool_scales=[1, 2]",
        "segment.aux_channels=8",
        "segment.crop=32",
    ];
    trains("segment", &settings, "data");
}

#[test]
fn detect() {
    let settings = [
        "data.dataset=shapes",
        "detect.window=2",
        "detect.global_blocks=[1]",
        "detect.pretrain_size=32",
        "detect.channels=16",
        "detect.rpn_convs=1",
        "detect.box_head=two_fc",
        "detect.box_hidden=32",
        "detect.anchor_sizes=[8, 12, 16, 24, 32]",
        "detect.roi_samples=16",
        "detect.proposals_train=[50, 20]",
        "detect.proposals_eval=[50, 10]",
    ];
    trains("detect", &settings, "data");
}

/// Starts a program once for each of two ranks, as torchrun does; where there are two GPUs and NCCL (or their stand-ins).
fn two_ranks(args: &[&str], dir: &Path) -> Option<Vec<Child>> {
    if !gpu() || !Cuda::count().is_ok_and(|count| count >= 2) || Nccl::library().is_err() {
        assert!(std::env::var_os("KAT_REQUIRE_NCCL").is_none(), "no two GPUs with NCCL");
        eprintln!("skipped: no two GPUs with NCCL");
        return None;
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().min(u16::MAX - 8);
    let start = |rank: usize| {
        let mut command = Command::new(program("classify"));
        command.args(args).current_dir(dir);
        command.env("RANK", rank.to_string()).env("LOCAL_RANK", rank.to_string()).env("WORLD_SIZE", "2");
        command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", port.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    Some((0..2).map(start).collect())
}

/// The arguments of a run of a small `classify` that writes to `output`.
fn small<'a>(output: &'a str, batch: &'a str, steps: &'a str) -> Vec<&'a str> {
    let settings = [
        output,
        batch,
        steps,
        "output.tensorboard=false",
        "output.report=false",
        "data.dir=data",
        "data.dataset=shapes",
        "data.generate_train=24",
        "data.generate_val=7",
        "data.generate_size=32",
        "train.log_every=1",
        "optimizer.lr=1e-3",
        "optimizer.eps=1e-3",
        "model.image_size=32",
        "model.patch=8",
        "model.dim=32",
        "model.depth=2",
        "model.heads=2",
        "model.drop_path=0.1",
        "augment.mixup=0.8",
    ];
    let mut args = vec!["train", "--device", "cuda"];
    settings.into_iter().for_each(|setting| args.extend(["--set", setting]));
    args
}

#[test]
fn two_processes_with_a_gpu_each_train_and_evaluate_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let args = small("output.dir=two", "train.batch_size=2", "train.steps=6");
    let Some(ranks) = two_ranks(&args, dir.path()) else { return };
    for (rank, child) in ranks.into_iter().enumerate() {
        let (status, said) = ended(child, Duration::from_secs(120));
        assert_eq!(status, 0, "rank {rank}: {said}");
        assert_eq!(said.contains("global batch 4 = 2 ranks × 2 × 1 accumulated"), rank == 0, "{said}");
    }
    succeeds("classify", &small("output.dir=one", "train.batch_size=4", "train.steps=6"), dir.path());
    let [one, two] = ["one", "two"].map(|run| {
        kat_backbone::checkpoint::safetensors::load(&dir.path().join(run).join("last.safetensors")).unwrap()
    });
    let (distance, name) = furthest(&two, &one, 1e-2, |name| !name.starts_with("optimizer.")).unwrap();
    assert!(distance <= 1e-5, "{name} differs by {distance:.1e}");
    let records = |run: &str| -> Vec<serde_json::Map<String, serde_json::Value>> {
        let log = std::fs::read_to_string(dir.path().join(run).join("metrics.jsonl")).unwrap();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (one, two) = (records("one"), records("two"));
    assert!(one.len() == two.len() && two.iter().any(|record| record.contains_key("val/top1")), "{two:?}");
    for (one, two) in one.iter().zip(&two) {
        assert!(one.keys().eq(two.keys()), "{one:?} and {two:?}");
        for (name, value) in one {
            let (one, two) = (value.as_f64().unwrap(), two[name].as_f64().unwrap());
            assert!((one - two).abs() <= 1e-4 * one.abs().max(1e-3), "{name}: {two} is not {one}");
        }
    }
}

#[test]
fn a_process_that_is_killed_ends_the_other_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let args = small("output.dir=run", "train.batch_size=2", "train.steps=100000");
    let Some(mut ranks) = two_ranks(&args, dir.path()) else { return };
    until("training", || dir.path().join("run/metrics.jsonl").is_file());
    std::thread::sleep(Duration::from_millis(300));
    ranks[1].kill().unwrap();
    ranks[1].wait().unwrap();
    let (status, said) = ended(ranks.remove(0), Duration::from_secs(30));
    assert!(
        status == 1 && said.contains("rank 0: error: ") && said.contains("rank 1 ended"),
        "{status}: {said}"
    );
}
