//! Images with a class each, however they are stored.

use kat_images::loader::{BoxError, Choose, Dataset};
use kat_images::sample::Sample;

use crate::folder::ImageFolder;
use crate::tar::Shards;

/// Images with a class each: files of their own, or entries of shards.
#[derive(Debug, Clone)]
pub enum LabelledImages {
    /// Class folders, or one folder with a list of labels.
    Files(ImageFolder),
    /// Tar shards.
    Shards(Shards),
}

impl LabelledImages {
    /// Class names in the order of their indices.
    pub fn classes(&self) -> &[String] {
        match self {
            Self::Files(files) => &files.classes,
            Self::Shards(shards) => shards.classes(),
        }
    }

    /// The class of image `index`, which is below the number of images.
    pub fn class_of(&self, index: usize) -> u32 {
        match self {
            Self::Files(files) => files.items[index].1,
            Self::Shards(shards) => shards.class_of(index),
        }
    }

    /// The name of image `index` within the dataset: its path relative to the root, or its key.
    pub fn id(&self, index: usize) -> &str {
        match self {
            Self::Files(files) => &files.items[index].0,
            Self::Shards(shards) => shards.key(index),
        }
    }

    /// The images at the indices that `keep` accepts, in the same order.
    pub fn subset(&self, keep: impl Fn(usize) -> bool) -> Self {
        match self {
            Self::Files(files) => {
                let kept = files.items.iter().enumerate().filter(|(i, _)| keep(*i));
                let items = kept.map(|(_, item)| item.clone()).collect();
                Self::Files(ImageFolder { items, ..files.clone() })
            }
            Self::Shards(shards) => Self::Shards(shards.subset(keep)),
        }
    }
}

impl Dataset for LabelledImages {
    fn len(&self) -> usize {
        match self {
            Self::Files(files) => files.len(),
            Self::Shards(shards) => shards.len(),
        }
    }
    fn name(&self, index: usize) -> String {
        match self {
            Self::Files(files) => files.name(index),
            Self::Shards(shards) => shards.name(index),
        }
    }
    fn get(&self, index: usize) -> Result<Sample, BoxError> {
        match self {
            Self::Files(files) => files.get(index),
            Self::Shards(shards) => shards.get(index),
        }
    }
    fn get_region(&self, index: usize, choose: Choose<'_>) -> Result<Sample, BoxError> {
        match self {
            Self::Files(files) => files.get_region(index, choose),
            Self::Shards(shards) => shards.get_region(index, choose),
        }
    }
}
