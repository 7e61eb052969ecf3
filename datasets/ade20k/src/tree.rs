//! Every file below a folder.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::LabelError;
use kat_images::names::is_image;

/// The files below `root`, relative to it with `/`, sorted. Hidden names and `__MACOSX` are passed over; links are
/// followed, but no folder is listed twice, as a link back up would have it.
///
/// # Errors
/// A folder that cannot be read.
pub fn files(root: &Path) -> Result<Vec<String>, LabelError> {
    let mut found = Vec::new();
    let mut seen: HashSet<PathBuf> = HashSet::new();
    // folders that stand by themselves come before those that links lead to
    let (mut open, mut links) = (vec![String::new()], Vec::new());
    while let Some(folder) = open.pop().or_else(|| links.pop()) {
        let full = root.join(&folder);
        if !seen.insert(full.canonicalize().map_err(LabelError::io(&full))?) {
            tracing::warn!("{}: passed over, it is listed already", full.display());
            continue;
        }
        for entry in fs::read_dir(&full).map_err(LabelError::io(&full))? {
            let entry = entry.map_err(LabelError::io(&full))?;
            let Ok(name) = entry.file_name().into_string() else {
                tracing::warn!("{}: passed over, its name is not UTF-8", entry.path().display());
                continue;
            };
            if name.starts_with('.') || name == "__MACOSX" {
                continue;
            }
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            match entry.path().is_dir() {
                true if entry.file_type().is_ok_and(|kind| kind.is_symlink()) => links.push(path),
                true => open.push(path),
                false => found.push(path),
            }
        }
        open.sort_unstable_by(|a, b| b.cmp(a));
        links.sort_unstable_by(|a, b| b.cmp(a));
    }
    found.sort_unstable();
    Ok(found)
}

/// How many images below `root` have each ending, in lower case with its point: `.jpg`.
///
/// # Errors
/// A folder that cannot be read.
pub fn image_endings(root: &Path) -> Result<BTreeMap<String, usize>, LabelError> {
    let mut counts = BTreeMap::new();
    for path in files(root)?.into_iter().filter(|path| is_image(path)) {
        if let Some((_, end)) = path.rsplit_once('.') {
            *counts.entry(format!(".{}", end.to_ascii_lowercase())).or_default() += 1;
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_folder_once_and_endings_in_any_case() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a/1.JPG", "a/2.jpg", "3.png", "notes.txt", ".git/4.jpg", "__MACOSX/5.jpg"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink("..", dir.path().join("a/up")).unwrap();
        assert_eq!(files(dir.path()).unwrap(), ["3.png", "a/1.JPG", "a/2.jpg", "notes.txt"]);
        let endings: Vec<_> = image_endings(dir.path()).unwrap().into_iter().collect();
        assert_eq!(endings, [(".jpg".to_owned(), 2), (".png".to_owned(), 1)]);
        assert!(matches!(files(&dir.path().join("none")), Err(LabelError::Io { .. })));
    }
}
