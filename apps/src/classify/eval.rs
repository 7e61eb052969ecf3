//! `eval`: accuracy of a checkpoint on a folder of images.

use std::path::PathBuf;

use clap::Args;
use kat_backbone::Device;
use kat_imagenet::index::Caching;
use kat_imagenet::tar::shards_of;
use kat_imagenet::topk::TopK;
use kat_imagenet::{ImageFolder, LabelledImages, splits};
use kat_images::decode::DecodeOptions;

use super::args::CheckpointArgs;
use super::data::held_out;
use super::held_out::HeldOut;
use crate::run::processes::Processes;
use crate::shell::device::on_device;
use crate::shell::flags::DeviceArgs;
use crate::shell::printable::print;
use crate::shell::progress::Screen;

/// Measure a checkpoint's accuracy on class folders, tar shards or a folder with a list of labels
#[derive(Debug, Args)]
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
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl EvalCommand {
    /// Prints top-1 and top-5 to stdout.
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
        let mut top = TopK::new(trained.classes.len());
        let part = HeldOut {
            device,
            plan: &trained.plan,
            images: &images,
            screen: &screen.on_terminal(),
            processes,
        };
        part.for_each_batch(&trained.model, |batch, logits| Ok(top.update(logits, &batch.labels)?))?;
        processes.add_counts(top.counts_mut())?;
        if !processes.is_first() {
            return Ok(());
        }
        let accuracy = top.accuracy();
        let text = if self.json {
            serde_json::to_string(&accuracy)?
        } else {
            let (top1, top5) = (100.0 * accuracy.top1, 100.0 * accuracy.top5);
            format!("top-1 {top1:.2} %, top-5 {top5:.2} % of {} images", accuracy.samples)
        };
        print(&(text + "\n"))
    }
}
