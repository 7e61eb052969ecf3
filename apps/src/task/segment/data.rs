//! The images and label maps of segmentation: found or generated, with the names of their classes.

use std::path::Path;

use anyhow::Context;
use kat_datasets::ade20k::classes::{NAMES, read_names};
use kat_datasets::ade20k::{LabelFolders, LabelScheme};
use kat_datasets::decode::DecodeOptions;
use kat_datasets::loader::Dataset as _;
use kat_datasets::shapes::Layout;

use crate::cli::Misuse;
use crate::config::Plan;
use crate::task::generated::generate;

/// Files in which class names are looked for, under the root of the data.
const NAME_FILES: [&str; 3] = ["objectInfo150.txt", "objectInfo.txt", "classes.txt"];
/// Endings under which images are looked for.
const IMAGE_SUFFIXES: [&str; 3] = [".jpg", ".png", ".jpeg"];
/// What label 0 is called where it counts and the list of names starts at label 1.
pub const BACKGROUND: &str = "background";

/// Training and held-out images over the same classes.
#[derive(Debug, Clone)]
pub struct Splits {
    /// To train on.
    pub train: LabelFolders,
    /// Held out.
    pub val: LabelFolders,
    /// Class names in the order of their indices.
    pub classes: Vec<String>,
}

/// Opens the data of `plan`: images/training and images/validation beside annotations/training and
/// annotations/validation, as in ADE20K's SceneParsing. Data of kind "shapes" are generated first where there are none.
///
/// # Errors
/// No directory was named, it cannot be read or written, or there are no images in it.
pub fn open(plan: &Plan) -> anyhow::Result<Splits> {
    let data = &plan.raw.data;
    let dir =
        data.dir.as_deref().ok_or_else(|| Misuse("no data: name a directory with --data DIR".into()))?;
    let dir = Path::new(dir);
    match data.dataset.as_deref() {
        Some("shapes") if !dir.exists() => {
            let made = generate(data, dir, Layout::SceneParsing)?;
            let (images, shapes) = (made.images, made.objects);
            tracing::info!("generated {images} images of {shapes} shapes in {}", dir.display());
        }
        None | Some("shapes" | "ade20k") => {}
        Some(other) => {
            let expected = "expected \"ade20k\" or \"shapes\"";
            return Err(Misuse(format!("data.dataset is \"{other}\", {expected}")).into());
        }
    }
    let scheme = scheme(plan.raw.segment.reduce_zero_label);
    let classes = class_names(dir, scheme)?;
    let part = |name: &Option<String>, usual: &str| {
        split(dir, name.as_deref().unwrap_or(usual), classes.len(), scheme)
    };
    let (train, val) = (part(&data.train, "training")?, part(&data.val, "validation")?);
    Ok(Splits { train, val, classes })
}

/// What stored labels mean.
pub fn scheme(reduce_zero_label: bool) -> LabelScheme {
    if reduce_zero_label { LabelScheme::ReduceZero } else { LabelScheme::Direct }
}

/// One split: DIR/images/NAME beside DIR/annotations/NAME.
///
/// # Errors
/// A folder that cannot be read or has no images, or an image without label map.
pub fn split(dir: &Path, name: &str, classes: usize, scheme: LabelScheme) -> anyhow::Result<LabelFolders> {
    let (images, labels) = (dir.join("images").join(name), dir.join("annotations").join(name));
    let suffix = image_suffix(&images)?;
    let mut folders = LabelFolders::cityscapes(&images, &labels, DecodeOptions::default());
    folders.image_suffix = suffix.into();
    folders.label_suffix = ".png".into();
    folders.classes = u32::try_from(classes).unwrap_or(u32::MAX);
    folders.scheme = scheme;
    Ok(folders.open()?)
}

/// The ending of the images of a folder, the most frequent of the usual ones.
fn image_suffix(images: &Path) -> anyhow::Result<&'static str> {
    let unreadable = || format!("{}: cannot be read as a folder of images", images.display());
    let mut counts = IMAGE_SUFFIXES.map(|suffix| (0usize, suffix));
    let mut open = vec![images.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).with_context(unreadable)? {
            let path = entry.with_context(unreadable)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
            if path.is_dir() {
                open.push(path);
            } else if let Some(count) = counts.iter_mut().find(|(_, suffix)| name.ends_with(suffix)) {
                count.0 += 1;
            }
        }
    }
    // The first of equals: max_by_key would give the last.
    let best = counts.iter().rev().max_by_key(|(count, _)| *count);
    Ok(best.map_or(IMAGE_SUFFIXES[0], |(_, suffix)| suffix))
}

/// Names of the classes: those of a file under `dir`, else ADE20K's. Where label 0 counts and the names are those of
/// labels from 1 on (objectInfo.txt), it is called "background".
///
/// # Errors
/// A file of names that cannot be read.
pub fn class_names(dir: &Path, scheme: LabelScheme) -> anyhow::Result<Vec<String>> {
    let named = NAME_FILES.iter().find(|file| dir.join(file).is_file());
    let mut names = match named {
        Some(file) => read_names(&dir.join(file))?,
        None => NAMES.map(str::to_owned).to_vec(),
    };
    // A plain list of names says what each label is, from 0 on.
    let from_one = named.is_none_or(|file| *file != "classes.txt");
    if scheme == LabelScheme::Direct && from_one {
        names.insert(0, BACKGROUND.to_owned());
    }
    Ok(names)
}

impl Splits {
    /// Images to train on and held out.
    pub fn counts(&self) -> (usize, usize) {
        (self.train.len(), self.val.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_data_or_are_those_of_ade20k() {
        let dir = tempfile::tempdir().unwrap();
        let names = |scheme| class_names(dir.path(), scheme).unwrap();
        assert_eq!(
            (names(LabelScheme::ReduceZero).len(), names(LabelScheme::ReduceZero)[0].as_str()),
            (150, "wall")
        );
        assert_eq!(names(LabelScheme::Direct)[..2], ["background", "wall"]);
        std::fs::write(dir.path().join("classes.txt"), "road\ncar\n").unwrap();
        assert_eq!(names(LabelScheme::Direct), ["road", "car"]);
        std::fs::write(dir.path().join("objectInfo.txt"), "Idx\tName\n1\tring\n2\tstar\n").unwrap();
        assert_eq!(names(LabelScheme::ReduceZero), ["ring", "star"]);
        assert_eq!(names(LabelScheme::Direct), ["background", "ring", "star"]);
    }

    #[test]
    fn images_may_end_in_png() {
        let dir = tempfile::tempdir().unwrap();
        let (images, labels) = (dir.path().join("images/val"), dir.path().join("annotations/val"));
        for folder in [&images, &labels] {
            std::fs::create_dir_all(folder.join("a")).unwrap();
        }
        assert!(
            split(dir.path(), "val", 3, LabelScheme::Direct)
                .unwrap_err()
                .to_string()
                .contains("no file ends")
        );
        image::RgbImage::new(3, 2).save(images.join("a/x.png")).unwrap();
        image::GrayImage::new(3, 2).save(labels.join("a/x.png")).unwrap();
        assert_eq!(split(dir.path(), "val", 3, LabelScheme::Direct).unwrap().len(), 1);
        assert!(
            format!("{:#}", split(dir.path(), "none", 3, LabelScheme::Direct).unwrap_err()).contains("none")
        );
    }
}
