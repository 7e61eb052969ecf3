//! Which checkpoint to use: one that `train` or `export` wrote, or weights from elsewhere, whose model is recognized or named.

use std::path::{Path, PathBuf};

use clap::Args;
use kat_backbone::checkpoint::recognize::recognize;
use kat_backbone::checkpoint::{Averages, TensorMap, load_choosing};
use kat_backbone::{Device, variants};

use crate::classify::trained::Trained;
use crate::config::TaskKind;
use crate::config::{Override, Plan, from_text_with, preparation, sections};
use crate::run::state;
use crate::shell::Misuse;
use crate::shell::weights::names_in;

/// A checkpoint and how to read it.
#[derive(Debug, Args)]
pub struct CheckpointArgs {
    /// Checkpoint that train or export wrote, or weights from elsewhere (.safetensors, .pth, .npz)
    #[arg(long, value_name = "FILE")]
    pub checkpoint: PathBuf,
    /// The model that a checkpoint from elsewhere is of, such as kat_small_patch16_224 [default: recognized by its tensors]
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Class names of a checkpoint from elsewhere, one a line
    #[arg(long, value_name = "FILE")]
    pub classes: Option<PathBuf>,
    /// Load a checkpoint from elsewhere though parts of its encoder have no place in the model
    #[arg(long)]
    pub allow_unused: bool,
    /// Take the weights of training from a checkpoint from elsewhere, not their averages (EMA)
    #[arg(long)]
    pub no_averages: bool,
    /// Change the model or how images are prepared, such as model.heads=12 or eval.crop=0.9; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

impl CheckpointArgs {
    /// A checkpoint as it is.
    pub fn of(path: &Path) -> Self {
        Self {
            checkpoint: path.to_owned(),
            model: None,
            classes: None,
            allow_unused: false,
            no_averages: false,
            set: Vec::new(),
        }
    }

    /// Reads it. Where neither the checkpoint nor --classes names the classes, `classes` does, and else they are
    /// numbered.
    ///
    /// # Errors
    /// A file that cannot be read or does not fit the model named, or an unknown model.
    pub fn open<D: Device>(&self, device: &D, classes: Option<&[String]>) -> anyhow::Result<Trained<D>> {
        let overrides = self.set.iter().map(|text| Override::parse(text)).collect::<Result<Vec<_>, _>>()?;
        if self.model.is_none() && state::is_described(&self.checkpoint) {
            return Trained::open(device, &self.checkpoint, &overrides);
        }
        let named = self.classes.as_deref().map(names_in).transpose()?;
        if let (Some(path), Some([])) = (&self.classes, named.as_deref()) {
            anyhow::bail!("{}: no class names", path.display());
        }
        let averages = if self.no_averages { Averages::Ignore } else { Averages::Prefer };
        let file = load_choosing(&self.checkpoint, averages)?;
        let (sections, told, count) = match &self.model {
            Some(name) => {
                let variant = variants::named(name).map_err(|e| Misuse(e.to_string()))?;
                let found = recognize(&file).ok();
                let told = found.as_ref().and_then(|found| found.preparation).or(variant.preparation);
                let sections = format!("[model]\nname = {name:?}\n{}", preparation(told));
                let head = found.as_ref().map(|found| found.config.classes).filter(|count| *count > 0);
                (sections, found.and_then(|found| found.classes), head.unwrap_or(variant.config.classes))
            }
            None => self.recognized(&file, &overrides)?,
        };
        let classes = named
            .or(told.filter(|names| names.len() == count))
            .or_else(|| classes.map(<[String]>::to_vec))
            .unwrap_or_else(|| (0..count).map(|i| format!("class {i}")).collect());
        let unused = if self.allow_unused { "allow_unused = true\n" } else { "" };
        let text = sections.replacen("[model]\n", &format!("[model]\n{unused}"), 1) + "[train]\nepochs = 1\n";
        let loaded = from_text_with(&text, &overrides, "--model", TaskKind::Classify)?;
        let plan = Plan::new(loaded, TaskKind::Classify)?;
        Trained::convert(device, (&self.checkpoint, file), plan, classes)
    }

    /// The configuration of the model that the file is of, its class names, and its number of classes.
    fn recognized(
        &self,
        file: &TensorMap,
        overrides: &[Override],
    ) -> anyhow::Result<(String, Option<Vec<String>>, usize)> {
        let shown = self.checkpoint.display();
        let found = recognize(file).map_err(|reason| {
            anyhow::anyhow!(
                "{shown}: {reason}. Weights from elsewhere whose model is not recognized need --model NAME"
            )
        })?;
        let c = &found.config;
        tracing::info!(
            "{shown}: recognized a model of {} blocks of {} channels, patch {}, {} classes",
            c.depth,
            c.dim,
            c.patch_size.height,
            c.classes
        );
        found.notes.iter().for_each(|note| tracing::info!("{shown}: {note}"));
        let sections = sections(&found, overrides)?;
        Ok((sections, found.classes, found.config.classes))
    }
}
