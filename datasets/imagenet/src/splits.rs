//! Which folders of a dataset are its parts: the usual words, in any case.

use std::path::{Path, PathBuf};

use crate::ImageNetError;
use crate::index::Index;

/// What the training part is called.
const TRAIN: [&str; 3] = ["train", "training", "trn"];
/// What the held-out part is called; an earlier word is preferred.
const HELD_OUT: [&str; 9] =
    ["val", "validation", "valid", "dev", "test", "testing", "eval", "evaluation", "holdout"];

/// The parts of a dataset on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Splits {
    /// To train on.
    pub train: Option<PathBuf>,
    /// Held out, the preferred first.
    pub held_out: Vec<PathBuf>,
}

/// Whether a folder's name is that of a part, in any case.
pub fn is_split_name(name: &str) -> bool {
    let name = name.to_lowercase();
    TRAIN.contains(&name.as_str()) || HELD_OUT.contains(&name.as_str())
}

/// Looks for the parts right below `root`.
///
/// # Errors
/// A folder that cannot be read, two that are both called as the training part, a held-out part alone.
pub fn find(root: &Path) -> Result<Splits, ImageNetError> {
    let splits = look(root)?;
    if let (None, [alone, ..]) = (&splits.train, &splits.held_out[..]) {
        let expected =
            "train beside it, its own path as the folder of class folders, or another name for a class";
        return Err(ImageNetError::format(root, "folders", format!("{} alone", alone.display()), expected));
    }
    Ok(splits)
}

/// As [`find`], where the training part may be missing.
///
/// # Errors
/// A folder that cannot be read, two that are both called as the training part.
pub fn look(root: &Path) -> Result<Splits, ImageNetError> {
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(root).map_err(ImageNetError::io(root))? {
        let entry = entry.map_err(ImageNetError::io(root))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if is_split_name(&name) && entry.path().is_dir() {
            names.push(name);
        }
    }
    of_names(root, names)
}

/// The parts among folders of these names below `root`.
///
/// # Errors
/// Two that are both called as the training part.
pub fn of_names(root: &Path, names: impl IntoIterator<Item = String>) -> Result<Splits, ImageNetError> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut train: Vec<String> = Vec::new();
    for name in names.into_iter().filter(|name| is_split_name(name)) {
        match HELD_OUT.iter().position(|word| *word == name.to_lowercase()) {
            Some(place) => found.push((place, name)),
            None => train.push(name),
        }
    }
    found.sort();
    train.sort();
    if let [first, second, ..] = &train[..] {
        let both = format!("{first} and {second}");
        return Err(ImageNetError::format(
            root,
            "folders",
            both,
            "one training part; name it with data.train",
        ));
    }
    let held_out: Vec<PathBuf> = found.into_iter().map(|(_, name)| root.join(name)).collect();
    let train = train.first().map(|name| root.join(name));
    Ok(Splits { train, held_out })
}

/// Refuses a folder whose class folders are the parts of a dataset, or hold them: its images would be learnt as
/// classes `train` and `val`, or as one.
///
/// # Errors
/// Names the folder that is meant.
pub fn check_classes(root: &Path, index: &Index) -> Result<(), ImageNetError> {
    let with_images = |folder: &&super::index::Folder| !folder.files.is_empty();
    for folder in index.folders.iter().filter(with_images) {
        let mut parts = folder.path.split('/');
        let class = parts.next().unwrap_or_default();
        if is_split_name(class) {
            let found = format!("{class} as a class");
            let expected = "class folders, not the parts of a dataset (its root is the folder above)";
            return Err(ImageNetError::format(root, "folders", found, expected));
        }
        if let Some(part) = parts.next().filter(|part| is_split_name(part)) {
            let inner = root.join(class);
            let found = format!("{class}/{part}, a part of a dataset in a class folder");
            let expected = format!("class folders; is {} the dataset?", inner.display());
            return Err(ImageNetError::format(root, "folders", found, expected));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        dir
    }

    #[test]
    fn the_usual_words_in_any_case() {
        for (names, train, held_out) in [
            (["Train/a/1.jpg", "Val/a/1.jpg"], "Train", &["Val"][..]),
            (["Training/a/1.jpg", "Testing/a/1.jpg"], "Training", &["Testing"]),
            (["TRAIN/a/1.jpg", "valid/a/1.jpg"], "TRAIN", &["valid"]),
            (["train/a/1.jpg", "dev/a/1.jpg"], "train", &["dev"]),
        ] {
            let dir = folder(&names);
            let splits = find(dir.path()).unwrap();
            assert_eq!(splits.train, Some(dir.path().join(train)));
            let held_out: Vec<_> = held_out.iter().map(|name| dir.path().join(name)).collect();
            assert_eq!(splits.held_out, held_out);
        }
        let dir = folder(&["train/a/1.jpg", "test/a/1.jpg", "Validation/a/1.jpg"]);
        let names: Vec<_> = find(dir.path()).unwrap().held_out;
        assert_eq!(names, [dir.path().join("Validation"), dir.path().join("test")]);
        assert_eq!(find(folder(&["a/1.jpg"]).path()).unwrap(), Splits::default());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let error = |names: &[&str]| find(folder(names).path()).unwrap_err().to_string();
        assert!(error(&["test/a/1.jpg", "a/1.jpg"]).contains("test alone"));
        assert!(error(&["train/a/1.jpg", "training/a/1.jpg"]).contains("data.train"));
        let error = |names: &[&str]| {
            let dir = folder(names);
            check_classes(dir.path(), &Index::scan(dir.path()).unwrap()).unwrap_err().to_string()
        };
        assert!(error(&["train/a/1.jpg", "b/1.jpg"]).contains("train as a class"));
        assert!(error(&["data/Training/a/1.jpg"]).contains("data/Training, a part of a dataset"));
        let dir = folder(&["a/deep/1.jpg", "test/notes.txt"]);
        check_classes(dir.path(), &Index::scan(dir.path()).unwrap()).unwrap();
    }
}
