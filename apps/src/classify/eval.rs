//! `eval`: accuracy of a checkpoint on a folder of images.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use kat_backbone::Device;
use kat_imagenet::index::Caching;
use kat_imagenet::tar::shards_of;
use kat_imagenet::{ImageFolder, LabelledImages, splits};
use kat_images::decode::DecodeOptions;

use super::args::CheckpointArgs;
use super::data::held_out;
use super::figures::{as_json, text};
use super::held_out::HeldOut;
use crate::run::processes::Processes;
use crate::run::run_dir::write_atomic;
use crate::shell::device::on_device;
use crate::shell::flags::DeviceArgs;
use crate::shell::printable::print;
use crate::shell::progress::Screen;

/// Most classes whose confusion matrix is printed as JSON.
const PRINTED: usize = 100;

/// Measure a checkpoint on class folders, tar shards or a folder with a list of labels: accuracy, each class, confusion,
/// calibration
#[derive(Debug, Args)]
#[command(after_help = "Examples, after the program's name:\n  \
    eval --checkpoint runs/classify/best.safetensors --data data/shapes\n  \
    eval --checkpoint runs/classify/best.safetensors --data data/shapes --output figures.json\n  \
    eval --checkpoint kat_small.pth --data imagenet")]
pub struct EvalCommand {
    #[command(flatten)]
    source: CheckpointArgs,
    /// Folder of class folders or of tar shards, or one that holds them in val/
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Labels of a folder of images: `file label` a line, or ILSVRC2012's ground truth
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// With ILSVRC2012's ground truth: which wnid each id stands for
    #[arg(long, value_name = "FILE", requires = "labels")]
    synset_map: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Write the figures to this file as JSON
    #[arg(long, value_name = "FILE.json")]
    output: Option<PathBuf>,
    /// Print one JSON object instead of text: with each class, the bins of the calibration and, of up to 100 classes (of more,
    /// in --output alone), the confusion matrix
    #[arg(long)]
    json: bool,
}

impl EvalCommand {
    /// Prints the figures to stdout.
    ///
    /// # Errors
    /// A checkpoint or images that cannot be read, or a class that the checkpoint does not know.
    pub fn run(&self, screen: &Screen, processes: &Processes) -> anyhow::Result<()> {
        on_device!(&self.device, device => self.measure(&device, screen, processes))
    }

    fn measure<D: Device>(&self, device: &D, screen: &Screen, processes: &Processes) -> anyhow::Result<()> {
        let parts = if self.data.is_dir() { splits::look(&self.data)? } else { splits::Splits::default() };
        let root = parts.held_out.first().unwrap_or(&self.data);
        // Only folders name classes; indices in lists and shards are the checkpoint's.
        let folders = self.labels.is_none() && shards_of(root)?.is_empty();
        let named = folders.then(|| ImageFolder::open(root, None, Caching::Off, DecodeOptions::default()));
        let named = named.transpose()?;
        let trained = self.source.open(device, named.as_ref().map(|images| &images.classes[..]))?;
        let mut data = trained.plan.data.clone();
        let real = |path: &Path| path.canonicalize().ok();
        if *root == self.data && data.dir.as_deref().and_then(real) == real(&self.data) {
            let shown = self.data.display();
            tracing::warn!(
                "{shown}: the run was trained on these images, but for the share that it held out"
            );
        }
        let absolute = |path: &PathBuf| std::path::absolute(path);
        data.label_files.val = self.labels.as_ref().map(absolute).transpose()?;
        data.label_files.synset_map = self.synset_map.as_ref().map(absolute).transpose()?;
        let images = match named {
            Some(mut images) if images.classes == trained.classes => {
                images.decode = data.decode;
                LabelledImages::Files(images)
            }
            _ => held_out(&self.data, root, Some(&trained.classes), &data, Caching::Off)?,
        };
        let part = HeldOut {
            device,
            plan: &trained.plan,
            images: &images,
            screen: &screen.on_terminal(),
            processes,
        };
        let evaluation = part.evaluate(&trained.model, &trained.classes, 0)?;
        if !processes.is_first() {
            return Ok(());
        }
        let mut json = as_json(&evaluation, &trained.classes)?;
        if let Some(path) = &self.output {
            write_atomic(path, format!("{json}\n").as_bytes())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        if let Some(figures) = json.as_object_mut().filter(|_| trained.classes.len() > PRINTED) {
            figures.remove("confusion");
        }
        print(&if self.json { format!("{json}\n") } else { text(&evaluation, &trained.classes) })
    }
}
