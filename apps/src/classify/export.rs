//! `export` of a classifier, which may be one from elsewhere.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kat_backbone::Cpu;
use kat_backbone::checkpoint::TensorMap;
use kat_backbone::checkpoint::model::export;

use super::args::CheckpointArgs;
use super::hub;
use super::trained::Trained;
use crate::onnx::About;
use crate::onnx::classify::{Preparation, classifier};
use crate::onnx::graph::GraphBuilder;
use crate::onnx::pixels::Input;
use crate::onnx::weights::Weights;
use crate::run::state;
use crate::shell::export::{Exported, OnnxArgs, write, write_onnx};

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One safetensors file, which eval and predict need nothing beside
    Safetensors,
    /// A folder as on the Hugging Face hub, which timm loads: model.safetensors, config.json, a model card
    Hf,
    /// The network in ONNX's operators (opset 18), for other runtimes
    Onnx,
}

/// Write a checkpoint's weights, class names and configuration to one small file, to a folder for timm, or its network to an
/// ONNX file
#[derive(Debug, Args)]
pub struct ExportCommand {
    #[command(flatten)]
    source: CheckpointArgs,
    /// What to write
    #[arg(long, value_enum, default_value_t = Format::Safetensors)]
    format: Format,
    /// What the network of --format onnx takes
    #[arg(long, value_enum, default_value_t = Input::Planes)]
    input: Input,
    /// File to write, or the folder of --format hf
    #[arg(value_name = "FILE.safetensors|FILE.onnx|FOLDER")]
    to: PathBuf,
}

impl ExportCommand {
    /// Writes the averaged weights where the checkpoint has them, else the weights.
    ///
    /// # Errors
    /// A file that cannot be read or written, or that is there already.
    pub fn run(&self) -> anyhow::Result<()> {
        let open = || self.source.open(&Cpu::default(), None);
        match self.format {
            Format::Safetensors => write(&self.to, || Ok(open()?.into_map())),
            Format::Hf => hub::write(&open()?, self.measured(), &self.to),
            Format::Onnx => write_onnx(&self.to, &OnnxArgs { input: self.input, size: None }, open),
        }
    }

    /// The accuracy measured with the weights of a run's best checkpoint; of any other file none is known.
    fn measured(&self) -> Option<f64> {
        let best = self.source.weights.checkpoint.file_name().is_some_and(|name| name == "best.safetensors");
        let progress = best.then(|| state::load(&self.source.weights.checkpoint).ok()).flatten()?.1;
        progress.best?.parse().ok()
    }
}

impl Exported for Trained<Cpu> {
    fn into_map(self) -> TensorMap {
        self.map
    }

    fn onnx(
        &self,
        args: &OnnxArgs,
        write: impl FnOnce(GraphBuilder, &About) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let map = export(&self.model);
        let (crop, normalize, input) = (self.plan.eval.crop, self.plan.data.normalize, args.input);
        let preparation = Preparation { input, crop, normalize };
        let graph = classifier(&self.model, &Weights::new(&map), &preparation)?;
        write(graph, &About { task: "classify", classes: &self.classes, input, normalize, crop: Some(crop) })
    }
}
