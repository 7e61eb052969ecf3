//! The three programs on a GPU, in mixed precision: a few steps of training, evaluation, prediction, timing.
//!
//! Only where the feature `cuda` is on, and there is a GPU (or what stands for one, tests/gpu/host).
#![cfg(feature = "cuda")]

use kat_backbone::{Cuda, Precision};
use kat_tests::program::{Run, run};
use std::path::Path;

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
