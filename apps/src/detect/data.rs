//! The images of detection: a COCO folder, found or generated.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use kat_coco::CocoDataset;
use kat_coco::check::OnProblem;
use kat_coco::layout::{self, Split};
use kat_images::decode::{DecodeOptions, decode_file};
use kat_images::loader::{BoxError, Dataset};
use kat_images::sample::Sample;

use crate::config::Plan;
use crate::run::generated::root;
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

/// Opens the data of `plan`; those of kind "shapes" are generated first where there are none.
///
/// # Errors
/// No directory was named, it cannot be read or written, or it lacks a split.
pub fn open(plan: &Plan) -> anyhow::Result<Splits> {
    let data = &plan.data;
    let dir = root(plan)?;
    Ok(Splits {
        train: open_split(dir, data.train.as_deref(), "train", data.decode)?,
        val: open_split(dir, data.val.as_deref(), "val", data.decode)?,
    })
}

/// The images of the split `name`, or of the one whose name starts with `usual` or a word for the same, in any case
/// (train2017 for "train", Testing for "val").
///
/// # Errors
/// No such split, or one that cannot be read.
pub fn open_split(
    dir: &Path,
    name: Option<&str>,
    usual: &str,
    decode: DecodeOptions,
) -> anyhow::Result<CocoImages> {
    let splits = layout::splits(dir)
        .with_context(|| format!("{}: expected annotations/instances_<split>.json", dir.display()))?;
    let named = |split: &&Split| name.is_some_and(|name| split.name == name);
    let starts = |word: &str| splits.iter().find(|split| split.name.to_lowercase().starts_with(word));
    let words: &[&str] = if usual == "val" { &["val", "dev", "test"] } else { &[usual] };
    let found = match name {
        Some(_) => splits.iter().find(named),
        None => words.iter().find_map(|word| starts(word)),
    };
    let Some(split) = found else {
        let found: Vec<&str> = splits.iter().map(|s| s.name.as_str()).collect();
        let wanted = name.map_or_else(|| format!("{usual}…"), str::to_owned);
        return Err(Misuse(format!("{}: no split {wanted} among {found:?}", dir.display())).into());
    };
    let data = CocoDataset::open(&split.annotations, &split.images, OnProblem::Skip)?;
    if data.report().skipped > 0 {
        let skipped = data.report().skipped;
        tracing::warn!(
            "{}: {skipped} faulty annotations left out (data check says which)",
            split.annotations.display()
        );
    }
    anyhow::ensure!(!data.is_empty(), "{}: no images", split.annotations.display());
    Ok(CocoImages(Arc::new(data), decode))
}
