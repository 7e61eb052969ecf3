//! A trained detector, as a checkpoint of ours holds it: weights, categories and how images are prepared.

use std::path::Path;

use anyhow::Context;
use kat_backbone::Device;
use kat_backbone::checkpoint::{TensorMap, check_finite};
use kat_coco::json::Category;
use kat_mask_rcnn::{MaskRcnn, MaskRcnnConfig};

use super::{CATEGORIES_KEY, CategoryName, DETECTOR_KEY, foreign};
use crate::config::TaskKind;
use crate::config::{Override, Plan};
use crate::run::state::{self, PLAN_KEY};
use crate::shell::weights::WeightsArgs;

/// A detector ready to use.
pub struct Trained<D: Device> {
    /// The network; with the averaged weights where the checkpoint has them.
    pub model: MaskRcnn<D>,
    /// Categories in the order of their classes.
    pub categories: Vec<Category>,
    /// The configuration it was trained with.
    pub plan: Plan,
    /// Weights and description alone, without the state of training.
    pub map: TensorMap,
}

impl<D: Device> Trained<D> {
    /// Reads a checkpoint that `train` or `export` wrote, or a detector from elsewhere.
    ///
    /// # Errors
    /// A file that cannot be read, or that is of no detector that is known.
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
        let text = |key| state::described(&map, key, path, "not a detect checkpoint");
        let names: Vec<CategoryName> = serde_json::from_str(text(CATEGORIES_KEY)?)
            .with_context(|| format!("{shown}: the categories cannot be read"))?;
        let plan = Plan::from_text(text(PLAN_KEY)?, overrides, &shown.to_string(), TaskKind::Detect)?;
        let config: MaskRcnnConfig = serde_json::from_str(text(DETECTOR_KEY)?)
            .with_context(|| format!("{shown}: the model's configuration cannot be read"))?;
        let (found, expected) = (names.len(), config.classes);
        anyhow::ensure!(found == expected, "{shown}: {found} categories for a model of {expected}");
        let mut model = MaskRcnn::new(device, &config, 0)?;
        check_finite(path, &map)?;
        state::restore(&mut model, &map, "", path)?;
        let categories =
            names.into_iter().map(|c| Category { id: c.id, name: c.name, supercategory: String::new() });
        Ok(Self { model, categories: categories.collect(), plan, map })
    }
}
