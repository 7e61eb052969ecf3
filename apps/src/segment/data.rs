//! The images and label maps of segmentation: found or generated, with the names of their classes.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use kat_ade20k::classes::{self, NAMES, Names};
use kat_ade20k::{ColorTable, LabelError, LabelFolders, LabelScheme};
use kat_images::loader::Dataset as _;

use super::layout::{self, Part};
use crate::config::{ColorChoice, DataPlan, DatasetKind, Plan};
use crate::run::generated::root;
use crate::run::hold_out::hold_out;
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

/// Opens the data of `plan`: images beside label maps, by part as [`layout::parts`] finds them; a share of the training part is held
/// out where no other part is. Data of kind "shapes" are generated first where there are none.
///
/// # Errors
/// No directory was named, it cannot be read or written, or there are no images in it.
pub fn open(plan: &Plan) -> anyhow::Result<Splits> {
    let data = &plan.data;
    let dir = root(plan)?;
    let classes = class_names(dir, data)?;
    let parts = layout::parts(dir, data)?;
    let train = layout::training(dir, &parts, data)?;
    let images = split(dir, train, &classes, data)?;
    if let Some(val) = layout::held_out(dir, &parts, data)? {
        return Ok(Splits { train: images, val: split(dir, val, &classes, data)?, classes });
    }
    let held = held(&images, train, data)?;
    Ok(Splits { train: images.subset(|i| !held[i]), val: images.subset(|i| held[i]), classes })
}

/// The images to evaluate on, over `classes`: of the part `name`, else the held-out ones of `dir`, as training takes them. Where
/// nothing is held out on disk, that is the share which `plan` held out of the data it was trained on, and of any other the whole.
///
/// # Errors
/// No such part, or one that cannot be read.
pub fn open_held_out(
    dir: &Path,
    name: Option<&str>,
    plan: &Plan,
    classes: &[String],
) -> anyhow::Result<LabelFolders> {
    let parts = layout::parts(dir, &DataPlan { val: name.map(str::to_owned), ..plan.data.clone() })?;
    // other data may have no part of the name that those of training have
    let trained = || plan.data.val.clone().filter(|val| parts.iter().any(|part| part.name == *val));
    let data = DataPlan { val: name.map(str::to_owned).or_else(trained), ..plan.data.clone() };
    if let Some(val) = layout::held_out(dir, &parts, &data)? {
        return split(dir, val, classes, &data);
    }
    let train = layout::training(dir, &parts, &data)?;
    let images = split(dir, train, classes, &data)?;
    let same = |path: &Path| path.canonicalize().ok();
    if data.dir.as_deref().and_then(same) != same(dir) || data.hold_out.share == 0.0 {
        return Ok(images);
    }
    let held = held(&images, train, &data)?;
    Ok(images.subset(|i| held[i]))
}

fn held(images: &LabelFolders, part: &Part, data: &DataPlan) -> anyhow::Result<Vec<bool>> {
    let names: Vec<&str> = images.names().collect();
    hold_out(data.hold_out, &part.images, &names)
}

/// The images of one part.
///
/// # Errors
/// A folder that cannot be read or has no images, or an image without label map.
pub fn split(dir: &Path, part: &Part, classes: &[String], data: &DataPlan) -> anyhow::Result<LabelFolders> {
    Ok(unopened(dir, part, classes, data)?.open()?)
}

/// As [`split`], without the images that have no label map, which are said.
///
/// # Errors
/// As [`split`], but for those.
pub fn split_labelled(
    dir: &Path,
    part: &Part,
    classes: &[String],
    data: &DataPlan,
) -> anyhow::Result<(LabelFolders, Vec<LabelError>)> {
    Ok(unopened(dir, part, classes, data)?.open_labelled()?)
}

fn unopened(dir: &Path, part: &Part, classes: &[String], data: &DataPlan) -> anyhow::Result<LabelFolders> {
    let count = u32::try_from(classes.len()).unwrap_or(u32::MAX);
    let Part { images, labels, .. } = part;
    let mut folders = LabelFolders::beside(images, labels, count, data.labels.scheme, data.decode)
        .with_context(|| format!("{}: cannot be read as a folder of images", images.display()))?;
    folders.colors = match &data.labels.colors {
        None => None,
        Some(ColorChoice::Table(colors)) => Some(Arc::new(ColorTable::new(classes, colors))),
        Some(ColorChoice::File(file)) => Some(Arc::new(ColorTable::read(&dir.join(file), classes)?)),
    };
    Ok(folders)
}

/// Names of the classes: as configured, else those of the colors or of a file under `dir`, else ADE20K's for data that are said to be
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
        "{}: no class names: expected classes.txt or objectInfo.txt in it, one name a line, or data.classes in the \
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
    if !data.classes.is_empty() {
        return Ok(Some(data.classes.clone()));
    }
    if let Some(ColorChoice::File(file)) = &data.labels.colors {
        return Ok(Some(ColorTable::read(&dir.join(file), &[])?.names().to_vec()));
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
    use crate::config::{Labels, Override, TaskKind, load};

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
        data.classes = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(class_names(dir.path(), &data).unwrap(), ["a", "b"]);
    }

    fn plan(dir: &Path, sets: &[&str]) -> Plan {
        let base = ["model.name=kat_tiny_patch16_224".to_owned(), "train.steps=1".to_owned()];
        let dir = format!("data.dir={}", dir.display());
        let all = base.into_iter().chain([dir]).chain(sets.iter().map(|set| (*set).to_owned()));
        let overrides: Vec<Override> = all.map(|set| Override::parse(&set).unwrap()).collect();
        Plan::new(load(None, &overrides, TaskKind::Segment).unwrap(), TaskKind::Segment).unwrap()
    }

    /// Images of 3 x 2 beside maps of two colors, a class table as CamVid has one among them.
    fn colored(count: usize) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["images", "labels"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        for index in 0..count {
            let at = |folder: &str, name: String| dir.path().join(folder).join(name);
            image::RgbImage::new(3, 2).save(at("images", format!("{index}.png"))).unwrap();
            let color = |x: u32, _| image::Rgb(if x == 0 { [64, 0, 128] } else { [0, 0, 0] });
            image::RgbImage::from_fn(3, 2, color).save(at("labels", format!("{index}_L.png"))).unwrap();
        }
        std::fs::write(dir.path().join("class_dict.csv"), "name,r,g,b\nVoid,0,0,0\nCar,64,0,128\n").unwrap();
        dir
    }

    #[test]
    fn pictures_of_colors_are_read_in_place_and_a_share_is_held_out() {
        let dir = colored(10);
        let by_file = plan(dir.path(), &["data.colors=class_dict.csv", "data.val_fraction=0.3"]);
        let splits = open(&by_file).unwrap();
        assert_eq!(
            (splits.counts(), &splits.classes[..]),
            ((7, 3), &["Void".to_owned(), "Car".to_owned()][..])
        );
        let val: Vec<String> = splits.val.names().map(str::to_owned).collect();
        assert!(splits.train.names().all(|name| !val.iter().any(|held| held == name)));
        // the two classes whatever reduce_zero_label says, which is of indices
        assert_eq!(splits.val.scan().unwrap().pixels, [12, 6]);
        let seen = open_held_out(dir.path(), None, &by_file, &splits.classes).unwrap();
        assert_eq!(seen.names().collect::<Vec<_>>(), val);
        let other = colored(4);
        assert_eq!(open_held_out(other.path(), None, &by_file, &splits.classes).unwrap().len(), 4);
        // what is not named does not count
        let cars =
            open(&plan(dir.path(), &["data.colors=class_dict.csv", "data.classes=[\"Car\"]"])).unwrap();
        let scan = cars.train.scan().unwrap();
        assert_eq!((scan.pixels, scan.ignored), (vec![18], 36));
        let table = ["data.colors=[[64, 0, 128], [0, 0, 0]]", "data.classes=[\"car\", \"rest\"]"];
        assert_eq!(open(&plan(dir.path(), &table)).unwrap().val.scan().unwrap().pixels, [2, 4]);
        let error = open(&plan(dir.path(), &["data.colors=none.txt"])).unwrap_err().to_string();
        assert!(error.contains("none.txt"), "{error}");
        let error =
            open(&plan(dir.path(), &["data.colors=class_dict.csv", "data.val_fraction=0"])).unwrap_err();
        assert!(error.to_string().contains("data.val_fraction"), "{error}");
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
        let part = |name: &str| Part {
            name: name.to_owned(),
            images: dir.path().join("images").join(name),
            labels: labels.clone(),
        };
        let classes = ["a", "b", "c"].map(str::to_owned);
        let opened = |name: &str| split(dir.path(), &part(name), &classes, &data);
        assert!(opened("val").unwrap_err().to_string().contains("no file ends"));
        image::RgbImage::new(3, 2).save(images.join("a/x.png")).unwrap();
        image::GrayImage::new(3, 2).save(labels.join("a/x.png")).unwrap();
        assert_eq!(opened("val").unwrap().len(), 1);
        assert!(format!("{:#}", opened("none").unwrap_err()).contains("none"));
    }
}
