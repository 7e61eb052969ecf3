//! `segment eval`: mIoU of a checkpoint on annotated images.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use image::GrayImage;
use kat_ade20k::miou::{ConfusionMatrix, LabelConfig, SegmentationScores};
use kat_backbone::Device;
use kat_images::encode::save_png;

use super::args::ViewArgs;
use crate::run::processes::Processes;
use crate::run::run_dir::write_atomic;
use crate::segment::data::{names_of, open_held_out};
use crate::segment::held_out::HeldOut;
use crate::segment::trained::Trained;
use crate::shell::Misuse;
use crate::shell::device::on_device;
use crate::shell::flags::DeviceArgs;
use crate::shell::printable::print;
use crate::shell::progress::Screen;
use crate::shell::weights::WeightsArgs;

/// Measure a checkpoint on annotated images: aAcc, mIoU, mAcc, and each class
#[derive(Debug, Args)]
#[command(after_help = "Examples, after the program's name:\n  \
    eval --checkpoint runs/segment/best.safetensors --data data/shapes_segment\n  \
    eval --checkpoint m.safetensors --data ADEChallengeData2016 --stride 341 --predictions out/\n  \
    eval --checkpoint m.safetensors --data ADEChallengeData2016 --scales 0.5,0.75,1,1.25,1.5,1.75 --flip")]
pub struct EvalCommand {
    #[command(flatten)]
    weights: WeightsArgs,
    /// Root of the data: images/SPLIT beside annotations/SPLIT, or another pair of folders
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The split to look at [default: as trained, else validation, val or the like; without one, what training held out of these
    /// data, of others all images]
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    #[command(flatten)]
    views: ViewArgs,
    /// Write the predicted label maps to this folder: gray PNGs, 0 the first class (ADE20K's coding of results)
    #[arg(long, value_name = "DIR")]
    predictions: Option<PathBuf>,
    /// Write the figures to this file as JSON
    #[arg(long, value_name = "FILE.json")]
    output: Option<PathBuf>,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

impl EvalCommand {
    /// Prints to stdout.
    ///
    /// # Errors
    /// A checkpoint or data that cannot be read, data of other classes, or files that cannot be written.
    pub fn run(&self, screen: &Screen, processes: &Processes) -> anyhow::Result<()> {
        on_device!(&self.device, device => self.measure(&device, screen, processes))
    }

    fn measure<D: Device>(&self, device: &D, screen: &Screen, processes: &Processes) -> anyhow::Result<()> {
        let trained = Trained::open(device, &self.weights)?;
        // data without names of their own are taken to have the checkpoint's
        let data = &trained.plan.data;
        let found = names_of(&self.data, data)?.unwrap_or_else(|| trained.classes.clone());
        if found != trained.classes {
            let (a, b) = (found.len(), trained.classes.len());
            let differing = found.iter().zip(&trained.classes).find(|(a, b)| a != b);
            let detail = differing.map_or(String::new(), |(a, b)| format!(", \"{a}\" is \"{b}\" there"));
            let dir = self.data.display();
            return Err(Misuse(format!("{dir} has {a} classes, the checkpoint {b}{detail}")).into());
        }
        let settings = self.views.settings(&trained.plan)?;
        let images = open_held_out(&self.data, self.split.as_deref(), &trained.plan, &trained.classes)?;
        let part = HeldOut {
            device,
            model: &trained.model,
            settings: &settings,
            images: &images,
            plan: &trained.plan,
            screen: &screen.on_terminal(),
            processes,
        };
        let mut matrix = ConfusionMatrix::new(LabelConfig::new(trained.classes.len()))?;
        let mut count = 0u64;
        part.for_each_image(|seen| {
            let counted = matrix.update(seen.labels.as_raw(), seen.predicted.as_raw());
            counted.with_context(|| seen.sample.id.clone())?;
            count += 1;
            match &self.predictions {
                Some(dir) => save(dir, &seen.sample.id, seen.predicted),
                None => Ok(()),
            }
        })?;
        processes.add_counts(matrix.counts_mut().chain([&mut count]))?;
        if !processes.is_first() {
            return Ok(());
        }
        ensure!(count > 0, "{}: not one image could be looked at", images.images.display());
        let scores = matrix.scores();
        let json = to_json(&scores, &trained.classes, count)?;
        if let Some(path) = &self.output {
            write_atomic(path, json.as_bytes())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        print(&if self.json { json } else { as_text(&scores, &trained.classes, count) })
    }
}

/// Writes a label map as DIR/ID.png, folders of the id included.
fn save(dir: &Path, id: &str, labels: &GrayImage) -> anyhow::Result<()> {
    let path = dir.join(id).with_extension("png");
    let refused = || format!("cannot write {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(refused)?;
    }
    save_png(labels, &path).with_context(refused)
}

fn to_json(scores: &SegmentationScores, names: &[String], images: u64) -> anyhow::Result<String> {
    let mut object = serde_json::to_value(scores)?;
    object["classes"] = names.into();
    object["images"] = images.into();
    Ok(serde_json::to_string_pretty(&object)? + "\n")
}

fn as_text(scores: &SegmentationScores, names: &[String], images: u64) -> String {
    let percent = |v: f64| if v.is_nan() { "-".to_owned() } else { format!("{:.2}", 100.0 * v) };
    let width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0).max("class".len());
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{:<width$} {:>7} {:>7}", "class", "IoU", "Acc");
    for ((name, iou), acc) in names.iter().zip(&scores.iou).zip(&scores.acc) {
        let _ = writeln!(out, "{name:<width$} {:>7} {:>7}", percent(*iou), percent(*acc));
    }
    let (a, i, c) = (percent(scores.a_acc), percent(scores.m_iou), percent(scores.m_acc));
    let _ = writeln!(out, "\naAcc {a}  mIoU {i}  mAcc {c}  ({images} images, percent)");
    out
}
