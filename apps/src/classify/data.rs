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

use crate::config::{DataPlan, HoldOut, Plan};
use crate::run::generated::root;
use crate::run::hold_out::tell;
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
        None => {
            let splits = hold_out(&train, data.hold_out);
            tell(&train_dir, splits.val.len(), train.len());
            Ok(splits)
        }
    }
}

/// The images of one part, in tar shards or class folders; their classes are numbered as `known`, if given, else as
/// configured.
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
        let configured = Some(&data.classes[..]).filter(|names| !names.is_empty());
        let images = ImageFolder::open(path, known.or(configured), caching, data.decode)?;
        if known.is_none() && configured.is_some() {
            tell_without_images(path, &images);
        }
        return Ok(LabelledImages::Files(images));
    }
    let Some(classes) = numbered(dir, known, data)? else {
        let reason = "tar shards hold the index of a class only: name the classes with data.classes, or a file of their \
                      names, one a line, with data.class_names";
        return Err(Misuse(format!("{}: {reason}", path.display())).into());
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
    let images = match (&files.synset_map, numbered(dir, known, data)?) {
        (Some(map), _) => flat::open_ilsvrc(path, &labels, &dir.join(map), known, data.decode)?,
        (None, Some(classes)) => flat::open_list(path, &labels, &classes, data.decode)?,
        (None, None) => {
            let reason = "a list of labels numbers classes that nothing names: give data.classes, data.class_names, or \
                          data.synset_map with ILSVRC2012's ground truth";
            return Err(Misuse(format!("{}: {reason}", labels.display())).into());
        }
    };
    Ok(LabelledImages::Files(images))
}

/// What the indices of labels that name no class stand for: `known` if given, else as configured.
fn numbered(dir: &Path, known: Option<&[String]>, data: &DataPlan) -> anyhow::Result<Option<Vec<String>>> {
    Ok(match (known, &data.label_files.class_names) {
        (Some(known), _) => Some(known.to_vec()),
        (None, _) if !data.classes.is_empty() => Some(data.classes.clone()),
        (None, Some(file)) => Some(ClassNames::read(&dir.join(file))?.into_classes()),
        (None, None) => None,
    })
}

/// Says which of the classes that were named have no image to learn from.
fn tell_without_images(path: &Path, images: &ImageFolder) {
    let mut counts = vec![0usize; images.classes.len()];
    images.items.iter().for_each(|(_, class)| counts[*class as usize] += 1);
    for (name, _) in images.classes.iter().zip(counts).filter(|(_, count)| *count == 0) {
        tracing::warn!("{}: no images of {name:?}, which data.classes names", path.display());
    }
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
fn hold_out(all: &LabelledImages, HoldOut { share, seed }: HoldOut) -> Splits {
    let mut held = vec![false; all.len()];
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
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
    use crate::config::TaskKind;

    #[test]
    fn the_configuration_may_order_the_classes() {
        let dir = tempfile::tempdir().unwrap();
        for class in ["cat", "dog"] {
            std::fs::create_dir(dir.path().join(class)).unwrap();
            image::RgbImage::new(2, 2).save(dir.path().join(class).join("1.png")).unwrap();
        }
        let mut data = DataPlan::unconfigured(TaskKind::Classify);
        let mut read = |names: &[&str]| {
            data.classes = names.iter().map(|name| (*name).to_owned()).collect();
            part(dir.path(), dir.path(), None, &data, Caching::Off)
        };
        let images = read(&["dog", "hen", "cat"]).unwrap();
        assert_eq!(images.classes(), ["dog", "hen", "cat"]);
        assert_eq!([0, 1].map(|image| images.class_of(image)), [2, 0]);
        let error = read(&["dog", "Cat"]).unwrap_err().to_string();
        assert!(error.contains("\"cat\"") && error.contains("nearest: \"Cat\""), "{error}");
    }

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
        let splits = hold_out(&all, HoldOut { share: 0.1, seed: 0 });
        let ids = |part: &LabelledImages| (0..part.len()).map(|i| part.id(i).to_owned()).collect::<Vec<_>>();
        let of =
            |part: &LabelledImages, class| (0..part.len()).filter(|i| part.class_of(*i) == class).count();
        assert_eq!((of(&splits.val, 0), of(&splits.val, 1)), (6, 4));
        assert_eq!(splits.train.len(), 90);
        assert!(ids(&splits.val).iter().all(|id| !ids(&splits.train).contains(id)));
        assert_ne!(ids(&splits.val), ids(&hold_out(&all, HoldOut { share: 0.1, seed: 1 }).val));
        assert_eq!(ids(&splits.val), ids(&hold_out(&all, HoldOut { share: 0.1, seed: 0 }).val));
    }
}
