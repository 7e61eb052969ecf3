//! The programs as a user runs them: what they print, and how they refuse.

use kat_tests::golden;
use kat_tests::program::{Run, run};
use std::path::Path;

fn classify(args: &[&str]) -> Run {
    run("classify", args, Path::new(env!("CARGO_MANIFEST_DIR")))
}

/// An error is one line that names what is wrong, never a panic or a backtrace.
fn assert_refused(refused: &Run, status: i32, names: &str) {
    assert_eq!(refused.status, status, "{refused:?}");
    assert!(refused.stderr.contains(names), "{refused:?}");
    assert!(
        !refused.stderr.contains("panicked") && !refused.stderr.contains("stack backtrace"),
        "{refused:?}"
    );
}

#[test]
fn info_prints_the_published_figures() {
    let all = classify(&["info"]);
    assert_eq!(all.status, 0, "{all:?}");
    for (model, figures) in [
        ("kat_tiny_patch16_224", "5.7M    1.13G"),
        ("kat_base_patch16_224", "86.6M   17.06G"),
        ("vit_small_patch16_224", "22.1M    4.25G"),
        ("vit_base_kan", "199.8M   28.04G"),
    ] {
        let line = all.stdout.lines().find(|line| line.starts_with(model)).unwrap();
        assert!(line.contains(figures), "{line}");
    }
    let json = classify(&["info", "kat_tiny_patch16_224", "--json"]);
    let rows: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(rows[0]["parameters"], 5_718_328);
    assert_refused(&classify(&["info", "kat_tiny_patch16_22"]), 2, "did you mean \"kat_tiny_patch16_224\"");
    assert_refused(&classify(&["info", "--no-such-flag"]), 2, "--no-such-flag");
}

#[test]
fn verify_passes_on_golden_numbers_and_fails_on_changed_or_broken_ones() {
    let file = golden::dir().join("kat_small_model.safetensors");
    let good = classify(&["verify", file.to_str().unwrap(), "--tolerance", "1e-5"]);
    assert_eq!(good.status, 0, "{good:?}");
    assert!(good.stdout.contains("grad.blocks.0.mlp.act1.weight_denominator"), "{}", good.stdout);
    let strict = classify(&["verify", file.to_str().unwrap(), "--tolerance", "1e-12"]);
    assert_refused(&strict, 1, "off by more than 1e-12");

    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    for len in [0, 5, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&broken, &bytes[..len]).unwrap();
        let refused = classify(&["verify", broken.to_str().unwrap()]);
        assert_refused(&refused, 1, "broken.safetensors");
    }
}

#[test]
fn bench_reports_its_figures_as_json() {
    let args = ["bench", "--batch", "1", "--rounds", "1", "--json"];
    for mode in ["infer", "train"] {
        let bench = classify(&[&args[..], &["--mode", mode]].concat());
        let report: serde_json::Value = serde_json::from_str(&bench.stdout).expect(&bench.stderr);
        for figure in ["ms_per_batch", "images_per_second", "share_of_matmul_rate"] {
            assert!(report[figure].as_f64().unwrap() > 0.0, "{figure}: {report}");
        }
    }
    assert_refused(&classify(&["bench", "--batch", "0"]), 2, "--batch");
    assert_refused(&classify(&["bench", "--batch", "100000000000"]), 2, "lower model.image_size or --batch");
}

/// Where the processor has no tile products, f32 is used, and a line says so.
#[test]
fn mixed_precision_runs_on_any_cpu() {
    let args = ["bench", "--device", "cpu", "--batch", "1", "--rounds", "1", "--amp"];
    for amp in ["bf16", "tf32"] {
        let bench = classify(&[&args[..], &[amp]].concat());
        assert_eq!(bench.status, 0, "{bench:?}");
        let f32_instead =
            bench.stderr.contains(&format!("--amp {amp}")) && bench.stderr.contains("computing in f32");
        assert_ne!(kat_backbone::cpu::gemm::has_tile_products(), f32_instead, "{bench:?}");
    }
}

#[test]
fn runs_are_listed_and_compared_and_shells_are_served() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/run_of_0.1.0");
    let folder = fixtures.to_str().unwrap();
    let list = classify(&["runs", "list", folder]);
    assert_eq!(list.status, 0, "{list:?}");
    for part in ["classify", "detect", "segment", "val/top1", "val/mIoU"] {
        assert!(list.stdout.contains(part), "{list:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let run = fixtures.join("classify");
    let compared = classify(&["runs", "compare", run.to_str().unwrap(), "--output", out, "--json"]);
    let found: serde_json::Value = serde_json::from_str(&compared.stdout).unwrap();
    assert_eq!(found["groups"][0]["best_summary"]["mean"], 0.1, "{found}");
    assert!(dir.path().join("compare.html").is_file() && dir.path().join("val_top1.png").is_file());
    assert_refused(&classify(&["runs", "list", "src"]), 2, "src holds no run");
    assert_refused(
        &classify(&["runs", "compare", folder, "--figure", "top9"]),
        2,
        "no run has the figure top9",
    );

    for shell in ["bash", "zsh", "fish"] {
        let script = classify(&["completions", shell]);
        assert!(script.status == 0 && script.stdout.contains("make-shapes"), "{shell}: {script:?}");
    }
    let pages = classify(&["man", out]);
    assert_eq!(pages.status, 0, "{pages:?}");
    let page = std::fs::read_to_string(dir.path().join("classify-train.1")).unwrap();
    assert!(
        page.contains(".TH classify-train 1") && page.contains("--resume") || page.contains("\\-\\-resume")
    );
}
