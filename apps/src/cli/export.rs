//! `export`: the weights of a run in one file that eval and predict need nothing beside.

use std::path::PathBuf;

use clap::Args;
use kat_backbone::Cpu;
use kat_backbone::checkpoint::safetensors;

use super::Misuse;
use super::source::CheckpointArgs;

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
        if self.to.exists() {
            return Err(Misuse(format!("{} exists already", self.to.display())).into());
        }
        let trained = self.source.open(&Cpu::default(), None)?;
        safetensors::save(&self.to, &trained.map)?;
        tracing::info!("wrote {}", self.to.display());
        Ok(())
    }
}
