//! ImageNet as users have it on disk, and any dataset in its layouts.
//!
//! * [`folder`]: `train/<wnid>/*.JPEG`, class indices by sorted folder name;
//! * [`flat`]: one folder of images with a list of labels;
//! * [`tar`]: webdataset shards;
//! * [`index`]: the folder scan cached on disk;
//! * [`splits`]: which folders are train and val;
//! * [`classes`]: readable names for the wnids;
//! * [`topk`]: top-1 and top-5 accuracy.

pub mod classes;
pub mod flat;
pub mod folder;
pub mod index;
pub mod splits;
pub mod tar;
pub mod topk;

use std::path::{Path, PathBuf};

use kat_images::names::fold;

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

/// Keeps an error readable where the file is not text at all.
fn shorten(text: String) -> String {
    let mut escaped: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        escaped += "…";
    }
    format!("\"{escaped}\"")
}
