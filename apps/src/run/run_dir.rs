//! The directory of a run: what lies where, who may write, and what is never overwritten by accident.
//!
//! ```text
//! RUN/
//!   config.toml            the resolved configuration
//!   last.safetensors       newest complete checkpoint, with everything needed to go on
//!   previous.safetensors   the one before it, while the newest is being evaluated
//!   best.safetensors       best on the held-out part
//!   metrics.jsonl          one record a line
//!   metrics.csv            the same as a table
//!   tensorboard/           event files
//!   sessions.jsonl         when, where and by which command it was trained
//!   report.html, plots/    written at the end
//!   curves.html            written by the command `report`
//!   lock                   held while a process writes here
//! ```
//!
//! A directory without a checkpoint or report is what a start that failed left: the next start takes it over. What a
//! new run replaces is set aside until that run is accepted, and comes back if it is not.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::identity::{Identity, identity};
use super::leftovers;

/// Why a directory cannot serve as the run's.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// An operation of the file system failed.
    #[error("{what} {}", path.display())]
    Io {
        /// What was tried: "cannot create" …
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A run lies there.
    #[error("{} already holds a run; continue it with --resume, replace it with --overwrite, or name another \
             directory with --output", .0.display())]
    Occupied(PathBuf),
    /// Files that no run wrote.
    #[error("{} holds files that are not a run's (found {found}); name another directory with --output", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One of the files.
        found: String,
    },
    /// `--resume` without anything to resume.
    #[error("nothing to resume in {}: there is no {LAST}", .0.display())]
    NothingToResume(PathBuf),
    /// It was removed, or another one put in its place, while a run was under way.
    #[error("{} was removed or replaced while the run was under way; what lay in it cannot be continued", .0.display())]
    Gone(PathBuf),
    /// The first process of a run made a directory that another one does not see.
    #[error("{} is not there on this host: the processes of a run need a file system in common", .0.display())]
    NotShared(PathBuf),
    /// Another process writes there.
    #[error("{} is in use by another process (its lock is held); wait for it or name another directory with \
             --output", .0.display())]
    Locked(PathBuf),
}

/// What to do about a run that is already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Refuse.
    Fresh,
    /// Continue it.
    Resume,
    /// Remove its files first.
    Overwrite,
}

const CONFIG: &str = "config.toml";
const LAST: &str = "last.safetensors";
const PREVIOUS: &str = "previous.safetensors";
const BEST: &str = "best.safetensors";
const METRICS: &str = "metrics.jsonl";
const TABLE: &str = "metrics.csv";
const EVENTS: &str = "tensorboard";
const SESSIONS: &str = "sessions.jsonl";
const REPORT: &str = "report.html";
const CURVES: &str = "curves.html";
const PLOTS: &str = "plots";
const LOCK: &str = "lock";
/// Everything a run writes; nothing else is ever removed.
pub(super) const OWN: [&str; 11] =
    [CONFIG, LAST, PREVIOUS, BEST, METRICS, TABLE, EVENTS, SESSIONS, REPORT, CURVES, PLOTS];
/// What a run is worth keeping for; without any of these it can be neither continued nor used.
const WORTH: [&str; 4] = [LAST, PREVIOUS, BEST, REPORT];

/// A run's directory, locked for this process until dropped.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Whether an earlier run is set aside that comes back unless this one is accepted.
    replaces: AtomicBool,
    /// Which directory it is, whatever its name leads to later.
    identity: Option<Identity>,
    /// Held by the process that writes.
    _lock: Option<File>,
}

impl RunDir {
    /// Creates or takes over `path`. What temporary files a killed process left there is removed.
    ///
    /// # Errors
    /// A directory in use, of somebody else's files, that holds a run or (to resume) none, or that cannot be written.
    pub fn open(path: &Path, mode: OpenMode) -> Result<Self, RunDirError> {
        if mode == OpenMode::Resume && !resumable(path) && !resumable(&leftovers::set_aside(path)) {
            return Err(RunDirError::NothingToResume(path.to_owned()));
        }
        std::fs::create_dir_all(path).map_err(io("cannot create", path))?;
        if let Some(found) = foreign_file(path)? {
            return Err(RunDirError::Foreign { path: path.to_owned(), found });
        }
        let lock_path = path.join(LOCK);
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(io("cannot create", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RunDirError::Locked(path.to_owned())),
            Err(TryLockError::Error(source)) => {
                return Err(RunDirError::Io { what: "cannot lock", path: lock_path, source });
            }
        }
        leftovers::tidy(path).map_err(io("cannot tidy", path))?;
        let there = |names: &[&str]| names.iter().any(|name| path.join(name).exists());
        let replaces = match mode {
            OpenMode::Resume => false,
            OpenMode::Fresh if there(&WORTH) => return Err(RunDirError::Occupied(path.to_owned())),
            OpenMode::Fresh | OpenMode::Overwrite => there(&OWN),
        };
        if replaces {
            leftovers::put_aside(path).map_err(io("cannot empty", path))?;
        }
        Ok(RunDir {
            path: path.to_owned(),
            replaces: AtomicBool::new(replaces),
            identity: identity(path),
            _lock: Some(lock),
        })
    }

    /// The directory that another process of the same run has opened, and alone writes to.
    ///
    /// # Errors
    /// A directory that this process does not see.
    pub fn follow(path: &Path) -> Result<Self, RunDirError> {
        let identity = identity(path);
        if identity.is_none() {
            return Err(RunDirError::NotShared(path.to_owned()));
        }
        Ok(RunDir { path: path.to_owned(), replaces: AtomicBool::new(false), identity, _lock: None })
    }

    /// Says that the new run will be carried out: what it replaces is removed. Until then, nothing is lost.
    ///
    /// # Errors
    /// Files that cannot be removed.
    pub fn accept(&self) -> Result<(), RunDirError> {
        if self.replaces.swap(false, Ordering::SeqCst) {
            leftovers::discard(&self.path).map_err(io("cannot remove the earlier run in", &self.path))?;
        }
        Ok(())
    }

    /// Checks that the directory is still the one that was opened.
    ///
    /// # Errors
    /// [`RunDirError::Gone`].
    pub fn check(&self) -> Result<(), RunDirError> {
        match identity(&self.path) {
            Some(now) if self.identity == Some(now) => Ok(()),
            _ => Err(RunDirError::Gone(self.path.clone())),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved configuration.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// The newest complete checkpoint.
    pub fn last(&self) -> PathBuf {
        self.path.join(LAST)
    }

    /// The checkpoint before the newest, while the newest is being evaluated.
    pub fn previous(&self) -> PathBuf {
        self.path.join(PREVIOUS)
    }

    /// When, where and by which command the run was trained.
    pub fn sessions(&self) -> PathBuf {
        self.path.join(SESSIONS)
    }

    /// The checkpoint that did best on the held-out part.
    pub fn best(&self) -> PathBuf {
        self.path.join(BEST)
    }

    /// The metric records.
    pub fn metrics(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// The metric records as a table.
    pub fn table(&self) -> PathBuf {
        self.path.join(TABLE)
    }

    /// The directory of TensorBoard event files.
    pub fn events(&self) -> PathBuf {
        self.path.join(EVENTS)
    }

    /// The report.
    pub fn report(&self) -> PathBuf {
        self.path.join(REPORT)
    }

    /// The directory of plots as PNG.
    pub fn plots(&self) -> PathBuf {
        self.path.join(PLOTS)
    }

    /// Writes the resolved configuration.
    ///
    /// # Errors
    /// A file that cannot be written; the old one then stays.
    pub fn write_config(&self, toml: &str) -> Result<(), RunDirError> {
        let path = self.config();
        write_atomic(&path, toml.as_bytes()).map_err(io("cannot write", &path))
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if self.replaces.load(Ordering::SeqCst) {
            // What fails here is tried again by the next process that opens the directory.
            let _ = leftovers::bring_back(&self.path);
        }
    }
}

fn resumable(path: &Path) -> bool {
    path.join(LAST).is_file() || path.join(PREVIOUS).is_file()
}

/// Writes these bytes as [`files::write_atomic`](kat_images::files::write_atomic) does.
///
/// # Errors
/// What the system refused.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    Ok(kat_images::files::write_atomic(path, |out| out.write_all(bytes))?)
}

fn io<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> RunDirError + 'a {
    move |source| RunDirError::Io { what, path: path.to_owned(), source }
}

/// A file in a directory that holds no run.
fn foreign_file(path: &Path) -> Result<Option<String>, RunDirError> {
    if OWN.iter().any(|name| path.join(name).exists()) {
        return Ok(None);
    }
    for entry in std::fs::read_dir(path).map_err(io("cannot read", path))? {
        let name = entry.map_err(io("cannot read", path))?.file_name().to_string_lossy().into_owned();
        if name != LOCK && !name.starts_with('.') {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_not_overwritten_unless_told() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/run");
        let run = RunDir::open(&path, OpenMode::Fresh).unwrap();
        run.write_config("[train]\n").unwrap();
        std::fs::create_dir(run.events()).unwrap();
        std::fs::write(path.join("notes.txt"), "mine").unwrap();
        std::fs::write(run.best(), "weights").unwrap();
        drop(run);
        assert!(matches!(RunDir::open(&path, OpenMode::Fresh), Err(RunDirError::Occupied(_))));
        assert!(matches!(RunDir::open(&path, OpenMode::Resume), Err(RunDirError::NothingToResume(_))));
        let run = RunDir::open(&path, OpenMode::Overwrite).unwrap();
        assert!(!run.config().exists() && !run.events().exists());
        assert_eq!(std::fs::read_to_string(path.join("notes.txt")).unwrap(), "mine");
        // A new run that comes to nothing gives the old one back; one that is accepted replaces it.
        drop(run);
        assert_eq!(std::fs::read_to_string(path.join(BEST)).unwrap(), "weights");
        RunDir::open(&path, OpenMode::Overwrite).unwrap().accept().unwrap();
        assert!(!path.join(BEST).exists() && !path.join(CONFIG).exists());
        let names = std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, [LOCK, "notes.txt"]);
    }

    #[test]
    fn what_a_start_that_failed_left_is_taken_over() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("run");
        let run = RunDir::open(&path, OpenMode::Fresh).unwrap();
        run.write_config("[train]\n").unwrap();
        std::fs::write(run.metrics(), "{\"step\":1}\n").unwrap();
        std::fs::create_dir(run.events()).unwrap();
        drop(run);
        let run = RunDir::open(&path, OpenMode::Fresh).unwrap();
        assert!(!run.config().exists() && !run.metrics().exists());
        run.accept().unwrap();
        std::fs::write(run.report(), "<html>").unwrap();
        drop(run);
        // A report alone is worth keeping: the checkpoints were moved elsewhere.
        assert!(matches!(RunDir::open(&path, OpenMode::Fresh), Err(RunDirError::Occupied(_))));
    }

    #[test]
    fn a_directory_that_is_gone_or_another_one_is_noticed() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("run");
        let run = RunDir::open(&path, OpenMode::Fresh).unwrap();
        run.check().unwrap();
        std::fs::rename(&path, temp.path().join("elsewhere")).unwrap();
        assert!(run.check().unwrap_err().to_string().contains("was removed"));
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(run.check(), Err(RunDirError::Gone(_))));
    }

    #[test]
    fn resuming_keeps_everything() {
        let temp = tempfile::tempdir().unwrap();
        let run = RunDir::open(temp.path(), OpenMode::Fresh).unwrap();
        std::fs::write(run.last(), "weights").unwrap();
        drop(run);
        let run = RunDir::open(temp.path(), OpenMode::Resume).unwrap();
        assert_eq!(std::fs::read_to_string(run.last()).unwrap(), "weights");
    }

    #[test]
    fn somebody_elses_directory_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("thesis.tex"), "").unwrap();
        for mode in [OpenMode::Fresh, OpenMode::Overwrite] {
            let message = RunDir::open(temp.path(), mode).unwrap_err().to_string();
            assert!(message.contains("found thesis.tex"), "{message}");
        }
    }

    #[test]
    fn two_processes_do_not_share_a_run() {
        let temp = tempfile::tempdir().unwrap();
        let first = RunDir::open(temp.path(), OpenMode::Fresh).unwrap();
        assert!(matches!(RunDir::open(temp.path(), OpenMode::Overwrite), Err(RunDirError::Locked(_))));
        drop(first);
        assert!(RunDir::open(temp.path(), OpenMode::Fresh).is_ok());
    }

    #[test]
    fn atomic_writes_replace_and_leave_nothing_behind() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("x");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
        assert!(write_atomic(&temp.path().join("no/such"), b"").is_err());
    }
}
