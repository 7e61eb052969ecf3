//! Reading whole files that someone else put there, regular files only and no more of them than was agreed; and
//! writing files so that none is ever seen in part.

mod atomic;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

pub use atomic::{WriteError, write_atomic};

/// Greatest length of an image file.
pub const MAX_IMAGE_BYTES: u64 = 1 << 30;
/// Greatest length of a text of names or labels.
pub const MAX_TEXT_BYTES: u64 = 64 << 20;

/// Opens a regular file of at most `limit` bytes, and gives its length. Anything else is refused before it is opened:
/// a pipe would wait for a writer, a device has no end.
///
/// # Errors
/// A file that cannot be opened, is none, or is longer.
pub fn open_regular(path: &Path, limit: u64) -> io::Result<(File, u64)> {
    let metadata = fs::metadata(path)?;
    let refused = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    if !metadata.is_file() {
        let kind = if metadata.is_dir() { "a directory" } else { "a pipe, socket or device" };
        return refused(format!("{kind}, expected a regular file"));
    }
    if metadata.len() > limit {
        return refused(format!("{} bytes, more than the limit of {limit} bytes", metadata.len()));
    }
    Ok((File::open(path)?, metadata.len()))
}

/// The bytes of a regular file.
///
/// # Errors
/// As [`open_regular`]; a file that grows beyond the limit while it is read.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let (file, length) = open_regular(path, limit)?;
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let text = format!("more than the limit of {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(bytes)
}

/// The text of a regular file, without a byte-order mark.
///
/// # Errors
/// As [`read_regular`]; bytes that are not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let text = String::from_utf8(read_regular(path, MAX_TEXT_BYTES)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::new(io::ErrorKind::InvalidData, format!("byte {at} is not UTF-8 text"))
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_within_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, b"12345").unwrap();
        assert_eq!(read_regular(&path, 5).unwrap(), b"12345");
        assert!(
            read_regular(&path, 4).unwrap_err().to_string().contains("5 bytes, more than the limit of 4")
        );
        assert!(read_regular(dir.path(), 9).unwrap_err().to_string().contains("a directory"));
        fs::write(&path, "\u{feff}a\r\n").unwrap();
        assert_eq!(read_text(&path).unwrap(), "a\r\n");
        fs::write(&path, [b'a', 0xff]).unwrap();
        assert!(read_text(&path).unwrap_err().to_string().contains("byte 1 is not UTF-8"));
    }

    #[test]
    #[cfg(unix)]
    fn devices_and_links_to_them_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link.jpg");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        for path in [Path::new("/dev/zero"), &link] {
            assert!(read_regular(path, 9).unwrap_err().to_string().contains("device"), "{path:?}");
        }
    }
}
