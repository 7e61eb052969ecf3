//! The images and label maps of segmentation: found or generated, with the names of their classes.

use std::path::Path;

use anyhow::Context;
use kat_ade20k::classes::{self, NAMES, Names};
use kat_ade20k::{LabelError, LabelFolders, LabelScheme};
use kat_imagenet::splits;
use kat_images::loader::Dataset as _;

use crate::config::{DataPlan, DatasetKind, Plan};
use crate::run::generated::root;
use crate::shell::Misuse;

/// Files in which class names are looked for, under the root of the data.
const NAME_FILES: [&str; 3] = ["objectInfo150.txt", "objectInfo.txt", "classes.txt"];
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
    let data = &plan.data;
    let dir = root(plan)?;
    let classes = class_names(dir, data)?;
    let (train, val) = parts(dir, data)?;
    let part = |name: &str| split(dir, name, classes.len(), data);
    Ok(Splits { train: part(&train)?, val: part(&val)?, classes })
}

/// The names of the training and the held-out part: as configured, else by the usual words under DIR/images.
///
/// # Errors
/// Two folders that are both called as the training part.
pub fn parts(dir: &Path, data: &DataPlan) -> anyhow::Result<(String, String)> {
    let images = dir.join("images");
    let found = if images.is_dir() { splits::look(&images)? } else { splits::Splits::default() };
    let name = |named: &Option<String>, found: Option<&std::path::PathBuf>, usual: &str| {
        let found = found.and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
        named.clone().or(found).unwrap_or_else(|| usual.to_owned())
    };
    let train = name(&data.train, found.train.as_ref(), "training");
    Ok((train, name(&data.val, found.held_out.first(), "validation")))
}

/// One split: DIR/images/NAME beside DIR/annotations/NAME.
///
/// # Errors
/// A folder that cannot be read or has no images, or an image without label map.
pub fn split(dir: &Path, name: &str, classes: usize, data: &DataPlan) -> anyhow::Result<LabelFolders> {
    Ok(unopened(dir, name, classes, data)?.open()?)
}

/// As [`split`], without the images that have no label map, which are said.
///
/// # Errors
/// As [`split`], but for those.
pub fn split_labelled(
    dir: &Path,
    name: &str,
    classes: usize,
    data: &DataPlan,
) -> anyhow::Result<(LabelFolders, Vec<LabelError>)> {
    Ok(unopened(dir, name, classes, data)?.open_labelled()?)
}

fn unopened(dir: &Path, name: &str, classes: usize, data: &DataPlan) -> anyhow::Result<LabelFolders> {
    let classes = u32::try_from(classes).unwrap_or(u32::MAX);
    let images = dir.join("images").join(name);
    LabelFolders::scene_parsing(dir, name, classes, data.labels.scheme, data.decode)
        .with_context(|| format!("{}: cannot be read as a folder of images", images.display()))
}

/// Names of the classes: as configured, else those of a file under `dir`, else ADE20K's for data that are said to be
/// ADE20K. Where label 0 counts and the names are those of labels from 1 on (the table objectInfo.txt), it is called
/// "background".
///
/// # Errors
/// A file of names that cannot be read, or names found nowhere.
pub fn class_names(dir: &Path, data: &DataPlan) -> anyhow::Result<Vec<String>> {
    if let Some(names) = names_of(dir, data)? {
        return Ok(names);
    }
    Err(Misuse(format!(
        "{}: no class names: expected classes.txt or objectInfo.txt in it, one name a line, or segment.classes in the \
         configuration; data.dataset = \"ade20k\" takes the 150 of ADE20K",
        dir.display()
    ))
    .into())
}

/// As [`class_names`]; `None` where names are found nowhere.
///
/// # Errors
/// A file of names that cannot be read.
pub fn names_of(dir: &Path, data: &DataPlan) -> anyhow::Result<Option<Vec<String>>> {
    if !data.labels.classes.is_empty() {
        return Ok(Some(data.labels.classes.clone()));
    }
    let names = match NAME_FILES.iter().find(|file| dir.join(file).exists()) {
        Some(file) => classes::read(&dir.join(file))?,
        None if data.dataset == Some(DatasetKind::Ade20k) => {
            Names::FromOne(NAMES.map(str::to_owned).to_vec())
        }
        None => return Ok(None),
    };
    Ok(Some(match (names, data.labels.scheme) {
        (Names::FromOne(mut names), LabelScheme::Direct) => {
            names.insert(0, BACKGROUND.to_owned());
            names
        }
        (names, _) => names.into_names(),
    }))
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
    use crate::config::{Labels, TaskKind};

    #[test]
    fn names_come_from_the_configuration_or_the_data() {
        let dir = tempfile::tempdir().unwrap();
        let mut data = DataPlan::unconfigured(TaskKind::Segment);
        let error = class_names(dir.path(), &data).unwrap_err();
        assert!(error.to_string().contains("classes.txt") && crate::shell::status(&error) == 2, "{error}");
        data.dataset = Some(DatasetKind::Ade20k);
        let names = |scheme| {
            let labels = Labels { scheme, ..data.labels.clone() };
            class_names(dir.path(), &DataPlan { labels, ..data.clone() }).unwrap()
        };
        assert_eq!(
            (names(LabelScheme::ReduceZero).len(), names(LabelScheme::ReduceZero)[0].as_str()),
            (150, "wall")
        );
        assert_eq!(names(LabelScheme::Direct)[..2], ["background", "wall"]);
        std::fs::write(dir.path().join("classes.txt"), "\u{feff}road\r\ncar\r\n").unwrap();
        assert_eq!(names(LabelScheme::Direct), ["road", "car"]);
        // a table says that its first name is of label 1, a list does not
        std::fs::write(dir.path().join("objectInfo.txt"), "Idx\tName\n1\tring\n2\tstar\n").unwrap();
        assert_eq!(names(LabelScheme::ReduceZero), ["ring", "star"]);
        assert_eq!(names(LabelScheme::Direct), ["background", "ring", "star"]);
        std::fs::write(dir.path().join("objectInfo.txt"), "ground\nring\n").unwrap();
        assert_eq!(names(LabelScheme::Direct), ["ground", "ring"]);
        data.labels.classes = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(class_names(dir.path(), &data).unwrap(), ["a", "b"]);
    }

    #[test]
    fn parts_by_the_usual_words() {
        let dir = tempfile::tempdir().unwrap();
        let mut data = DataPlan::unconfigured(TaskKind::Segment);
        let names = |data: &DataPlan| parts(dir.path(), data).unwrap();
        assert_eq!(names(&data), ("training".to_owned(), "validation".to_owned()));
        for name in ["Train", "val"] {
            std::fs::create_dir_all(dir.path().join("images").join(name)).unwrap();
        }
        assert_eq!(names(&data), ("Train".to_owned(), "val".to_owned()));
        data.train = Some("other".to_owned());
        assert_eq!(names(&data).0, "other");
    }

    #[test]
    fn images_may_end_in_png() {
        let dir = tempfile::tempdir().unwrap();
        let (images, labels) = (dir.path().join("images/val"), dir.path().join("annotations/val"));
        let mut data = DataPlan::unconfigured(TaskKind::Segment);
        data.labels.scheme = LabelScheme::Direct;
        for folder in [&images, &labels] {
            std::fs::create_dir_all(folder.join("a")).unwrap();
        }
        assert!(split(dir.path(), "val", 3, &data).unwrap_err().to_string().contains("no file ends"));
        image::RgbImage::new(3, 2).save(images.join("a/x.png")).unwrap();
        image::GrayImage::new(3, 2).save(labels.join("a/x.png")).unwrap();
        assert_eq!(split(dir.path(), "val", 3, &data).unwrap().len(), 1);
        assert!(format!("{:#}", split(dir.path(), "none", 3, &data).unwrap_err()).contains("none"));
    }
}
