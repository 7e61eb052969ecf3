//! metrics.jsonl: one JSON object a line, with "step" first; made for `jq`, pandas and the report.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::run::run_dir::write_atomic;

/// What was measured at one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Optimiser steps done.
    pub step: u64,
    /// Values by name: "loss", "lr", "val/top1" …; values that are not finite are null in the file.
    pub values: Vec<(String, f64)>,
}

impl Record {
    /// A record.
    pub fn new(step: u64, values: &[(&str, f64)]) -> Self {
        Record { step, values: values.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect() }
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(k, _)| k == name).map(|(_, v)| *v)
    }

    fn line(&self) -> String {
        let mut line = format!("{{\"step\":{}", self.step);
        for (name, value) in &self.values {
            // JSON has no NaN: serde_json makes it null.
            line.push_str(&format!(",{}:{}", Value::from(name.as_str()), Value::from(*value)));
        }
        line + "}\n"
    }

    fn parse(line: &str) -> Option<Self> {
        let object: Map<String, Value> = serde_json::from_str(line).ok()?;
        let step = object.get("step")?.as_u64()?;
        let values = object.into_iter().filter(|(k, _)| k != "step");
        let values = values.filter_map(|(k, v)| match v {
            Value::Null => Some((k, f64::NAN)),
            other => other.as_f64().map(|f| (k, f)),
        });
        Some(Record { step, values: values.collect() })
    }
}

/// Where a resumed run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// Optimiser steps done.
    pub step: u64,
    /// Whether the figures of the held-out part at this step are to be measured again.
    pub evaluation_due: bool,
}

impl Resumed {
    /// Whether the resumed run leaves a record as it is.
    fn keeps(self, record: &Record) -> bool {
        let evaluation = record.values.iter().any(|(name, _)| name.contains('/'));
        record.step < self.step || (record.step == self.step && !(self.evaluation_due && evaluation))
    }
}

/// The log of a run under way.
#[derive(Debug)]
pub struct MetricsLog {
    file: File,
    path: PathBuf,
}

impl MetricsLog {
    /// Starts an empty log.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(MetricsLog { file: File::create(path)?, path: path.to_owned() })
    }

    /// Goes on where a run stood: records of later steps, and a line that a killed process left unfinished, are
    /// dropped, because the resumed run writes them again.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn resume(path: &Path, resumed: Resumed) -> io::Result<Self> {
        if path.exists() {
            let kept: String = read(path)?.iter().filter(|r| resumed.keeps(r)).map(Record::line).collect();
            write_atomic(path, kept.as_bytes())?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(MetricsLog { file, path: path.to_owned() })
    }

    /// Adds a record, in one write, so that a reader never sees half of it.
    pub fn push(&mut self, record: &Record) -> io::Result<()> {
        self.file.write_all(record.line().as_bytes())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// All whole records of a log.
pub fn read(path: &Path) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    for line in BufReader::new(File::open(path)?).split(b'\n') {
        records.extend(Record::parse(&String::from_utf8_lossy(&line?)));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut log = MetricsLog::create(&path).unwrap();
        log.push(&Record::new(20, &[("loss", 2.5), ("val/\"x\"", f64::NAN)])).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"step\":20,\"loss\":2.5,\"val/\\\"x\\\"\":null}\n");
        let records = read(&path).unwrap();
        assert_eq!((records[0].step, records[0].get("loss")), (20, Some(2.5)));
        assert!(records[0].get("val/\"x\"").unwrap().is_nan() && records[0].get("acc").is_none());
    }

    #[test]
    fn resuming_drops_later_steps_and_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut log = MetricsLog::create(&path).unwrap();
        for step in [10, 20, 30, 40] {
            log.push(&Record::new(step, &[("loss", 1.0 / step as f64)])).unwrap();
        }
        log.file.write_all(b"{\"step\":50,\"lo").unwrap();
        drop(log);
        let at = |step| Resumed { step, evaluation_due: false };
        let mut log = MetricsLog::resume(&path, at(20)).unwrap();
        log.push(&Record::new(30, &[("loss", 7.0)])).unwrap();
        let steps: Vec<(u64, f64)> =
            read(&path).unwrap().iter().map(|r| (r.step, r.get("loss").unwrap())).collect();
        assert_eq!(steps, [(10, 0.1), (20, 0.05), (30, 7.0)]);
        assert!(MetricsLog::resume(&dir.path().join("new.jsonl"), at(5)).is_ok());
        // Figures that were measured but not saved with a checkpoint are measured again.
        log.push(&Record::new(30, &[("val/top1", 0.5)])).unwrap();
        assert_eq!((MetricsLog::resume(&path, at(30)).is_ok(), read(&path).unwrap().len()), (true, 4));
        MetricsLog::resume(&path, Resumed { step: 30, evaluation_due: true }).unwrap();
        assert!(read(&path).unwrap().iter().all(|r| r.get("loss").is_some()));
    }
}
