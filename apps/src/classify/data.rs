//! The images of classification: found or generated, split, and which split is read how.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kat_imagenet::ImageFolder;
use kat_imagenet::index::Caching;
use kat_imagenet::splits;
use kat_images::loader::{Regions, Source};
use kat_images::pipeline::ClassifyTrain;
use kat_images::sample::Sample;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::config::{DataPlan, Plan};
use crate::run::generated::root;

/// Training and held-out images over the same classes.
#[derive(Debug, Clone)]
pub struct Splits {
    /// To train on.
    pub train: ImageFolder,
    /// Held out.
    pub val: ImageFolder,
}

/// Opens the data of `plan`: `DIR/train` beside `DIR/val` (the usual words, in any case), or class folders right in DIR, of which a share is then
/// held out. Data of kind "shapes" are generated first where there are none.
///
/// # Errors
/// No directory was named, or it cannot be read or written.
pub fn open(plan: &Plan) -> anyhow::Result<Splits> {
    let data = &plan.data;
    let dir = root(plan)?;
    let (train_dir, val_dir) = parts(dir, data)?;
    let train_dir = train_dir.unwrap_or_else(|| dir.to_owned());
    let decode = data.decode;
    let train = ImageFolder::open(&train_dir, None, Caching::On, decode)?;
    match val_dir.filter(|_| train_dir != dir) {
        Some(val_dir) => {
            let val = ImageFolder::open(&val_dir, Some(&train.classes), Caching::On, decode)?;
            Ok(Splits { train, val })
        }
        None => Ok(hold_out(train, data.val_fraction)),
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
pub fn cropped(dataset: &ImageFolder, pipeline: &ClassifyTrain) -> Arc<impl Source<Item = Sample>> {
    let (dataset, pipeline) = (dataset.clone(), pipeline.clone());
    Arc::new(Regions { dataset, draw: move |size, rng: &mut ChaCha8Rng| pipeline.region(size, rng) })
}

/// Holds out a share of each class: the same images whatever the run's seed, so that runs compare.
fn hold_out(all: ImageFolder, share: f64) -> Splits {
    let mut held = vec![false; all.items.len()];
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    for class in 0..all.classes.len() as u32 {
        let mut members: Vec<usize> = (0..all.items.len()).filter(|i| all.items[*i].1 == class).collect();
        members.shuffle(&mut rng);
        let count = (members.len() as f64 * share).round() as usize;
        members[..count].iter().for_each(|i| held[*i] = true);
    }
    let part = |wanted: bool| ImageFolder {
        items: all
            .items
            .iter()
            .zip(&held)
            .filter(|(_, h)| **h == wanted)
            .map(|(item, _)| item.clone())
            .collect(),
        ..all.clone()
    };
    Splits { train: part(false), val: part(true) }
}

#[cfg(test)]
mod tests {
    use kat_images::decode::DecodeOptions;

    use super::*;

    #[test]
    fn a_share_of_each_class_is_held_out() {
        let items = (0..100).map(|i| (format!("{i}"), u32::from(i >= 60))).collect();
        let classes = vec!["a".to_owned(), "b".to_owned()];
        let all = ImageFolder {
            root: "x".into(),
            classes,
            items,
            decode: DecodeOptions::default(),
            unsupported: 0,
        };
        let splits = hold_out(all.clone(), 0.1);
        let of = |part: &ImageFolder, class| part.items.iter().filter(|item| item.1 == class).count();
        assert_eq!((of(&splits.val, 0), of(&splits.val, 1)), (6, 4));
        assert_eq!(splits.train.items.len(), 90);
        assert!(splits.val.items.iter().all(|item| !splits.train.items.contains(item)));
        assert_eq!(splits.val.items, hold_out(all, 0.1).val.items);
    }
}
