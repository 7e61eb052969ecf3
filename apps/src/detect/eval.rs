//! `eval`: COCO's figures of a checkpoint, and the results file they are of.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use kat_backbone::Device;
use serde_json::json;

use crate::detect::coco_eval::{as_json, as_text};
use crate::detect::data;
use crate::detect::held_out::HeldOut;
use crate::detect::scored::{Figures, Scored};
use crate::detect::trained::Trained;
use crate::run::processes::Processes;
use crate::run::run_dir::write_atomic;
use crate::shell::device::on_device;
use crate::shell::flags::DeviceArgs;
use crate::shell::progress::Screen;
use crate::shell::weights::WeightsArgs;

/// Measure a checkpoint's average precision on a COCO folder
#[derive(Debug, Args)]
#[command(after_help = "Examples, after the program's name:\n  \
    eval --checkpoint runs/detect/best.safetensors --data data/shapes_coco --results found.json\n  \
    coco-eval --gt data/shapes_coco/annotations/instances_val.json --dets found.json")]
pub struct EvalCommand {
    #[command(flatten)]
    weights: WeightsArgs,
    /// Folder with annotations/instances_SPLIT.json and its images, or an annotation file
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Which of its splits [default: as trained, else the first that starts with val; without one, what training held out of these
    /// data, of others all images]
    #[arg(long, value_name = "SPLIT")]
    split: Option<String>,
    /// Write the detections there in COCO's results format
    #[arg(long, value_name = "FILE.json")]
    results: Option<PathBuf>,
    /// Print one JSON object instead of the tables
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

impl EvalCommand {
    /// Detects, evaluates and prints to stdout.
    ///
    /// # Errors
    /// A checkpoint or images that cannot be read, or a results file that cannot be written.
    pub fn run(&self, screen: &Screen, processes: &Processes) -> anyhow::Result<()> {
        on_device!(&self.device, device => self.measure(&device, screen, processes))
    }

    fn measure<D: Device>(&self, device: &D, screen: &Screen, processes: &Processes) -> anyhow::Result<()> {
        let trained = Trained::open(device, &self.weights)?;
        let images = data::open_held_out(&self.data, self.split.as_deref(), &trained.plan)?;
        let part = HeldOut {
            device,
            plan: &trained.plan,
            images: &images,
            screen: &screen.on_terminal(),
            processes,
        };
        let mut scored = Scored::new(&images.0, &trained.categories)?;
        part.for_each_batch(&trained.model, |batch, found| {
            batch.ids.iter().zip(found).try_for_each(|(id, found)| scored.add(id, found))
        })?;
        scored.gather(processes)?;
        if !processes.is_first() {
            return Ok(());
        }
        let results = scored.to_json()?;
        if let Some(path) = &self.results {
            write_atomic(path, &results).with_context(|| format!("cannot write {}", path.display()))?;
        }
        if scored.unknown() > 0 {
            let unknown = scored.unknown();
            tracing::warn!("{unknown} detections are of categories that the data do not have; left out");
        }
        let figures = scored.figures(&results)?;
        let text = if self.json { json_text(&figures)? } else { text(&figures) };
        crate::shell::printable::print(&text)
    }
}

fn json_text(figures: &Figures) -> anyhow::Result<String> {
    let masks = figures.masks.as_ref().map(as_json);
    let object = json!({ "bbox": as_json(&figures.boxes), "segm": masks, "no_segm": figures.no_masks });
    Ok(serde_json::to_string_pretty(&object)? + "\n")
}

fn text(figures: &Figures) -> String {
    let mut text = format!("boxes\n{}", as_text(&figures.boxes));
    match &figures.masks {
        Some(masks) => text += &format!("\nmasks\n{}", as_text(masks)),
        None => {
            let reason = figures.no_masks.as_deref().unwrap_or("there are none");
            text += &format!("\nmasks are not evaluated: {reason}\n");
        }
    }
    text
}
