//! Runs of an earlier version (tests/fixtures) are evaluated and resumed as that version would have done.

use std::fs;
use std::path::{Path, PathBuf};

use kat_tests::program::{Run, run};
use serde_json::Value;

/// Greatest difference of a loss, as a share: sums may be taken in another order.
const TOLERANCE: f64 = 1e-3;

fn fixture(program: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/run_of_0.1.0").join(program)
}

fn ok(run: Run) -> String {
    assert_eq!(run.status, 0, "{run:?}");
    run.stdout
}

/// The records of steps 5 to 8 that tell a loss, by step.
fn losses(path: &Path) -> Vec<(u64, f64)> {
    let text = fs::read_to_string(path).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter_map(|r| Some((r["step"].as_u64().filter(|s| *s > 4)?, r["loss"].as_f64()?))).collect()
}

/// Every number of `expected` is in `found`, within the tolerance.
fn assert_close(expected: &Value, found: &Value, at: &str) {
    match (expected, found) {
        (Value::Object(fields), _) => {
            fields.iter().for_each(|(key, value)| assert_close(value, &found[key], &format!("{at}.{key}")));
        }
        (Value::Array(values), Value::Array(others)) => {
            assert_eq!(values.len(), others.len(), "{at}");
            values.iter().zip(others).for_each(|(a, b)| assert_close(a, b, at));
        }
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            assert!((a - b).abs() <= TOLERANCE * a.abs().max(1e-3), "{at}: {a} then, {b} now");
        }
        (a, b) => assert_eq!(a, b, "{at}"),
    }
}

/// Resumes the run to eight steps, whose losses may differ by `tolerance`, a share; then evaluates the checkpoint it was
/// resumed from.
fn evaluates_and_resumes(program: &str, data: &str, tolerance: f64) {
    let (fixture, temp) = (fixture(program), tempfile::tempdir().unwrap());
    let dir = temp.path().join(program);
    fs::create_dir(&dir).unwrap();
    for file in ["config.toml", "last.safetensors", "metrics.jsonl", "sessions.jsonl"] {
        fs::copy(fixture.join(file), dir.join(file)).unwrap();
    }
    let output = format!("output.dir={program}");
    let resume = ["-q", "train", "--resume", "--set", &output, "--set", "train.steps=8"];
    ok(run(program, &resume, temp.path()));
    let (then, now) = (losses(&fixture.join("resumed.jsonl")), losses(&dir.join("metrics.jsonl")));
    assert_eq!(then.len(), 4);
    assert_eq!(now.len(), 4);
    for ((step, then), (same_step, now)) in then.into_iter().zip(now) {
        assert_eq!(step, same_step);
        assert!((then - now).abs() <= tolerance * then.abs(), "step {step}: loss {then} then, {now} now");
    }
    let checkpoint = fixture.join("last.safetensors");
    let checkpoint = checkpoint.to_str().unwrap();
    let shown =
        ok(run(program, &["eval", "--checkpoint", checkpoint, "--data", data, "--json"], temp.path()));
    let then: Value = serde_json::from_slice(&fs::read(fixture.join("eval.json")).unwrap()).unwrap();
    assert_close(&then, &serde_json::from_str(&shown).unwrap(), program);
}

#[test]
fn classify_goes_on_with_a_run_of_0_1_0() {
    evaluates_and_resumes("classify", "shapes", TOLERANCE);
}

#[test]
fn detect_goes_on_with_a_run_of_0_1_0() {
    // weights, moments, rates and images are those of then, and the figures too; but which anchors and regions a loss looks
    // at is drawn for each image since then, so that it does not depend on the number of processes
    evaluates_and_resumes("detect", "shapes_detect", 0.05);
}

#[test]
fn segment_goes_on_with_a_run_of_0_1_0() {
    evaluates_and_resumes("segment", "shapes_segment", TOLERANCE);
}
