//! Where samples are and how they are read: the `[data]` section with what other sections say of it.

use std::path::PathBuf;

use kat_ade20k::LabelScheme;
use kat_images::decode::DecodeOptions;
use kat_images::transform::normalize::Normalize;

use super::check::Check;
use super::error::ConfigError;
use super::kinds::{ColorChoice, DatasetKind, OnCorrupt};
use super::raw::RawConfig;
use super::task::TaskKind;

/// Generated data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generate {
    /// Images to train on.
    pub train: usize,
    /// Held-out images.
    pub val: usize,
    /// Side of an image in pixels.
    pub size: usize,
    /// Kinds of shapes.
    pub classes: usize,
    /// Most shapes in an image, where it may have several.
    pub objects: usize,
}

/// A share of images to hold out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HoldOut {
    /// Over all of them.
    pub share: f64,
    /// Which ones.
    pub seed: u64,
}

/// What label maps hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// What stored values mean.
    pub scheme: LabelScheme,
    /// The colors of classes, of maps that hold colors.
    pub colors: Option<ColorChoice>,
    /// The folder of the images, relative to the data's; found where it is not said.
    pub images: Option<PathBuf>,
    /// The folder of the label maps.
    pub maps: Option<PathBuf>,
}

/// Files that label images which no folder's name labels, relative to the data's folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelFiles {
    /// Labels of a held-out part that is one folder of images.
    pub val: Option<PathBuf>,
    /// Which wnid each of ILSVRC2012's ids stands for.
    pub synset_map: Option<PathBuf>,
    /// Class names in the order of their indices.
    pub class_names: Option<PathBuf>,
}

/// Where samples are and how they are read.
#[derive(Debug, Clone, PartialEq)]
pub struct DataPlan {
    /// What they are; found from the directory where it is not said.
    pub dataset: Option<DatasetKind>,
    /// Root directory.
    pub dir: Option<PathBuf>,
    /// Name of the training part.
    pub train: Option<String>,
    /// Name of the held-out part.
    pub val: Option<String>,
    /// Files of labels; read by `classify` only.
    pub label_files: LabelFiles,
    /// Class names in the order of their indices; found with the data where empty.
    pub classes: Vec<String>,
    /// What is held out where there is no held-out part.
    pub hold_out: HoldOut,
    /// What to generate where there are none.
    pub generate: Generate,
    /// Mean and deviation of the channels.
    pub normalize: Normalize,
    /// How images are decoded, and which are refused: those that take too much memory, or would once resized.
    pub decode: DecodeOptions,
    /// Threads that decode and transform; 0 takes one for each core.
    pub workers: usize,
    /// What to do about a file that cannot be read.
    pub on_corrupt: OnCorrupt,
    /// Label maps; read by `segment` only.
    pub labels: Labels,
}

impl DataPlan {
    /// What the configuration says of data.
    ///
    /// # Errors
    /// A kind of data that the program does not read.
    pub(super) fn new(raw: &RawConfig, check: &Check<'_>, task: TaskKind) -> Result<Self, ConfigError> {
        let kinds = DatasetKind::of(task);
        let dataset = match &raw.data.dataset {
            None => None,
            Some(word) => {
                let kind = kinds.into_iter().find(|kind| kind.word() == word);
                Some(kind.ok_or_else(|| {
                    let [first, second] = kinds.map(DatasetKind::word);
                    let expected = format!("\"{first}\" or \"{second}\"");
                    check.bad("data.dataset", format!("\"{word}\""), &expected)
                })?)
            }
        };
        Ok(Self { dataset, ..Self::of(raw, task) })
    }

    /// What a program does about data of which no configuration says anything.
    pub fn unconfigured(task: TaskKind) -> Self {
        Self::of(&RawConfig::default(), task)
    }

    /// Sets the memory in MiB that decoding one image may take.
    pub fn limit_memory(&mut self, mebibytes: u64) {
        let short_side = self.decode.short_side;
        self.decode = DecodeOptions { short_side, ..DecodeOptions::with_memory(mebibytes) };
    }

    /// Everything but the kind of data.
    fn of(raw: &RawConfig, task: TaskKind) -> Self {
        let d = &raw.data;
        Self {
            dataset: None,
            dir: d.dir.as_ref().map(PathBuf::from),
            train: d.train.clone(),
            val: d.val.clone(),
            label_files: LabelFiles {
                val: d.val_labels.as_ref().map(PathBuf::from),
                synset_map: d.synset_map.as_ref().map(PathBuf::from),
                class_names: d.class_names.as_ref().map(PathBuf::from),
            },
            classes: if d.classes.is_empty() { raw.segment.classes.clone() } else { d.classes.clone() },
            hold_out: HoldOut { share: d.val_fraction, seed: d.val_seed },
            generate: Generate {
                train: d.generate_train,
                val: d.generate_val,
                size: d.generate_size,
                classes: d.generate_classes,
                objects: d.generate_objects,
            },
            normalize: Normalize { mean: d.mean.map(|v| v as f32), std: d.std.map(|v| v as f32) },
            decode: decoding(raw, task),
            workers: d.workers,
            on_corrupt: d.on_corrupt,
            labels: Labels {
                // colors are of classes, none of them of "other"
                scheme: match raw.segment.reduce_zero_label && d.colors.is_none() {
                    true => LabelScheme::ReduceZero,
                    false => LabelScheme::Direct,
                },
                colors: d.colors.clone(),
                images: d.images.as_ref().map(PathBuf::from),
                maps: d.labels.as_ref().map(PathBuf::from),
            },
        }
    }
}

fn decoding(raw: &RawConfig, task: TaskKind) -> DecodeOptions {
    let short_side = match task {
        TaskKind::Classify => (raw.model.image_size.unwrap_or(224) as f64 / raw.eval.crop).ceil() as u32,
        TaskKind::Segment => raw.segment.crop as u32,
        // the long side is limited there
        TaskKind::Detect => 0,
    };
    DecodeOptions { short_side, ..DecodeOptions::with_memory(raw.data.max_image_mb as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Override, load};

    #[test]
    fn names_and_colors_are_checked() {
        let read = |sets: &[&str]| {
            let sets: Vec<Override> = sets.iter().map(|text| Override::parse(text).unwrap()).collect();
            let loaded = load(None, &sets, TaskKind::Segment).unwrap();
            let check = Check { origin: "here" };
            check.data(&loaded.raw).map(|()| DataPlan::of(&loaded.raw, TaskKind::Segment))
        };
        let names = |sets: &[&str]| read(sets).unwrap().classes;
        // the name that the key had before, and the later of the two
        assert_eq!(names(&["segment.classes=[\"road\", \"car\"]"]), ["road", "car"]);
        assert_eq!(names(&["segment.classes=[\"road\"]", "data.classes=[\"sky\", \"car\"]"]), ["sky", "car"]);
        let said = |sets: &[&str]| read(sets).unwrap_err().to_string();
        let error = said(&["data.classes=[\"a\", \"b\", \"a\"]"]);
        assert!(error.contains("data.classes is \"a\", expected a name, each once"), "{error}");
        let two = ["data.classes=[\"a\", \"b\"]"];
        let colors =
            |text: &str| Override::parse(&format!("data.colors={text}")).map(|_| text.to_owned()).unwrap();
        let with = |text: &str| [two[0].to_owned(), format!("data.colors={}", colors(text))];
        let error = said(&with("[[1, 2, 3]]").each_ref().map(|set| &set[..]));
        assert!(error.contains("a color for each of data.classes (2)"), "{error}");
        let error = said(&with("[[1, 2, 3], [1, 2, 3]]").each_ref().map(|set| &set[..]));
        assert!(error.contains("[1, 2, 3] twice"), "{error}");
        let table =
            read(&with("[[1, 2, 3], [0, 2, 3]]").each_ref().map(|set| &set[..])).unwrap().labels.colors;
        assert_eq!(table, Some(ColorChoice::Table(vec![[1, 2, 3], [0, 2, 3]])));
        let file = read(&["data.colors=class_dict.csv"]).unwrap().labels.colors;
        assert_eq!(file, Some(ColorChoice::File("class_dict.csv".to_owned())));
    }

    #[test]
    fn a_program_reads_its_own_kinds_of_data() {
        let read = |task, word: &str| {
            let set = Override::parse(&format!("data.dataset={word}")).unwrap();
            load(None, &[set], task).unwrap().data(task).map(|data| data.dataset)
        };
        for (task, kind) in [
            (TaskKind::Classify, DatasetKind::Folder),
            (TaskKind::Detect, DatasetKind::Coco),
            (TaskKind::Segment, DatasetKind::Ade20k),
        ] {
            assert_eq!(read(task, kind.word()).unwrap(), Some(kind));
            assert_eq!(read(task, "shapes").unwrap(), Some(DatasetKind::Shapes));
        }
        let error = read(TaskKind::Detect, "folder").unwrap_err().to_string();
        assert!(error.contains("data.dataset is \"folder\", expected \"coco\" or \"shapes\""), "{error}");
    }
}
