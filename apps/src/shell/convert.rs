//! `data convert`: annotations of another tool, or in another layout, to those that this program trains on.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::Misuse;
use super::printable::{one_line, print};

/// What `data convert` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// annotations/instances_PART.json beside images/PART, which detect trains on
    Coco,
    /// data.yaml, images/PART and labels/PART
    Yolo,
    /// images/PART beside annotations/PART with the class of each pixel, which segment trains on
    Labels,
}

/// `data convert FROM TO`.
#[derive(Debug, Clone, Args)]
pub struct ConvertArgs {
    /// Folder of the dataset, or its one annotation file
    #[arg(value_name = "FROM")]
    pub from: PathBuf,
    /// Folder to write, which is not there yet; images are linked where the file system allows it
    #[arg(value_name = "TO")]
    pub to: PathBuf,
    /// What to write [default: what this program trains on]
    #[arg(long = "as", value_enum)]
    pub target: Option<Target>,
    /// Share of the images to hold out, where there is no held-out part
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub val_fraction: Option<f64>,
    /// Which images are held out: the same for the same number
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Colors of labels that are stored as such, a line a class: red green blue name (segment)
    #[arg(long, value_name = "FILE")]
    pub colors: Option<PathBuf>,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share: &f64| *share > 0.0 && *share < 1.0);
    share.ok_or_else(|| "expected a share between 0 and 1".to_owned())
}

impl ConvertArgs {
    /// Converts with the program's `convert`, which gives what was written in words.
    ///
    /// # Errors
    /// A folder that is there already, data that cannot be read or written.
    pub fn run(&self, convert: fn(&Self) -> anyhow::Result<String>) -> anyhow::Result<()> {
        let taken = std::fs::read_dir(&self.to).is_ok_and(|mut entries| entries.next().is_some());
        if taken || self.to.is_file() {
            return Err(Misuse(format!("{} exists already", self.to.display())).into());
        }
        print(&(convert(self)? + "\n"))
    }

    /// The dataset's boxes and outlines, a share of them held out if that is asked for.
    ///
    /// # Errors
    /// Data that cannot be read, or that have a held-out part already.
    pub fn read(&self) -> anyhow::Result<kat_coco::convert::AnnotatedSet> {
        let mut set = kat_coco::convert::Format::of(&self.from)?.read(&self.from)?;
        tell(&self.from, &set.notes);
        if let Some(share) = self.val_fraction {
            let fail = |reason: String| Misuse(format!("{}: --val-fraction: {reason}", self.from.display()));
            set.hold_out(share, self.seed).map_err(fail)?;
        }
        Ok(set)
    }
}

/// Says what was left out or changed.
pub fn tell(path: &Path, notes: &kat_coco::convert::Notes) {
    for (what, count) in notes.iter() {
        tracing::warn!("{}: {count} times: {}", path.display(), one_line(what));
    }
}

/// What was converted, in words.
pub fn summary(to: &Path, set: &kat_coco::convert::AnnotatedSet) -> String {
    let parts = set.parts.iter().map(|part| {
        let objects: usize = part.images.iter().map(|image| image.objects.len()).sum();
        format!("{} with {} images and {objects} objects", part.name, part.images.len())
    });
    let parts = parts.collect::<Vec<_>>().join(", ");
    format!("{}: {parts}; {} categories", to.display(), set.categories.len())
}
