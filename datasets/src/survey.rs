//! What `data check` reports of one split of any dataset.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

/// Counts, sizes and faults of one split.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Survey {
    /// Name of the split.
    pub split: String,
    /// Images listed.
    pub images: usize,
    /// Images without a single usable label.
    pub unlabelled: usize,
    /// Labels: objects, labelled images or label maps, usable or not.
    pub labels: usize,
    /// Usable labels of each class, in order of class.
    pub classes: Vec<ClassCount>,
    /// Least and greatest width of the images that could be read.
    pub width: Option<[u32; 2]>,
    /// Least and greatest height.
    pub height: Option<[u32; 2]>,
    /// Files that are missing, damaged or not what the annotations say.
    pub broken: Vec<BrokenFile>,
    /// How many labels have each kind of fault.
    pub faults: BTreeMap<String, usize>,
    /// A few faults of each kind in words.
    pub examples: Vec<String>,
}

/// How often a class is labelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// The class's name.
    pub name: String,
    /// Labels of it.
    pub count: usize,
}

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BrokenFile {
    /// Where.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

impl Survey {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.broken.is_empty() && self.faults.is_empty()
    }

    /// Widens the ranges of width and height.
    pub fn add_size(&mut self, width: u32, height: u32) {
        let widen = |range: Option<[u32; 2]>, v: u32| {
            Some(range.map_or([v, v], |[low, high]| [low.min(v), high.max(v)]))
        };
        self.width = widen(self.width, width);
        self.height = widen(self.height, height);
    }
}
