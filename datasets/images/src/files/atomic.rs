//! Writing a file so that a reader sees the old one or the new one, never a part.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// At which step of writing a file the system refused.
#[derive(Debug, thiserror::Error)]
#[error("{action}: {source}")]
pub struct WriteError {
    /// The step, such as "cannot write".
    pub action: &'static str,
    /// The system's reason.
    pub source: io::Error,
}

impl From<WriteError> for io::Error {
    fn from(error: WriteError) -> Self {
        error.source
    }
}

/// Writes `path` through a temporary file in the same directory: write, fsync, rename, fsync of the directory.
///
/// If anything fails, a full disk for instance, the old file stays and the temporary one is removed.
///
/// # Errors
/// [`WriteError`], which names the step; the caller knows the file.
pub fn write_atomic(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), WriteError> {
    let fail = |action| move |source| WriteError { action, source };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or_else(|| {
        fail("cannot write")(io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name"))
    })?;
    let (temporary, file) =
        create(directory, &name.to_string_lossy()).map_err(fail("cannot create beside"))?;
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    let written = content(&mut writer)
        .and_then(|()| writer.into_inner().map_err(io::IntoInnerError::into_error))
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    if let Err(source) = written {
        // The write's own error is the one to report, whether or not the clean-up works.
        let _ = fs::remove_file(&temporary);
        return Err(fail("cannot write")(source));
    }
    // Makes the rename itself durable; on systems where a directory cannot be opened there is nothing to do.
    match File::open(directory) {
        Ok(handle) => handle.sync_all().map_err(fail("cannot sync the directory of")),
        Err(_) => Ok(()),
    }
}

/// A new file with a name of its own in `directory`.
fn create(directory: &Path, name: &str) -> io::Result<(PathBuf, File)> {
    for attempt in 0..1000 {
        let candidate = directory.join(format!(".{name}.{}.{attempt}.tmp", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&candidate) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map(|file| (candidate, file)),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "1000 temporary files are in the way"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.bin");
        write_atomic(&path, |w| w.write_all(b"old")).unwrap();
        let full = write_atomic(&path, |w| {
            w.write_all(b"half")?;
            Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device"))
        });
        let message = full.unwrap_err().to_string();
        assert!(message.contains("cannot write") && message.contains("no space left"), "{message}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        write_atomic(&path, |w| w.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_missing_directory_is_an_error_of_its_own() {
        let error = write_atomic(Path::new("/nonexistent/x.bin"), |_| Ok(())).unwrap_err().to_string();
        assert!(error.starts_with("cannot create beside"), "{error}");
    }
}
