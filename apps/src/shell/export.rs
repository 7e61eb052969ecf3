//! `export`: the weights of a run in one file that eval and predict need nothing beside.

use std::path::{Path, PathBuf};

use clap::Args;
use kat_backbone::checkpoint::{TensorMap, safetensors};

use super::Misuse;
use super::weights::WeightsArgs;

/// Write a checkpoint's weights, class names and configuration to one small file
#[derive(Debug, Args)]
pub struct ExportCommand {
    #[command(flatten)]
    weights: WeightsArgs,
    /// File to write
    #[arg(value_name = "FILE.safetensors")]
    to: PathBuf,
}

impl ExportCommand {
    /// Writes the averaged weights where the checkpoint has them, else the weights; `open` reads it.
    ///
    /// # Errors
    /// Those of `open`, a file that cannot be written, or that is there already.
    pub fn run(&self, open: impl FnOnce(&WeightsArgs) -> anyhow::Result<TensorMap>) -> anyhow::Result<()> {
        write(&self.to, || open(&self.weights))
    }
}

/// Writes what `read` gives to a file that is not there yet.
///
/// # Errors
/// Those of `read`, a file of another extension, one that is there already or cannot be written.
pub fn write(to: &Path, read: impl FnOnce() -> anyhow::Result<TensorMap>) -> anyhow::Result<()> {
    if to.extension().is_none_or(|extension| extension != "safetensors") {
        let reason = "export writes safetensors: name the file so (FILE.safetensors)";
        return Err(Misuse(format!("{}: {reason}", to.display())).into());
    }
    if to.exists() {
        return Err(Misuse(format!("{} exists already", to.display())).into());
    }
    safetensors::save(to, &read()?)?;
    tracing::info!("wrote {}", to.display());
    Ok(())
}
