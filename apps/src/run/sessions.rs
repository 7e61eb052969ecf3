//! sessions.jsonl: for each process that trained a run when, how long, from which step to which, on what and by which
//! command. Not in the checkpoint, whose bytes depend on configuration and data alone.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::run_dir::write_atomic;

/// What one process did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// When it began, in UTC, as RFC 3339 writes it.
    pub started: String,
    /// Seconds from there to its newest checkpoint.
    pub seconds: f64,
    /// Step at which it began.
    pub from: u64,
    /// Step of its newest checkpoint.
    pub to: u64,
    /// What it computed on.
    pub device: String,
    /// How it was called.
    pub command: String,
    /// The program's version.
    pub version: String,
    /// Whether it came to the end of the run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub complete: bool,
}

/// The file, with the entry of this process last.
#[derive(Debug)]
pub struct SessionLog {
    path: PathBuf,
    earlier: Vec<Session>,
    now: Session,
    begun: Instant,
}

impl SessionLog {
    /// Begins an entry for this process, which goes on from step `from`; nothing is written yet.
    pub fn begin(path: &Path, from: u64, device: &str) -> Self {
        let command: Vec<String> = std::env::args().map(|argument| quoted(&argument)).collect();
        let now = Session {
            started: now(),
            seconds: 0.0,
            from,
            to: from,
            device: device.to_owned(),
            command: command.join(" "),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            complete: false,
        };
        // Of a run from the start there are none; a file that cannot be read is no reason to stop.
        let earlier = if from > 0 { read(path) } else { Vec::new() };
        Self { path: path.to_owned(), earlier, now, begun: Instant::now() }
    }

    /// Notes that a checkpoint of `step` is there.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn saved(&mut self, step: u64) -> io::Result<()> {
        (self.now.to, self.now.seconds) = (step, self.begun.elapsed().as_secs_f64());
        self.write()
    }

    /// Notes that the run is done.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn completed(&mut self) -> io::Result<()> {
        self.now.complete = true;
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        let mut text = String::new();
        for session in self.earlier.iter().chain([&self.now]) {
            text += &serde_json::to_string(session)?;
            text.push('\n');
        }
        write_atomic(&self.path, text.as_bytes())
    }
}

/// All entries of a file; none where there is no such file, as in runs from before there were any.
pub fn read(path: &Path) -> Vec<Session> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// This moment in UTC, to the second.
pub fn now() -> String {
    let now = jiff::Timestamp::now();
    now.round(jiff::Unit::Second).unwrap_or(now).to_string()
}

/// An argument as a shell takes it.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%[]".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_run_keeps_what_was_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sessions.jsonl");
        let mut first = SessionLog::begin(&path, 0, "cpu");
        first.saved(5).unwrap();
        first.saved(10).unwrap();
        let mut second = SessionLog::begin(&path, 10, "cuda:0");
        second.saved(12).unwrap();
        let all = read(&path);
        assert_eq!(
            all.iter().map(|s| (s.from, s.to, s.device.as_str())).collect::<Vec<_>>(),
            [(0, 10, "cpu"), (10, 12, "cuda:0")]
        );
        assert!(all[0].started.ends_with('Z') && all[0].started.len() == 20, "{}", all[0].started);
        assert!(!all[0].command.is_empty());
        assert!(read(&dir.path().join("none")).is_empty());
    }

    #[test]
    fn commands_can_be_typed_again() {
        assert_eq!(quoted("--set=train.steps=5"), "--set=train.steps=5");
        assert_eq!(quoted("my data"), "'my data'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
    }
}
