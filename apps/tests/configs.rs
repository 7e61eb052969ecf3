//! Every configuration that the suite brings is valid for its program.

use std::path::{Path, PathBuf};

use kat_apps::config::TaskKind;
use kat_apps::config::{Plan, load};

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "toml") {
            found.push(path);
        }
    }
}

#[test]
fn every_configuration_is_valid() {
    let configs = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../configs"));
    for task in [TaskKind::Classify, TaskKind::Detect, TaskKind::Segment] {
        let dir = configs.join(task.program());
        let mut found = Vec::new();
        if dir.is_dir() {
            files(&dir, &mut found);
        }
        assert!(task != TaskKind::Classify || found.len() > 15, "{found:?}");
        let mut outputs = std::collections::BTreeMap::new();
        for path in found {
            let plan = load(Some(&path), &[], task).and_then(|loaded| Plan::new(loaded, task));
            let plan = plan.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            plan.model.kat_config(10).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            // Two recipes in one directory would overwrite each other.
            if let Some(other) = outputs.insert(plan.output.clone(), path.clone()) {
                panic!("{} and {} both write to {}", path.display(), other.display(), plan.output.display());
            }
        }
    }
}
