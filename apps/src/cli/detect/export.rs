//! `export`: the weights of a run in one file that eval and predict need nothing beside.

use std::path::PathBuf;

use clap::Args;
use kat_backbone::Cpu;
use kat_backbone::checkpoint::safetensors;

use crate::cli::Misuse;
use crate::task::detect::trained::Trained;

/// Write a checkpoint's weights, categories and configuration to one small file
#[derive(Debug, Args)]
pub struct ExportCommand {
    /// Checkpoint that train wrote
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
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
        if self.to.exists() {
            return Err(Misuse(format!("{} exists already", self.to.display())).into());
        }
        let trained = Trained::open(&Cpu::default(), &self.checkpoint)?;
        safetensors::save(&self.to, &trained.map)?;
        tracing::info!("wrote {}", self.to.display());
        Ok(())
    }
}
