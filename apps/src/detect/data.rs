//! The images of detection: a COCO folder or annotation file, found or generated.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use kat_coco::check::OnProblem;
use kat_coco::layout::{self, Split};
use kat_coco::{CocoDataset, CocoFile};
use kat_images::decode::{DecodeOptions, decode_file};
use kat_images::loader::{BoxError, Dataset};
use kat_images::sample::Sample;

use crate::config::{DataPlan, Plan};
use crate::run::generated::root;
use crate::run::hold_out::hold_out;
use crate::shell::Misuse;

/// Images of one annotation file, decoded when asked for.
#[derive(Debug, Clone)]
pub struct CocoImages(pub Arc<CocoDataset>, pub DecodeOptions);

impl Dataset for CocoImages {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn name(&self, index: usize) -> String {
        self.0.path(index).map_or_else(|| format!("image {index}"), |path| path.display().to_string())
    }
    fn get(&self, index: usize) -> Result<Sample, BoxError> {
        let beyond = || format!("image {index} of {}", self.0.len());
        let path = self.0.path(index).ok_or_else(beyond)?;
        let image = decode_file(&path, &self.1)?;
        Ok(self.0.sample(index, image).ok_or_else(beyond)??)
    }
}

impl CocoImages {
    /// The image with this COCO id, as [`Dataset::get`] gives it.
    ///
    /// # Errors
    /// No such image, or one that cannot be read.
    pub fn of_id(&self, id: &str) -> Result<Sample, BoxError> {
        let images = &self.0.file().images;
        let index = images.iter().position(|image| image.id.to_string() == id);
        self.get(index.ok_or_else(|| format!("no image {id}"))?)
    }
}

impl CocoImages {
    /// The file of the image with this COCO id, as annotated.
    pub fn file_name(&self, id: &str) -> Option<String> {
        let images = &self.0.file().images;
        images.iter().find(|image| image.id.to_string() == id).map(|image| image.file_name.clone())
    }
}

/// Training and held-out images.
#[derive(Debug, Clone)]
pub struct Splits {
    /// To train on.
    pub train: CocoImages,
    /// Held out.
    pub val: CocoImages,
}

/// Opens the data of `plan`: the splits of a COCO folder, or one annotation file; a share of the training part is held out
/// where no other part is. Those of kind "shapes" are generated first where there are none.
///
/// # Errors
/// No directory was named, it cannot be read or written, or it lacks a split or a category that the configuration names.
pub fn open(plan: &Plan) -> anyhow::Result<Splits> {
    let data = &plan.data;
    let dir = root(plan)?;
    let splits = splits(dir)?;
    let train = &*training(dir, &splits, data)?;
    let (mut file, folder) = read(train, &data.classes, Absent::Fail)?;
    let (held, held_folder) = match held_out(dir, &splits, data)? {
        Some(val) => read(&val, &data.classes, Absent::Allow)?,
        None => {
            let names: Vec<&str> = file.images.iter().map(|image| &image.file_name[..]).collect();
            let held = file.split_off(&hold_out(data.hold_out, &train.annotations, &names)?);
            (held, folder.clone())
        }
    };
    Ok(Splits { train: images(file, &folder, data)?, val: images(held, &held_folder, data)? })
}

/// The images to evaluate on: of the split `name`, else the held-out ones of `dir`, as training takes them. Where nothing is held
/// out on disk, that is the share which `plan` held out of the data it was trained on, and of any other the whole.
///
/// # Errors
/// No such split, or one that cannot be read.
pub fn open_held_out(dir: &Path, name: Option<&str>, plan: &Plan) -> anyhow::Result<CocoImages> {
    let splits = splits(dir)?;
    // other data may have no part of the name that those of training have
    let trained = || plan.data.val.clone().filter(|val| named(dir, &splits, val).is_ok());
    let data = DataPlan { val: name.map(str::to_owned).or_else(trained), ..plan.data.clone() };
    if let Some(val) = held_out(dir, &splits, &data)? {
        let (file, folder) = read(&val, &data.classes, Absent::Allow)?;
        return images(file, &folder, &data);
    }
    let train = &*training(dir, &splits, &data)?;
    let (mut file, folder) = read(train, &data.classes, Absent::Allow)?;
    let same = |path: &Path| path.canonicalize().ok();
    if data.dir.as_deref().and_then(same) == same(dir) && data.hold_out.share > 0.0 {
        let names: Vec<&str> = file.images.iter().map(|image| &image.file_name[..]).collect();
        file = file.split_off(&hold_out(data.hold_out, &train.annotations, &names)?);
    }
    images(file, &folder, &data)
}

/// The splits of a folder or file.
///
/// # Errors
/// There are none.
pub fn splits(dir: &Path) -> anyhow::Result<Vec<Split>> {
    layout::splits(dir).with_context(|| dir.display().to_string())
}

/// The part to train on: as named, a split or a file; else the one called train… in any case, else the only one.
fn training<'s>(dir: &Path, splits: &'s [Split], data: &DataPlan) -> anyhow::Result<Cow<'s, Split>> {
    let only = || splits.first().filter(|split| splits.len() == 1 && !is_held_out(&split.name));
    let alone = || splits.first().filter(|_| dir.is_file());
    match &data.train {
        Some(name) => named(dir, splits, name),
        None => starting(splits, &["train"])
            .or_else(only)
            .or_else(alone)
            .map(Cow::Borrowed)
            .ok_or_else(|| no_split(dir, splits, "train…")),
    }
}

/// The held-out part: as named, else one called val…, dev… or test… in any case (Roboflow's valid too).
fn held_out<'s>(dir: &Path, splits: &'s [Split], data: &DataPlan) -> anyhow::Result<Option<Cow<'s, Split>>> {
    match &data.val {
        Some(name) => named(dir, splits, name).map(Some),
        None if dir.is_file() => Ok(None),
        None => Ok(starting(splits, &HELD_OUT).map(Cow::Borrowed)),
    }
}

/// What a held-out split's name starts with, the preferred first.
const HELD_OUT: [&str; 3] = ["val", "dev", "test"];

fn is_held_out(name: &str) -> bool {
    HELD_OUT.iter().any(|word| name.to_lowercase().starts_with(word))
}

fn starting<'s>(splits: &'s [Split], words: &[&str]) -> Option<&'s Split> {
    words.iter().find_map(|word| splits.iter().find(|split| split.name.to_lowercase().starts_with(word)))
}

/// The split called `name`, or of the annotation file `name`.
fn named<'s>(dir: &Path, splits: &'s [Split], name: &str) -> anyhow::Result<Cow<'s, Split>> {
    if let Some(split) = splits.iter().find(|split| split.name == name) {
        return Ok(Cow::Borrowed(split));
    }
    let root = if dir.is_file() { dir.parent().unwrap_or(Path::new("")) } else { dir };
    let file = root.join(name);
    if file.is_file() {
        let mut split = Split::of_file(&file);
        split.folders.push(root.to_owned());
        return Ok(Cow::Owned(split));
    }
    Err(no_split(dir, splits, name))
}

fn no_split(dir: &Path, splits: &[Split], wanted: &str) -> anyhow::Error {
    let found: Vec<&str> = splits.iter().map(|split| split.name.as_str()).collect();
    Misuse(format!("{}: no split {wanted} among {found:?}", dir.display())).into()
}

/// What a part may do that lacks a category which the configuration names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absent {
    /// Nothing is to be learned of it.
    Fail,
    /// Nothing of it is to be found.
    Allow,
}

/// Reads the annotations of a split, those of `classes` alone where there are some, and says which folder its images are in.
fn read(split: &Split, classes: &[String], absent: Absent) -> anyhow::Result<(CocoFile, PathBuf)> {
    let mut file = split.file()?;
    let folder = split.folder(&file);
    if !classes.is_empty() {
        let found = classes.iter().map(|name| file.category(name).map(|category| category.id));
        let ids = match absent {
            Absent::Fail => found.collect::<Result<Vec<_>, _>>()?,
            Absent::Allow => found.flatten().collect(),
        };
        let left_out = file.keep_categories(&ids);
        if left_out > 0 {
            let shown = split.annotations.display();
            tracing::info!(
                "{shown}: {left_out} annotations of categories that data.classes does not name left out"
            );
        }
    }
    Ok((file, folder))
}

/// A split as training reads it.
///
/// # Errors
/// An annotation file that cannot be read.
pub fn dataset(split: &Split, data: &DataPlan) -> anyhow::Result<CocoDataset> {
    let absent = if is_held_out(&split.name) { Absent::Allow } else { Absent::Fail };
    let (file, folder) = read(split, &data.classes, absent)?;
    checked(file, &folder, data)
}

fn checked(file: CocoFile, folder: &Path, data: &DataPlan) -> anyhow::Result<CocoDataset> {
    let images = CocoDataset::new(file, folder, OnProblem::Skip)?;
    Ok(if data.classes.is_empty() { images } else { images.in_file_order() })
}

fn images(file: CocoFile, folder: &Path, data: &DataPlan) -> anyhow::Result<CocoImages> {
    let images = checked(file, folder, data)?;
    let (shown, skipped) = (images.file().path.display(), images.report().skipped);
    if skipped > 0 {
        tracing::warn!("{shown}: {skipped} faulty annotations left out (data check says which)");
    }
    anyhow::ensure!(!images.is_empty(), "{shown}: no images");
    Ok(CocoImages(Arc::new(images), data.decode))
}

#[cfg(test)]
mod tests;
