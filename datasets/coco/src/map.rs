//! A whole file as bytes without copying it into memory: the pages belong to the system's file cache, which may drop
//! and read them again.

use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use kat_images::files::open_regular;

/// A file mapped for reading; an empty file is an empty slice.
pub(super) struct FileBytes(Option<Mmap>);

impl FileBytes {
    /// Maps `path`.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        // annotation files are large, but no pipe and no device
        let (file, length) = open_regular(path, u64::MAX)?;
        if length == 0 {
            return Ok(FileBytes(None));
        }
        // SAFETY: the map is private to the parser and read only while it runs; the bytes are treated as untrusted and
        // never as a `str` without a check. What remains is that another process truncates the file meanwhile, which
        // ends this one by a signal, as for every program that maps its input.
        let map = unsafe { Mmap::map(&file)? };
        // Advice only: a system that declines it reads ahead less.
        #[cfg(unix)]
        let _ = map.advise(memmap2::Advice::Sequential);
        Ok(FileBytes(Some(map)))
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}
