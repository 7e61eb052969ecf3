//! Which checkpoint to use: one that `train` or `export` wrote, or weights from elsewhere with a model's name.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use kat_backbone::{Device, variants};
use kat_images::files::read_text;

use crate::classify::trained::Trained;
use crate::config::TaskKind;
use crate::config::{Override, Plan, from_text_with};
use crate::shell::Misuse;

/// A checkpoint and how to read it.
#[derive(Debug, Args)]
pub struct CheckpointArgs {
    /// Checkpoint that train or export wrote; any other (.safetensors, .pth, .npz) with --model
    #[arg(long, value_name = "FILE")]
    pub checkpoint: PathBuf,
    /// The model that a checkpoint from elsewhere is of, such as kat_small_patch16_224
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Class names of a checkpoint from elsewhere, one a line
    #[arg(long, value_name = "FILE", requires = "model")]
    pub classes: Option<PathBuf>,
    /// Load a checkpoint from elsewhere though parts of its encoder have no place in the model
    #[arg(long, requires = "model")]
    pub allow_unused: bool,
    /// Change how images are prepared, such as eval.crop=0.9; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

impl CheckpointArgs {
    /// Reads it. Where neither the checkpoint nor --classes names the classes, `classes` does, and else they are
    /// numbered.
    ///
    /// # Errors
    /// A file that cannot be read or does not fit the model named, or an unknown model.
    pub fn open<D: Device>(&self, device: &D, classes: Option<&[String]>) -> anyhow::Result<Trained<D>> {
        let overrides = self.set.iter().map(|text| Override::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let Some(name) = &self.model else {
            return Trained::open(device, &self.checkpoint, &overrides);
        };
        let named = self.classes.as_deref().map(names_in).transpose()?;
        let variant = variants::named(name).map_err(|e| Misuse(e.to_string()))?;
        let count = variant.config.classes;
        let classes = named
            .or_else(|| classes.map(<[String]>::to_vec))
            .unwrap_or_else(|| (0..count).map(|i| format!("class {i}")).collect());
        let unused = self.allow_unused;
        let text = format!("[model]\nname = {name:?}\nallow_unused = {unused}\n[train]\nepochs = 1\n");
        let loaded = from_text_with(&text, &overrides, "--model", TaskKind::Classify)?;
        let plan = Plan::new(loaded, TaskKind::Classify)?;
        Trained::convert(device, &self.checkpoint, plan, classes)
    }
}

fn names_in(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = read_text(path).with_context(|| format!("cannot read {}", path.display()))?;
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|n| !n.is_empty()).map(str::to_owned).collect();
    anyhow::ensure!(!names.is_empty(), "{}: no class names", path.display());
    Ok(names)
}
