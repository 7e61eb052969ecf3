//! `inspect`: what a file of weights holds, and which named models it fits.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use kat_backbone::checkpoint::family::{self, Encoder};
use kat_backbone::checkpoint::recognize::recognize;
use kat_backbone::checkpoint::{Averages, TensorMap, load_with_format};
use kat_mask_rcnn::recognize::{self as detector, is_detector};
use kat_upernet::recognize::{self as segmentor, is_segmentor};
use serde::Serialize;

use super::printable::{one_line, print};

/// Show what a file of weights holds and which named models it fits
#[derive(Debug, Args)]
#[command(
    after_help = "Reads safetensors, PyTorch's .pth and the original ViT's .npz; nothing in the file is \
    executed.\n\nExamples, after the program's name:\n  \
    inspect kat_small.pth\n  inspect runs/classify/best.safetensors --json"
)]
pub struct InspectCommand {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Inspection {
    file: String,
    format: &'static str,
    values: usize,
    not_finite: Vec<String>,
    metadata: BTreeMap<String, String>,
    encoder: Option<String>,
    recognized: Vec<String>,
    fits: Vec<ModelFit>,
    notes: Vec<String>,
    tensors: BTreeMap<String, Vec<usize>>,
}

#[derive(Serialize)]
struct ModelFit {
    model: String,
    loaded: usize,
    obstacle: Option<String>,
    notes: Vec<String>,
}

impl InspectCommand {
    /// Prints to stdout.
    ///
    /// # Errors
    /// A file that cannot be read or is no checkpoint.
    pub fn run(&self) -> anyhow::Result<()> {
        let (format, map) = load_with_format(&self.file, Averages::Prefer)?;
        let fits = family::fits(&map)?;
        let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        let inspection = Inspection {
            file: self.file.display().to_string(),
            format: format.map_or("unknown", |format| format.name()),
            values: map.tensors.values().map(|tensor| tensor.data.len()).sum(),
            not_finite: map
                .tensors
                .iter()
                .filter(|(_, tensor)| !finite(&tensor.data))
                .map(|(name, _)| name.clone())
                .collect(),
            recognized: recognized(&map),
            encoder: Encoder::of(&map).map(|encoder| in_words(&encoder)),
            fits: fits
                .into_iter()
                .map(|f| ModelFit { model: f.name, loaded: f.loaded, obstacle: f.obstacle, notes: f.notes })
                .collect(),
            metadata: map.metadata,
            notes: map.notes,
            tensors: map.tensors.into_iter().map(|(name, tensor)| (name, tensor.shape)).collect(),
        };
        match self.json {
            true => print(&(serde_json::to_string_pretty(&inspection)? + "\n")),
            false => print(&as_text(&inspection)),
        }
    }
}

/// The model that programs take the file for, or why there is none; and what they will ask for.
fn recognized(map: &TensorMap) -> Vec<String> {
    let (what, found) = if is_detector(map) {
        ("a detector: detect eval|predict|train", detector::recognize(map).map(|found| found.backbone))
    } else if is_segmentor(map) {
        ("a segmentor: segment eval|predict|train", segmentor::recognize(map).map(|found| found.backbone))
    } else {
        ("a classifier or an encoder: classify eval|predict|train", recognize(map))
    };
    match found {
        Err(reason) => vec![format!("not recognized: {reason}")],
        Ok(found) => {
            let asked =
                found.undecided.iter().map(|(key, values)| format!("to be given: model.{key} ({values})"));
            std::iter::once(what.to_owned()).chain(found.notes.iter().cloned()).chain(asked).collect()
        }
    }
}

fn in_words(encoder: &Encoder) -> String {
    let patch = encoder.patch.map_or(String::new(), |(h, w)| format!(", patch {h}x{w}"));
    let head = encoder.classes.map_or(", no head".to_owned(), |classes| format!(", head of {classes}"));
    let traits: String = encoder.traits.iter().map(|name| format!(", {name}")).collect();
    format!("{} blocks of {} channels{patch}{head}{traits}", encoder.depth, encoder.dim)
}

/// Longest metadata shown whole.
const SHOWN: usize = 100;

fn as_text(inspection: &Inspection) -> String {
    let mut out = String::new();
    let (tensors, values) = (inspection.tensors.len(), inspection.values);
    // Writing to a string cannot fail.
    let file = one_line(&inspection.file);
    let _ = writeln!(out, "{file}: {}, {tensors} tensors, {values} values", inspection.format);
    for (key, value) in &inspection.metadata {
        let short: String = value.chars().take(SHOWN).collect();
        let more = if short.len() < value.len() { " …" } else { "" };
        let _ = writeln!(out, "  {} = {}{more}", one_line(key), one_line(&short));
    }
    inspection.notes.iter().for_each(|note| out += &format!("  note: {}\n", one_line(note)));
    for name in &inspection.not_finite {
        let _ = writeln!(out, "  {} holds values that are no numbers", one_line(name));
    }
    let encoder = inspection.encoder.as_deref().unwrap_or("none that is known");
    let _ = writeln!(out, "encoder: {encoder}");
    inspection.recognized.iter().for_each(|line| out += &format!("  {}\n", one_line(line)));
    for fit in &inspection.fits {
        match &fit.obstacle {
            None => {
                let notes: String = fit.notes.iter().map(|note| format!("; {}", one_line(note))).collect();
                let _ = writeln!(out, "fits {}: {} tensors{notes}", fit.model, fit.loaded);
            }
            Some(obstacle) => {
                let _ = writeln!(out, "does not fit {}: {}", fit.model, one_line(obstacle));
            }
        }
    }
    let width = inspection.tensors.keys().map(String::len).max().unwrap_or(0);
    for (name, shape) in &inspection.tensors {
        let _ = writeln!(out, "  {:width$}  {shape:?}", one_line(name));
    }
    out
}
