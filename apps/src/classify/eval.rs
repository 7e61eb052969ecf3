//! `eval`: accuracy of a checkpoint on a folder of images.

use std::path::PathBuf;

use clap::Args;
use kat_backbone::Device;
use kat_imagenet::ImageFolder;
use kat_imagenet::index::Caching;
use kat_imagenet::splits;
use kat_imagenet::topk::TopK;
use kat_images::decode::DecodeOptions;

use super::args::CheckpointArgs;
use crate::classify::HeldOut;
use crate::shell::device::on_device;
use crate::shell::flags::DeviceArgs;
use crate::shell::printable::print;

/// Measure a checkpoint's accuracy on a folder of class folders
#[derive(Debug, Args)]
pub struct EvalCommand {
    #[command(flatten)]
    source: CheckpointArgs,
    /// Folder of class folders, or one that holds them in val/
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
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
    pub fn run(&self) -> anyhow::Result<()> {
        on_device!(&self.device, device => self.measure(&device))
    }

    fn measure<D: Device>(&self, device: &D) -> anyhow::Result<()> {
        let held_out = splits::look(&self.data)?.held_out.into_iter().next();
        let root = held_out.as_ref().unwrap_or(&self.data);
        let mut images = ImageFolder::open(root, None, Caching::Off, DecodeOptions::default())?;
        let trained = self.source.open(device, Some(&images.classes))?;
        if images.classes != trained.classes {
            images = ImageFolder::open(root, Some(&trained.classes), Caching::Off, images.decode)?;
        }
        images.decode = trained.plan.data.decode;
        let mut top = TopK::new(trained.classes.len());
        let part = HeldOut { device, plan: &trained.plan, images: &images };
        part.look(&trained.model, &mut |batch, logits| Ok(top.update(logits, &batch.labels)?))?;
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
