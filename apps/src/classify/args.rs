//! Which checkpoint to use: one that `train` or `export` wrote, or weights from elsewhere, whose model is recognized or named.

use std::path::Path;

use clap::Args;
use kat_backbone::checkpoint::TensorMap;
use kat_backbone::checkpoint::recognize::recognize;
use kat_backbone::{Device, variants};

use crate::classify::trained::Trained;
use crate::config::{Override, Plan, TaskKind, preparation, sections};
use crate::shell::Misuse;
use crate::shell::weights::{WeightsArgs, names_in};

/// A checkpoint and how to read it.
#[derive(Debug, Args)]
pub struct CheckpointArgs {
    #[command(flatten)]
    pub(super) weights: WeightsArgs,
    /// The model that a checkpoint from elsewhere is of, such as kat_small_patch16_224 [default: recognized by its tensors]
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
}

impl CheckpointArgs {
    /// A checkpoint as it is.
    pub fn of(path: &Path) -> Self {
        Self { weights: WeightsArgs::own(path), model: None }
    }

    /// Reads it. Where neither the checkpoint nor --classes names the classes, `classes` does, and else they are
    /// numbered.
    ///
    /// # Errors
    /// A file that cannot be read or does not fit the model named, or an unknown model.
    pub fn open<D: Device>(&self, device: &D, classes: Option<&[String]>) -> anyhow::Result<Trained<D>> {
        let (weights, overrides) = (&self.weights, self.weights.overrides()?);
        if self.model.is_none() && weights.is_described() {
            return Trained::open(device, &weights.checkpoint, &overrides);
        }
        let named = weights.classes.as_deref().map(names_in).transpose()?;
        if let (Some(path), Some([])) = (&weights.classes, named.as_deref()) {
            anyhow::bail!("{}: no class names", path.display());
        }
        let file = weights.read()?;
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
        let unused = if weights.allow_unused { "allow_unused = true\n" } else { "" };
        let text = sections.replacen("[model]\n", &format!("[model]\n{unused}"), 1) + "[train]\nepochs = 1\n";
        let plan = Plan::from_text(&text, &overrides, "--model", TaskKind::Classify)?;
        Trained::convert(device, (&weights.checkpoint, file), plan, classes)
    }

    /// The configuration of the model that the file is of, its class names, and its number of classes.
    fn recognized(
        &self,
        file: &TensorMap,
        overrides: &[Override],
    ) -> anyhow::Result<(String, Option<Vec<String>>, usize)> {
        let shown = self.weights.checkpoint.display();
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
        self.weights.tell(&found.notes);
        let sections = sections(&found, overrides)?;
        Ok((sections, found.classes, found.config.classes))
    }
}
