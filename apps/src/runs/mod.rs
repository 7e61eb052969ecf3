//! What runs that are done or under way came to: read from their directories, compared over their seeds.

pub mod compare;
pub mod statistics;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::report::html::REFRESH;
use crate::run::metrics_log::{Record, read};
use crate::run::sessions::{self, Session};
use crate::shell::Misuse;

/// Figures by which a run of each program is judged, and others like them.
pub const MAIN: [&str; 3] = ["val/top1", "val/box_AP", "val/mIoU"];
/// Keys that runs of one experiment differ in, or that change nothing of what comes out.
fn is_own(key: &str) -> bool {
    matches!(key, "train.seed" | "data.workers") || key.starts_with("output.")
}
/// How deep under a folder runs are looked for.
const DEPTH: usize = 4;

/// A run, as its directory tells.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its directory.
    pub path: PathBuf,
    /// Values by `section.key`, without the seed, what `[output]` says and the number of threads; empty where there is no
    /// config.toml.
    pub settings: BTreeMap<String, String>,
    /// `train.seed`.
    pub seed: Option<i64>,
    /// What was measured, in order.
    pub records: Vec<Record>,
    /// The processes that trained it.
    pub sessions: Vec<Session>,
}

/// The values of a figure over a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// The best of them.
    pub best: f64,
    /// The step of the best.
    pub best_step: u64,
    /// The newest.
    pub last: f64,
}

/// Whether less of a figure is better.
pub fn is_loss(figure: &str) -> bool {
    figure.contains("loss")
}

impl Run {
    /// Reads a run.
    ///
    /// # Errors
    /// A directory without metrics.jsonl, or files that cannot be read.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let metrics = path.join("metrics.jsonl");
        if !metrics.is_file() {
            return Err(Misuse(format!("{} is not a run: it has no metrics.jsonl", path.display())).into());
        }
        let records = read(&metrics).with_context(|| format!("cannot read {}", metrics.display()))?;
        let config = path.join("config.toml");
        let mut settings = BTreeMap::new();
        if config.is_file() {
            let refused = || format!("cannot read {}", config.display());
            let table: toml::Table =
                std::fs::read_to_string(&config).with_context(refused)?.parse().with_context(refused)?;
            for (section, values) in table {
                match values {
                    toml::Value::Table(values) => {
                        let named =
                            values.into_iter().map(|(key, v)| (format!("{section}.{key}"), v.to_string()));
                        settings.extend(named);
                    }
                    value => drop(settings.insert(section, value.to_string())),
                }
            }
        }
        let seed = settings.get("train.seed").and_then(|seed| seed.parse().ok());
        settings.retain(|key, _| !is_own(key));
        let sessions = sessions::read(&path.join("sessions.jsonl"));
        Ok(Self { path: path.to_owned(), settings, seed, records, sessions })
    }

    /// The figure that a run of its program is judged by, if it was measured.
    pub fn main_figure(&self) -> Option<&'static str> {
        MAIN.into_iter().find(|name| self.records.iter().any(|record| record.get(name).is_some()))
    }

    /// The values of a figure with their steps.
    pub fn curve(&self, figure: &str) -> Vec<(u64, f64)> {
        self.records.iter().filter_map(|record| Some((record.step, record.get(figure)?))).collect()
    }

    /// The best and the newest value of a figure; none where it was not measured.
    pub fn measured(&self, figure: &str) -> Option<Measured> {
        let curve = self.curve(figure);
        let (_, last) = *curve.last()?;
        let sign = if is_loss(figure) { -1.0 } else { 1.0 };
        // the first of equal ones, as the trainer keeps it
        let better = |best: (u64, f64), next: (u64, f64)| {
            if best.1.is_nan() || sign * next.1 > sign * best.1 { next } else { best }
        };
        let (best_step, best) = curve.into_iter().reduce(better)?;
        Some(Measured { best, best_step, last })
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.records.last().map_or(0, |record| record.step)
    }

    /// Seconds of training; none where they were not noted.
    pub fn seconds(&self) -> Option<f64> {
        (!self.sessions.is_empty()).then(|| self.sessions.iter().map(|session| session.seconds).sum())
    }

    /// Whether it came to its end. Earlier versions did not note it, but wrote the report only then.
    pub fn is_done(&self) -> bool {
        let refreshes = || {
            let page = std::fs::read_to_string(self.path.join("report.html")).ok()?;
            Some(page.split("</head>").next().unwrap_or_default().contains(REFRESH))
        };
        match self.sessions.last() {
            Some(last) if last.complete => true,
            _ => refreshes() == Some(false),
        }
    }
}

/// The directories of runs in a folder and the folders in it, sorted by name.
///
/// # Errors
/// A folder that cannot be read.
pub fn find(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![(folder.to_owned(), 0)]);
    while let Some((folder, depth)) = open.pop() {
        if folder.join("metrics.jsonl").is_file() {
            found.push(folder);
            continue;
        }
        if depth == DEPTH {
            continue;
        }
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push((entry.path(), depth + 1));
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run directory with these settings and values of val/top1.
    pub(crate) fn made(root: &Path, name: &str, config: &str, values: &[f64]) -> Run {
        let path = root.join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("config.toml"), config).unwrap();
        let line = |(i, v): (usize, &f64)| {
            format!("{{\"step\":{},\"loss\":1.0}}\n{{\"step\":{0},\"val/top1\":{v}}}\n", 10 * (i + 1))
        };
        let text: String = values.iter().enumerate().map(line).collect();
        std::fs::write(path.join("metrics.jsonl"), text).unwrap();
        Run::open(&path).unwrap()
    }

    #[test]
    fn a_run_is_read_and_found() {
        let dir = tempfile::tempdir().unwrap();
        let config =
            "[train]\nseed = 3\nsteps = 30\n[output]\ndir = \"x\"\nreport = false\n[model]\nname = \"a\"\n";
        let run = made(dir.path(), "deep/down/one", config, &[0.5, 0.75, 0.75]);
        assert_eq!((run.seed, run.steps(), run.main_figure()), (Some(3), 30, Some("val/top1")));
        assert_eq!(run.settings.keys().collect::<Vec<_>>(), ["model.name", "train.steps"]);
        let measured = run.measured("val/top1").unwrap();
        assert_eq!(measured, Measured { best: 0.75, best_step: 20, last: 0.75 });
        assert_eq!((run.measured("val/other"), run.seconds(), run.is_done()), (None, None, false));
        assert_eq!(find(dir.path()).unwrap(), [run.path]);
        let error = Run::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("has no metrics.jsonl"), "{error}");
    }
}
