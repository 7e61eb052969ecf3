//! A trained segmentor, as a checkpoint of ours holds it: weights, class names and how images are prepared.

use std::path::Path;

use anyhow::Context;
use kat_backbone::Device;
use kat_backbone::checkpoint::{TensorMap, check_finite};
use kat_backbone::ops::batch_norm;
use kat_upernet::Segmentor;

use super::model::segmentor_config;
use super::{CLASSES_KEY, foreign};
use crate::config::TaskKind;
use crate::config::{Override, Plan};
use crate::run::state::{self, PLAN_KEY};
use crate::shell::weights::WeightsArgs;

/// A segmentor ready to use.
pub struct Trained<D: Device> {
    /// The network; with the averaged weights where the checkpoint has them.
    pub model: Segmentor<D>,
    /// Class names in the order of their indices.
    pub classes: Vec<String>,
    /// The configuration it was trained with.
    pub plan: Plan,
    /// Weights and description alone, without the state of training.
    pub map: TensorMap,
}

impl<D: Device> Trained<D> {
    /// Reads a checkpoint that `train` or `export` wrote, or a segmentor from elsewhere.
    ///
    /// # Errors
    /// A file that cannot be read, or that is of no segmentor that is known.
    pub fn open(device: &D, args: &WeightsArgs) -> anyhow::Result<Self> {
        match args.is_described() {
            true => Self::own(device, &args.checkpoint, &args.overrides()?),
            false => foreign::open(device, args),
        }
    }

    /// Reads a checkpoint that `train` or `export` wrote; `overrides` change its configuration.
    fn own(device: &D, path: &Path, overrides: &[Override]) -> anyhow::Result<Self> {
        let map = state::weights(&state::open(path)?);
        let shown = path.display();
        let text = |key| state::described(&map, key, path, "not a segment checkpoint");
        let classes: Vec<String> = serde_json::from_str(text(CLASSES_KEY)?)
            .with_context(|| format!("{shown}: the class names cannot be read"))?;
        let plan = Plan::from_text(text(PLAN_KEY)?, overrides, &shown.to_string(), TaskKind::Segment)
            .with_context(|| format!("{shown} is not a segment checkpoint"))?;
        let config = segmentor_config(&plan, classes.len())?;
        let mut model = Segmentor::new(device, &config, &batch_norm::Options::default(), 0)?;
        check_finite(path, &map)?;
        state::restore(&mut model, &map, "", path)?;
        Ok(Self { model, classes, plan, map })
    }
}
