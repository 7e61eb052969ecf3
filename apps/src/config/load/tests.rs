//! Files that build on files, and what the command line lays over them.

use super::*;

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn set(text: &str) -> Override {
    Override::parse(text).unwrap()
}

#[test]
fn later_layers_win() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "base.toml", "[optimizer]\nlr = 1e-3\nweight_decay = 0.3\n[train]\nepochs = 9");
    let file = write(dir.path(), "a.toml", "extends = \"base.toml\"\n[optimizer]\nlr = 2e-3");
    let raw = load(Some(&file), &[set("train.epochs=4")], TaskKind::Classify).unwrap().raw;
    assert_eq!((raw.optimizer.lr, raw.optimizer.weight_decay, raw.train.epochs), (2e-3, 0.3, Some(4)));
    assert_eq!(raw.optimizer.eps, 1e-8);
}

#[test]
fn files_extend_to_any_depth_but_not_themselves() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("base")).unwrap();
    write(dir.path(), "base/d.toml", "[optimizer]\nlr = 1.0\neps = 2.0\nweight_decay = 3.0");
    write(dir.path(), "base/c.toml", "extends = \"d.toml\"\n[optimizer]\neps = 4.0");
    write(dir.path(), "b.toml", "extends = \"base/c.toml\"\nunset = [\"optimizer.weight_decay\"]");
    let file = write(dir.path(), "a.toml", "extends = \"b.toml\"\n[optimizer]\nlr = 5.0");
    let raw = load(Some(&file), &[], TaskKind::Classify).unwrap().raw;
    let default = RawConfig::default().optimizer.weight_decay;
    assert_eq!((raw.optimizer.lr, raw.optimizer.eps, raw.optimizer.weight_decay), (5.0, 4.0, default));
    write(dir.path(), "base/d.toml", "extends = \"../a.toml\"");
    let error = load(Some(&file), &[], TaskKind::Classify).unwrap_err();
    assert!(matches!(error, ConfigError::ExtendsItself { .. }), "{error}");
}

#[test]
fn the_later_of_two_rivals_counts_and_keys_are_unset() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "base.toml", "[train]\nsteps = 9");
    let file = write(dir.path(), "a.toml", "extends = \"base.toml\"\n[train]\nepochs = 2");
    let train = |changes: &[Override]| load(Some(&file), changes, TaskKind::Classify).unwrap().raw.train;
    assert_eq!((train(&[]).epochs, train(&[]).steps), (Some(2), None));
    let stepped = train(&[set("train.epochs=3"), set("train.steps=5")]);
    assert_eq!((stepped.epochs, stepped.steps), (None, Some(5)));
    assert_eq!(train(&[Override::unset("train.epochs").unwrap()]).epochs, None);
    // both in one place contradict each other still
    let both = write(dir.path(), "both.toml", "[train]\nepochs = 1\nsteps = 1");
    let raw = load(Some(&both), &[], TaskKind::Classify).unwrap().raw;
    assert_eq!((raw.train.epochs, raw.train.steps), (Some(1), Some(1)));
    let unknown = load(Some(&file), &[Override::unset("train.epoch").unwrap()], TaskKind::Classify);
    let message = unknown.unwrap_err().to_string();
    assert!(
        message.contains("--unset train.epoch: unknown key") && message.contains("train.epochs"),
        "{message}"
    );
    let file = write(dir.path(), "u.toml", "unset = [\"train.stops\"]");
    let message = load(Some(&file), &[], TaskKind::Classify).unwrap_err().to_string();
    assert!(message.contains("u.toml: unknown key \"train.stops\""), "{message}");
}

#[test]
fn unknown_keys_are_errors_in_files_and_overrides() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "a.toml", "[optimizer]\nlearning_rat = 1");
    let message = load(Some(&file), &[], TaskKind::Classify).unwrap_err().to_string();
    assert!(message.contains("a.toml: unknown key \"optimizer.learning_rat\""), "{message}");
    let message = load(None, &[set("train.epoch=3")], TaskKind::Classify).unwrap_err().to_string();
    assert!(message.contains("--set train.epoch=3: unknown key \"train.epoch\""), "{message}");
    assert!(message.contains("did you mean \"train.epochs\"?"), "{message}");
}

#[test]
fn wrong_types_name_place_found_and_expected() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "a.toml", "[train]\nepochs = 3\nbatch_size = \"big\"");
    let message = load(Some(&file), &[], TaskKind::Classify).unwrap_err().to_string();
    for part in ["a.toml", "line 3", "batch_size", "\"big\"", "expected usize"] {
        assert!(message.contains(part), "{part} not in {message}");
    }
    let message = load(None, &[set("optimizer.lr=fast")], TaskKind::Classify).unwrap_err().to_string();
    assert!(message.contains("--set optimizer.lr=fast") && message.contains("expected f64"), "{message}");
    let message = load(None, &[set("model.mixer=gelu")], TaskKind::Classify).unwrap_err().to_string();
    assert!(message.contains("`gr_kan`, `mlp`, `kan`"), "{message}");
}

#[test]
fn sections_of_other_programs_are_refused() {
    let error = load(None, &[set("detect.window=7")], TaskKind::Segment).unwrap_err();
    assert!(matches!(error, ConfigError::ForeignSection { .. }), "{error}");
    assert!(load(None, &[set("detect.window=7")], TaskKind::Detect).is_ok());
}

#[test]
fn resolved_text_reads_back_as_the_same() {
    let overrides = [set("model.name=kat_tiny_patch16_224"), set("schedule.milestones=[0.5, 0.75]")];
    for task in [TaskKind::Classify, TaskKind::Detect, TaskKind::Segment] {
        let raw = load(None, &overrides, task).unwrap().raw;
        assert_eq!(SECTIONS.len(), serde_json::to_value(&raw).unwrap().as_object().unwrap().len());
        let text = to_text(&raw, task);
        assert_eq!(from_text(&text, "config.toml", task).unwrap().raw, raw, "{text}");
        assert_eq!(text.contains("[detect]"), task == TaskKind::Detect);
    }
}

#[test]
fn runs_of_older_versions_go_on_as_they_began() {
    let warmup = |text: &str| {
        let loaded = from_run(text, &[set("train.steps=5")], "config.toml", TaskKind::Classify).unwrap();
        assert_eq!(loaded.raw.train.steps, Some(5));
        loaded.raw.train.ema_warmup
    };
    use crate::config::kinds::EmaWarmup;
    assert_eq!(warmup("[train]\nema_decay = 0.9"), EmaWarmup::None);
    assert_eq!(warmup("[train]\nema_warmup = \"ultralytics\""), EmaWarmup::Ultralytics);
}

#[test]
fn differences_name_key_before_and_now() {
    let before = load(None, &[], TaskKind::Classify).unwrap().raw;
    let now = load(None, &[set("optimizer.lr=0.5")], TaskKind::Classify).unwrap().raw;
    assert_eq!(differences(&before, &now), ["optimizer.lr: 0.001 -> 0.5"]);
    assert!(differences(&now, &now).is_empty());
}
