//! The images of classification: found or generated, split, and which split is read how.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kat_imagenet::classes::ClassNames;
use kat_imagenet::index::Caching;
use kat_imagenet::tar::shards_of;
use kat_imagenet::{ImageFolder, LabelledImages, Shards, flat, splits};
use kat_images::loader::{Dataset as _, Regions, Source};
use kat_images::pipeline::ClassifyTrain;
use kat_images::sample::Sample;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::config::{DataPlan, Plan};
use crate::run::generated::root;
use crate::shell::Misuse;

/// Training and held-out images over the same classes.
#[derive(Debug, Clone)]
pub struct Splits {
    /// To train on.
    pub train: LabelledImages,
    /// Held out.
    pub val: LabelledImages,
}

/// Opens the data of `plan`: `DIR/train` beside `DIR/val` (the usual words, in any case), or images right in DIR, of
/// which a share is then held out. A part is class folders or tar shards, the held-out one also a folder of images with
/// a list of labels. Data of kind "shapes" are generated first where there are none.
///
/// # Errors
/// No directory was named, or it cannot be read or written.
pub fn open(plan: &Plan) -> anyhow::Result<Splits> {
    let data = &plan.data;
    let dir = root(plan)?;
    let (train_dir, val_dir) = parts(dir, data)?;
    let train_dir = train_dir.unwrap_or_else(|| dir.to_owned());
    let train = part(dir, &train_dir, None, data, Caching::On)?;
    match val_dir.filter(|_| train_dir != dir) {
        Some(val_dir) => {
            let val = held_out(dir, &val_dir, Some(train.classes()), data, Caching::On)?;
            Ok(Splits { train, val })
        }
        None => Ok(hold_out(&train, data.val_fraction)),
    }
}

/// The images of one part, in tar shards or class folders; their classes are numbered as `known`, if given.
///
/// # Errors
/// Files that cannot be read, a class that is not known, shards without class names.
pub fn part(
    dir: &Path,
    path: &Path,
    known: Option<&[String]>,
    data: &DataPlan,
    caching: Caching,
) -> anyhow::Result<LabelledImages> {
    let shards = shards_of(path)?;
    if shards.is_empty() {
        return Ok(LabelledImages::Files(ImageFolder::open(path, known, caching, data.decode)?));
    }
    let classes = match (known, &data.label_files.class_names) {
        (Some(known), _) => known.to_vec(),
        (None, Some(file)) => ClassNames::read(&dir.join(file))?.into_classes(),
        (None, None) => {
            let reason = "tar shards hold the index of a class only: name a file of class names, one a line, with \
                          data.class_names";
            return Err(Misuse(format!("{}: {reason}", path.display())).into());
        }
    };
    Ok(LabelledImages::Shards(Shards::open(&shards, &classes, data.decode)?))
}

/// As [`part`], for one that is held out, which may also be a folder of images whose labels a file lists.
///
/// # Errors
/// As [`part`]; labels that do not fit the images.
pub fn held_out(
    dir: &Path,
    path: &Path,
    known: Option<&[String]>,
    data: &DataPlan,
    caching: Caching,
) -> anyhow::Result<LabelledImages> {
    let files = &data.label_files;
    let Some(labels) = &files.val else { return part(dir, path, known, data, caching) };
    let labels = dir.join(labels);
    let images = match (&files.synset_map, known, &files.class_names) {
        (Some(map), ..) => flat::open_ilsvrc(path, &labels, &dir.join(map), known, data.decode)?,
        (None, Some(known), _) => flat::open_list(path, &labels, known, data.decode)?,
        (None, None, Some(names)) => {
            let classes = ClassNames::read(&dir.join(names))?.into_classes();
            flat::open_list(path, &labels, &classes, data.decode)?
        }
        (None, None, None) => {
            let reason = "a list of labels numbers classes that nothing names: give data.class_names, or \
                          data.synset_map with ILSVRC2012's ground truth";
            return Err(Misuse(format!("{}: {reason}", labels.display())).into());
        }
    };
    Ok(LabelledImages::Files(images))
}

/// Where the training and the held-out part are: as named, else by the usual words.
///
/// # Errors
/// A folder that cannot be read, or names that cannot be meant.
pub fn parts(dir: &Path, data: &DataPlan) -> anyhow::Result<(Option<PathBuf>, Option<PathBuf>)> {
    let named = |name: &Option<String>| name.as_ref().map(|name| dir.join(name));
    let (train, val) = (named(&data.train), named(&data.val));
    if train.is_some() && val.is_some() {
        return Ok((train, val));
    }
    let found = if train.is_some() { splits::look(dir)? } else { splits::find(dir)? };
    Ok((train.or(found.train), val.or_else(|| found.held_out.into_iter().next())))
}

/// The parts of the images that the crop of `pipeline` draws; what is not kept is not decoded.
pub fn cropped(dataset: &LabelledImages, pipeline: &ClassifyTrain) -> Arc<impl Source<Item = Sample>> {
    let (dataset, pipeline) = (dataset.clone(), pipeline.clone());
    Arc::new(Regions { dataset, draw: move |size, rng: &mut ChaCha8Rng| pipeline.region(size, rng) })
}

/// Holds out a share of each class: the same images whatever the run's seed, so that runs compare.
fn hold_out(all: &LabelledImages, share: f64) -> Splits {
    let mut held = vec![false; all.len()];
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    for class in 0..all.classes().len() as u32 {
        let mut members: Vec<usize> = (0..all.len()).filter(|i| all.class_of(*i) == class).collect();
        members.shuffle(&mut rng);
        let count = (members.len() as f64 * share).round() as usize;
        members[..count].iter().for_each(|i| held[*i] = true);
    }
    Splits { train: all.subset(|i| !held[i]), val: all.subset(|i| held[i]) }
}

#[cfg(test)]
mod tests {
    use kat_images::decode::DecodeOptions;

    use super::*;

    #[test]
    fn a_share_of_each_class_is_held_out() {
        let items = (0..100).map(|i| (format!("{i}"), u32::from(i >= 60))).collect();
        let classes = vec!["a".to_owned(), "b".to_owned()];
        let all = LabelledImages::Files(ImageFolder {
            root: "x".into(),
            classes,
            items,
            decode: DecodeOptions::default(),
            unsupported: 0,
        });
        let splits = hold_out(&all, 0.1);
        let ids = |part: &LabelledImages| (0..part.len()).map(|i| part.id(i).to_owned()).collect::<Vec<_>>();
        let of =
            |part: &LabelledImages, class| (0..part.len()).filter(|i| part.class_of(*i) == class).count();
        assert_eq!((of(&splits.val, 0), of(&splits.val, 1)), (6, 4));
        assert_eq!(splits.train.len(), 90);
        assert!(ids(&splits.val).iter().all(|id| !ids(&splits.train).contains(id)));
        assert_eq!(ids(&splits.val), ids(&hold_out(&all, 0.1).val));
    }
}
