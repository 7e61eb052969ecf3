//! A trained classifier, as a checkpoint of ours holds it: weights, class names and how images are prepared.

use std::path::Path;

use anyhow::Context;
use kat_backbone::checkpoint::model::{self, stored_config};
use kat_backbone::checkpoint::transfer::{HeadPolicy, LoadPolicy};
use kat_backbone::checkpoint::{TensorMap, check_finite};
use kat_backbone::{Device, Kat};

use super::{CLASSES_KEY, metadata};
use crate::config::TaskKind;
use crate::config::{Override, Plan};
use crate::run::state::{self, PLAN_KEY};

/// A classifier ready to use.
pub struct Trained<D: Device> {
    /// The network; with the averaged weights where the checkpoint has them.
    pub model: Kat<D>,
    /// Class names in the order of their indices.
    pub classes: Vec<String>,
    /// The configuration it was trained with.
    pub plan: Plan,
    /// Weights and description alone, without the state of training.
    pub map: TensorMap,
}

impl<D: Device> Trained<D> {
    /// Reads a checkpoint that `train` or `export` wrote; `overrides` change its configuration.
    ///
    /// # Errors
    /// A file that cannot be read, or that lacks the configuration or the class names.
    pub fn open(device: &D, path: &Path, overrides: &[Override]) -> anyhow::Result<Self> {
        let map = state::weights(&state::open(path)?);
        let shown = path.display();
        let text = |key| {
            state::described(
                &map,
                key,
                path,
                "not a classify checkpoint; weights from elsewhere need --model NAME",
            )
        };
        let classes: Vec<String> = serde_json::from_str(text(CLASSES_KEY)?)
            .with_context(|| format!("{shown}: the class names cannot be read"))?;
        let plan = Plan::from_text(text(PLAN_KEY)?, overrides, &shown.to_string(), TaskKind::Classify)?;
        let config = stored_config(&map)
            .with_context(|| format!("{shown}: the model's configuration is missing or cannot be read"))?;
        anyhow::ensure!(
            config.classes == classes.len(),
            "{shown}: {} class names for a head of {}",
            classes.len(),
            config.classes
        );
        let mut model = Kat::new(device, &config, 0)?;
        check_finite(path, &map)?;
        state::restore(&mut model, &map, "", path)?;
        Ok(Self { model, classes, plan, map })
    }

    /// Brings the weights of a `file` from elsewhere, read from `path`, into the model of `plan`.
    ///
    /// # Errors
    /// A file that does not fit the model or the number of classes.
    pub fn convert(
        device: &D,
        (path, file): (&Path, TensorMap),
        plan: Plan,
        classes: Vec<String>,
    ) -> anyhow::Result<Self> {
        let config = plan.model.kat_config(classes.len())?;
        let mut model = Kat::new(device, &config, 0)?;
        let report =
            model.load_map(file, path, LoadPolicy { head: HeadPolicy::Strict, ..plan.model.load })?;
        tracing::info!("weights from {}: {report}", path.display());
        let mut map = model::export(&model);
        map.metadata = metadata(&config, &classes)?;
        map.metadata.insert(PLAN_KEY.to_owned(), plan.to_toml());
        Ok(Self { model, classes, plan, map })
    }

    /// Side of the images it takes, in pixels.
    pub fn side(&self) -> u32 {
        self.model.config().image_size.height as u32
    }
}
