//! Which folders of segmentation data hold images and which their label maps, by the words that are usual for them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use kat_imagenet::splits::{Splits, is_split_name, of_names};
use kat_images::names::is_image;

use crate::config::DataPlan;
use crate::shell::Misuse;

/// What a folder of images is called.
const IMAGES: [&str; 4] = ["images", "img_dir", "imgs", "img"];
/// What the folder of label maps beside it is called.
const LABELS: [&str; 5] = ["annotations", "ann_dir", "labels", "masks", "annots"];
/// What follows a part's name in the name of its folder of label maps, where that stands beside the part (CamVid).
const AFTER: [&str; 8] =
    ["annot", "_labels", "_masks", "_annotations", "_label", "_mask", "_annot", "_annotation"];

/// What data without parts are called.
const WHOLE: &str = "all";

/// A part of the data: images beside their label maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// The folder of its images.
    pub images: PathBuf,
    /// The folder of its label maps.
    pub labels: PathBuf,
}

/// The parts of the data in `dir`, by name: `images/PART` beside `annotations/PART`, `PART/images` beside `PART/annotations`,
/// `PART` beside `PARTannot`, or one pair of folders; under any of the usual words, or those of data.images and data.labels.
///
/// # Errors
/// A folder that cannot be read, or none of these.
pub fn parts(dir: &Path, data: &DataPlan) -> anyhow::Result<Vec<Part>> {
    let mut found = Vec::new();
    if let Some((images, labels)) = pair(dir, data) {
        let names = folders(&images)?;
        // folders that are called otherwise are of one part, as by city or by day
        if loose_images(&images)? || !names.iter().any(|name| is_part(name, data)) {
            found.push(Part { name: WHOLE.to_owned(), images, labels });
        } else {
            let part = |name: String| Part { images: images.join(&name), labels: labels.join(&name), name };
            found.extend(names.into_iter().map(part));
        }
    } else {
        for name in folders(dir)?.into_iter().filter(|name| is_part(name, data)) {
            let folder = dir.join(&name);
            let mut beside = AFTER.iter().map(|after| dir.join(format!("{name}{after}")));
            let (images, labels) = match (pair(&folder, data), beside.find(|path| path.is_dir())) {
                (Some(pair), _) => pair,
                (None, Some(labels)) => (folder, labels),
                (None, None) => continue,
            };
            found.push(Part { name, images, labels });
        }
    }
    if found.is_empty() {
        let reason = "expected images/SPLIT beside annotations/SPLIT, images beside annotations, SPLIT/images beside \
                      SPLIT/annotations, or SPLIT beside SPLITannot; data.images and data.labels name other folders";
        anyhow::bail!("{}: {reason}", dir.display());
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The part to train on: as named, else by the usual words, else the only one.
///
/// # Errors
/// There is none, or there are two that are called so.
pub fn training<'p>(dir: &Path, parts: &'p [Part], data: &DataPlan) -> anyhow::Result<&'p Part> {
    if let Some(name) = &data.train {
        return named(dir, parts, name);
    }
    let train = splits(dir, parts)?.train.and_then(|path| at(parts, &path));
    let only = || parts.first().filter(|part| part.name == WHOLE);
    train.or_else(only).ok_or_else(|| no_part(dir, parts, "train"))
}

/// The held-out part: as named, else by the usual words.
///
/// # Errors
/// One that is named is not there.
pub fn held_out<'p>(dir: &Path, parts: &'p [Part], data: &DataPlan) -> anyhow::Result<Option<&'p Part>> {
    match &data.val {
        Some(name) => named(dir, parts, name).map(Some),
        None if data.train.is_some() => {
            let others = parts.iter().filter(|part| Some(&part.name) != data.train.as_ref());
            let found =
                of_names(dir, others.map(|part| part.name.clone()).filter(|name| !is_training(name)))?;
            Ok(found.held_out.first().and_then(|path| at(parts, path)))
        }
        None => Ok(splits(dir, parts)?.held_out.first().and_then(|path| at(parts, path))),
    }
}

/// The part called `name`.
///
/// # Errors
/// There is none.
pub fn named<'p>(dir: &Path, parts: &'p [Part], name: &str) -> anyhow::Result<&'p Part> {
    parts.iter().find(|part| part.name == name).ok_or_else(|| no_part(dir, parts, name))
}

fn no_part(dir: &Path, parts: &[Part], wanted: &str) -> anyhow::Error {
    let found: Vec<&str> = parts.iter().map(|part| &part.name[..]).take(12).collect();
    Misuse(format!("{}: no part {wanted} among {found:?}", dir.display())).into()
}

fn splits(dir: &Path, parts: &[Part]) -> anyhow::Result<Splits> {
    Ok(of_names(dir, parts.iter().map(|part| part.name.clone()))?)
}

/// The part whose name `path` ends in.
fn at<'p>(parts: &'p [Part], path: &Path) -> Option<&'p Part> {
    parts.iter().find(|part| path.ends_with(&part.name))
}

fn is_training(name: &str) -> bool {
    of_names(Path::new(""), [name.to_owned()]).is_ok_and(|found| found.train.is_some())
}

/// Whether a folder is called as a part, or as one that is configured.
fn is_part(name: &str, data: &DataPlan) -> bool {
    let configured = [&data.train, &data.val].into_iter().flatten();
    is_split_name(name) || configured.into_iter().any(|part| part == name)
}

/// A folder of images and one of label maps right below `dir`.
fn pair(dir: &Path, data: &DataPlan) -> Option<(PathBuf, PathBuf)> {
    let one = |given: &Option<PathBuf>, usual: &[&str]| match given {
        Some(folder) => Some(dir.join(folder)).filter(|path| path.is_dir()),
        None => usual.iter().map(|word| dir.join(word)).find(|path| path.is_dir()),
    };
    Some((one(&data.labels.images, &IMAGES)?, one(&data.labels.maps, &LABELS)?))
}

/// Whether there are images right in `folder`.
fn loose_images(folder: &Path) -> anyhow::Result<bool> {
    let mut entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    Ok(entries.any(|entry| entry.is_ok_and(|entry| is_image(&entry.file_name().to_string_lossy()))))
}

/// Folders right below `folder`, by name.
fn folders(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !name.starts_with('.') && name != "__MACOSX" {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TaskKind;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let path = dir.path().join(name);
            if name.contains('.') {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, "").unwrap();
            } else {
                std::fs::create_dir_all(path).unwrap();
            }
        }
        dir
    }

    /// Each part with its folders, and the names of the two that training takes.
    fn look(names: &[&str], data: &DataPlan) -> (Vec<String>, String, Option<String>) {
        let dir = folder(names);
        let below = |path: &Path| path.strip_prefix(dir.path()).unwrap().to_str().unwrap().to_owned();
        let found = parts(dir.path(), data).unwrap();
        let (train, val) =
            (training(dir.path(), &found, data).unwrap(), held_out(dir.path(), &found, data).unwrap());
        let words = |part: &Part| format!("{} {} {}", part.name, below(&part.images), below(&part.labels));
        (found.iter().map(words).collect(), train.name.clone(), val.map(|part| part.name.clone()))
    }

    #[test]
    fn pairs_of_folders_by_the_usual_words() {
        let plain = |names: &[&str]| look(names, &DataPlan::unconfigured(TaskKind::Segment));
        let (found, train, val) = plain(&["images/Train", "images/val", "annotations/Train"]);
        assert_eq!(found, ["Train images/Train annotations/Train", "val images/val annotations/val"]);
        assert_eq!((&train[..], val.as_deref()), ("Train", Some("val")));
        let (found, train, val) = plain(&["img_dir/training", "ann_dir/training"]);
        assert_eq!(found, ["training img_dir/training ann_dir/training"]);
        assert_eq!((&train[..], val), ("training", None));
        // a folder a city is one part
        for names in [["images/a.png", "labels/a.png"], ["images/ulm/a.png", "labels/ulm/a.png"]] {
            assert_eq!(plain(&names), (vec!["all images labels".to_owned()], "all".to_owned(), None));
        }
        assert_eq!(plain(&["train/images", "train/masks"]).0, ["train train/images train/masks"]);
        let (found, train, val) = plain(&["train", "trainannot", "val", "val_labels", "test"]);
        assert_eq!(found, ["train train trainannot", "val val val_labels"]);
        assert_eq!((&train[..], val.as_deref()), ("train", Some("val")));

        let mut data = DataPlan::unconfigured(TaskKind::Segment);
        data.train = Some("day".to_owned());
        let (found, train, val) = look(&["images/day", "images/night", "images/test", "labels"], &data);
        assert_eq!((found.len(), &train[..], val.as_deref()), (3, "day", Some("test")));
        data.val = Some("night".to_owned());
        assert_eq!(look(&["images/day", "images/night", "labels"], &data).2.as_deref(), Some("night"));
        let data = DataPlan::unconfigured(TaskKind::Segment);
        let mut other = data.clone();
        other.labels.images = Some("photos".into());
        other.labels.maps = Some("gt/fine".into());
        assert_eq!(look(&["photos/a.jpg", "gt/fine"], &other).0, ["all photos gt/fine"]);

        let error = |names: &[&str]| {
            let dir = folder(names);
            let found = parts(dir.path(), &data);
            found.and_then(|found| training(dir.path(), &found, &data).cloned()).unwrap_err().to_string()
        };
        assert!(error(&["photos"]).contains("expected images/SPLIT"));
        assert!(error(&["images/val", "labels"]).contains("no part train among [\"val\"]"));
        assert!(error(&["images/train", "images/training", "labels"]).contains("data.train"));
    }
}
