//! What killed processes leave in a run's directory, and what a new run sets aside until it is accepted. To be called
//! with the directory's lock held: then whoever wrote these is gone.

use std::io;
use std::path::{Path, PathBuf};

use super::run_dir::OWN;

/// An earlier run's files, until the new one is accepted.
const ASIDE: &str = ".replaced";
/// The same once it is: to be removed whatever happens.
const DISCARDED: &str = ".discarded";

/// Where the files of an earlier run are kept meanwhile.
pub(super) fn set_aside(path: &Path) -> PathBuf {
    path.join(ASIDE)
}

/// Brings the directory to the state that the last process meant to leave: temporary files of writes that were cut
/// off go, a run that was set aside for one that never began comes back.
///
/// # Errors
/// Those of the file system.
pub(super) fn tidy(path: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if is_temporary(&entry.file_name().to_string_lossy()) && entry.file_type()?.is_file() {
            std::fs::remove_file(entry.path())?;
        }
    }
    remove_if_there(&path.join(DISCARDED))?;
    bring_back(path)
}

/// Moves all files of a run aside.
///
/// # Errors
/// Those of the file system; what was moved then comes back with [`tidy`].
pub(super) fn put_aside(path: &Path) -> io::Result<()> {
    let aside = set_aside(path);
    std::fs::create_dir(&aside)?;
    for name in OWN {
        if std::fs::symlink_metadata(path.join(name)).is_ok() {
            std::fs::rename(path.join(name), aside.join(name))?;
        }
    }
    Ok(())
}

/// Moves what was set aside to its place, except where something is there already.
///
/// # Errors
/// Those of the file system.
pub(super) fn bring_back(path: &Path) -> io::Result<()> {
    let aside = set_aside(path);
    if !aside.is_dir() {
        return Ok(());
    }
    for name in OWN {
        let (from, to) = (aside.join(name), path.join(name));
        if std::fs::symlink_metadata(&from).is_ok() && std::fs::symlink_metadata(&to).is_err() {
            std::fs::rename(from, to)?;
        }
    }
    std::fs::remove_dir_all(aside)
}

/// Removes what was set aside. The first step is one rename, so that a process killed here leaves all or nothing of it.
///
/// # Errors
/// Those of the file system.
pub(super) fn discard(path: &Path) -> io::Result<()> {
    let discarded = path.join(DISCARDED);
    std::fs::rename(set_aside(path), &discarded)?;
    remove_if_there(&discarded)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether this is the name of a file that was being written to replace one of a run's:
/// ".last.safetensors.PID.0.tmp", ".config.toml.PID.tmp".
fn is_temporary(name: &str) -> bool {
    let Some(rest) = name.strip_prefix('.').and_then(|rest| rest.strip_suffix(".tmp")) else { return false };
    let own = OWN.iter().find_map(|own| rest.strip_prefix(own)?.strip_prefix('.'));
    own.is_some_and(|numbers| {
        !numbers.is_empty()
            && numbers.split('.').all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporaries_are_told_from_everything_else() {
        for name in [".last.safetensors.4711.0.tmp", ".config.toml.12.tmp", ".best.safetensors.1.17.tmp"] {
            assert!(is_temporary(name), "{name}");
        }
        for name in [
            "last.safetensors",
            ".last.safetensors.tmp",
            ".last.safetensors.x.0.tmp",
            ".last.safetensors..tmp",
            ".notes.12.tmp",
            "last.safetensors.12.0.tmp",
            ".last.safetensors.12.0",
        ] {
            assert!(!is_temporary(name), "{name}");
        }
    }

    #[test]
    fn leftovers_go_and_a_run_set_aside_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        for name in [".last.safetensors.7.0.tmp", ".metrics.jsonl.7.tmp", "metrics.jsonl", "mine.txt"] {
            std::fs::write(path.join(name), name).unwrap();
        }
        put_aside(path).unwrap();
        assert!(!path.join("metrics.jsonl").exists());
        tidy(path).unwrap();
        let mut names: Vec<_> =
            std::fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["metrics.jsonl", "mine.txt"]);
        put_aside(path).unwrap();
        discard(path).unwrap();
        tidy(path).unwrap();
        assert_eq!(std::fs::read_dir(path).unwrap().count(), 1);
    }
}
