//! `export` of a classifier, which may be one from elsewhere.

use std::path::PathBuf;

use clap::Args;
use kat_backbone::Cpu;

use super::args::CheckpointArgs;
use crate::shell::export::write;

/// Write a checkpoint's weights, class names and configuration to one small file
#[derive(Debug, Args)]
pub struct ExportCommand {
    #[command(flatten)]
    source: CheckpointArgs,
    /// File to write
    #[arg(value_name = "FILE.safetensors")]
    to: PathBuf,
}

impl ExportCommand {
    /// Writes the averaged weights where the checkpoint has them, else the weights.
    ///
    /// # Errors
    /// A file that cannot be read or written, or that is there already.
    pub fn run(&self) -> anyhow::Result<()> {
        write(&self.to, || Ok(self.source.open(&Cpu::default(), None)?.map))
    }
}
