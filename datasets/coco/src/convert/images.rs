//! Files of a dataset: found, measured, and brought to another folder.

use std::path::{Path, PathBuf};

use kat_images::Size;
use kat_images::decode::{DecodeOptions, Encoded};
use kat_images::files::{MAX_IMAGE_BYTES, read_regular};

use super::ConvertError;

/// Endings of images.
const IMAGES: [&str; 9] = ["jpg", "jpeg", "png", "bmp", "gif", "tif", "tiff", "webp", "pnm"];

/// Whether a file is named as an image.
pub fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| IMAGES.contains(&extension.as_str()))
}

/// All files below `root`, sorted.
pub fn files_below(root: &Path) -> Result<Vec<PathBuf>, ConvertError> {
    let (mut files, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(ConvertError::of(&folder))? {
            let entry = entry.map_err(ConvertError::of(&folder))?;
            let kind = entry.file_type().map_err(ConvertError::of(&folder))?;
            // a link to a folder is not followed: it may lead back
            if kind.is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files.sort();
    Ok(files)
}

/// `file` below `root`, with slashes.
pub fn relative(file: &Path, root: &Path) -> String {
    let below = file.strip_prefix(root).unwrap_or(file);
    let parts = below.components().filter_map(|part| match part {
        std::path::Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// The size of an image as it is decoded, upright.
pub fn size_of(path: &Path) -> Result<Size, ConvertError> {
    let bytes = read_regular(path, MAX_IMAGE_BYTES).map_err(ConvertError::of(path))?;
    let encoded = Encoded::open(&bytes, &DecodeOptions::default()).map_err(ConvertError::of(path))?;
    Ok(encoded.size())
}

/// Puts `from` at `to`: the same file where the file system allows that, else a copy.
pub fn place(from: &Path, to: &Path) -> Result<(), ConvertError> {
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).map_err(ConvertError::of(folder))?;
    }
    if std::fs::hard_link(from, to).is_err() {
        std::fs::copy(from, to).map_err(ConvertError::of(from))?;
    }
    Ok(())
}

/// Text of a file.
pub fn text_of(path: &Path) -> Result<String, ConvertError> {
    kat_images::files::read_text(path).map_err(ConvertError::of(path))
}
