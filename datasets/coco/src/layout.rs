//! Where a COCO folder keeps what: `annotations/instances_<split>.json` and the images in `<split>/`,
//! `images/<split>/` or `images/`.

use std::path::{Path, PathBuf};

/// One annotation file with its folder of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// What follows `instances_` in the file's name, e.g. `val2017`.
    pub name: String,
    /// The annotation file.
    pub annotations: PathBuf,
    /// The folder its file names are relative to.
    pub images: PathBuf,
}

/// The splits under `root`, by name.
///
/// # Errors
/// If `root/annotations` cannot be listed.
pub fn splits(root: &Path) -> std::io::Result<Vec<Split>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root.join("annotations"))? {
        let annotations = entry?.path();
        let stem = annotations.file_stem().and_then(|s| s.to_str());
        let is_json = annotations.extension().is_some_and(|e| e == "json");
        let Some(name) = stem.filter(|_| is_json).and_then(|s| s.strip_prefix("instances_")) else {
            continue;
        };
        let name = name.to_string();
        let candidates = [root.join(&name), root.join("images").join(&name), root.join("images")];
        let images = candidates.into_iter().find(|dir| dir.is_dir());
        // LVIS file names begin with the split folder, so the root itself is right when none of these exists.
        let images = images.unwrap_or_else(|| root.to_owned());
        found.push(Split { name, annotations, images });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_are_found_with_their_images() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for sub in ["annotations", "val2017", "images/train"] {
            std::fs::create_dir_all(root.join(sub)).unwrap();
        }
        for name in ["instances_val2017.json", "instances_train.json", "captions_val2017.json"] {
            std::fs::write(root.join("annotations").join(name), "{}").unwrap();
        }
        let found = splits(root).unwrap();
        let images: Vec<_> = found.iter().map(|s| (s.name.as_str(), s.images.clone())).collect();
        assert_eq!(images, [("train", root.join("images/train")), ("val2017", root.join("val2017"))]);
        assert!(splits(&root.join("nothing")).is_err());
    }
}
