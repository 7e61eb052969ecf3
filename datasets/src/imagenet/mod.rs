//! ImageNet as users have it on disk, and any dataset in its layouts.
//!
//! * [`folder`]: `train/<wnid>/*.JPEG`, class indices by sorted folder name;
//! * [`flat`]: one folder of images with a list of labels;
//! * [`tar`]: webdataset shards;
//! * [`index`]: the folder scan cached on disk;
//! * [`splits`]: which folders are train and val;
//! * [`classes`]: readable names for the wnids.

pub mod classes;
pub mod flat;
pub mod folder;
pub mod index;
pub mod splits;
pub mod tar;

use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization as _;

pub use folder::ImageFolder;

/// Why a classification dataset cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ImageNetError {
    /// A file or folder cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Reason.
        source: std::io::Error,
    },
    /// There is no image where there should be some.
    #[error("{}: no images; expected {expected}", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
        /// The layout looked for.
        expected: &'static str,
    },
    /// A class that is not among those of the training data.
    #[error("{}: class \"{found}\" is not one of the {classes} known classes{}", path.display(), nearest.as_ref().map(|n| format!(" (nearest: \"{n}\")")).unwrap_or_default())]
    UnknownClass {
        /// Folder or list in which it was found.
        path: PathBuf,
        /// Its name.
        found: String,
        /// Number of known classes.
        classes: usize,
        /// A known class of a similar name.
        nearest: Option<String>,
    },
    /// A line, entry or value that cannot be understood.
    #[error("{}: {at}: found {found}, expected {expected}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Line or entry.
        at: String,
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
}

impl ImageNetError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    fn format(
        path: &Path,
        at: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        let (at, found, expected) = (at.into(), found.into(), expected.into());
        Self::Format { path: path.to_owned(), at, found: shorten(found), expected }
    }

    fn unknown_class(path: &Path, found: &str, classes: &[String]) -> Self {
        let nearest = classes.iter().find(|c| fold(c) == fold(found)).cloned();
        Self::UnknownClass { path: path.to_owned(), found: found.into(), classes: classes.len(), nearest }
    }
}

/// A name without what sets two spellings of it apart: case, blanks at the ends, `-`, `_` or blank between words, and
/// the Unicode form of accents.
pub(crate) fn fold(name: &str) -> String {
    let plain: String = name.trim().nfd().collect();
    plain
        .to_lowercase()
        .split([' ', '-', '_', '\u{a0}'])
        .filter(|s| !s.is_empty())
        .collect::<Vec<_>>()
        .join("_")
}

/// What sets apart two spellings of one name; `None` for two names.
pub fn spelling(a: &str, b: &str) -> Option<&'static str> {
    let same = |f: fn(&str) -> String| f(a) == f(b);
    if a == b || fold(a) != fold(b) {
        return None;
    }
    Some(match () {
        () if same(|s| s.trim().to_owned()) => "blanks at an end",
        () if same(|s| s.nfc().collect()) => "the Unicode form of an accent",
        () if same(str::to_lowercase) => "upper and lower case",
        () => "case, blanks or hyphens",
    })
}

/// Keeps an error readable where the file is not text at all.
fn shorten(text: String) -> String {
    let mut escaped: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        escaped += "…";
    }
    format!("\"{escaped}\"")
}

/// Whether a file name ends like that of an image that can be decoded, in any case.
pub fn is_image(name: &str) -> bool {
    has_ending(
        name,
        &[
            "jpg", "jpeg", "jpe", "jfif", "png", "bmp", "dib", "gif", "webp", "tif", "tiff", "ppm", "pgm",
            "pbm", "pnm",
        ],
    )
}

/// Whether a file name ends like that of an image of a kind that is not decoded.
pub fn is_unsupported_image(name: &str) -> bool {
    let endings = [
        "avif", "heic", "heif", "jp2", "j2k", "jpx", "jxl", "svg", "psd", "tga", "exr", "hdr", "dng", "cr2",
        "nef", "raw", "ico", "dcm",
    ];
    has_ending(name, &endings)
}

fn has_ending(name: &str, endings: &[&str]) -> bool {
    name.rsplit_once('.').is_some_and(|(stem, end)| {
        !stem.is_empty() && endings.iter().any(|known| known.eq_ignore_ascii_case(end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_of_a_name_are_told_apart() {
        assert_eq!(spelling("cat", "Cat"), Some("upper and lower case"));
        assert_eq!(spelling("caf\u{e9}", "cafe\u{301}"), Some("the Unicode form of an accent"));
        assert_eq!(spelling("cat ", "cat"), Some("blanks at an end"));
        assert_eq!(spelling("polar bear", "polar-Bear"), Some("case, blanks or hyphens"));
        assert_eq!((spelling("cat", "cat"), spelling("cat", "dog")), (None, None));
    }

    #[test]
    fn endings_in_any_case() {
        assert!(["a.JPG", "b.jfif", "c.jpe", "d.PNG"].into_iter().all(is_image));
        assert!(["a.avif", "b.JP2", "c.heic"].into_iter().all(|n| is_unsupported_image(n) && !is_image(n)));
        assert!(!is_image(".jpg") && !is_image("jpg") && !is_unsupported_image("a.txt"));
    }
}
