//! `export` of a classifier, which may be one from elsewhere.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kat_backbone::Cpu;

use super::args::CheckpointArgs;
use super::hub;
use crate::run::state;
use crate::shell::export::write;

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One safetensors file, which eval and predict need nothing beside
    Safetensors,
    /// A folder as on the Hugging Face hub, which timm loads: model.safetensors, config.json, a model card
    Hf,
}

/// Write a checkpoint's weights, class names and configuration to one small file, or to a folder for timm
#[derive(Debug, Args)]
pub struct ExportCommand {
    #[command(flatten)]
    source: CheckpointArgs,
    /// What to write
    #[arg(long, value_enum, default_value_t = Format::Safetensors)]
    format: Format,
    /// File to write, or the folder of --format hf
    #[arg(value_name = "FILE.safetensors|FOLDER")]
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
            Format::Safetensors => write(&self.to, || Ok(open()?.map)),
            Format::Hf => hub::write(&open()?, self.measured(), &self.to),
        }
    }

    /// The accuracy measured with the weights of a run's best checkpoint; of any other file none is known.
    fn measured(&self) -> Option<f64> {
        let best = self.source.checkpoint.file_name().is_some_and(|name| name == "best.safetensors");
        let progress = best.then(|| state::load(&self.source.checkpoint).ok()).flatten()?.1;
        progress.best?.parse().ok()
    }
}
