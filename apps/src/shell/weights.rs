//! Which checkpoint to use: one that `train` or `export` wrote, or one from elsewhere.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use kat_backbone::Device;
use kat_backbone::checkpoint::transfer::{HeadPolicy, LeftoverPolicy, LoadPolicy};
use kat_backbone::checkpoint::{Averages, LoadReport, TensorMap, load_choosing, model, told};
use kat_backbone::nn::Module;
use kat_images::files::read_text;

use crate::config::{Override, Plan, TaskKind};
use crate::run::state::{self, PLAN_KEY};

/// A checkpoint and how to read it.
#[derive(Debug, Args)]
pub struct WeightsArgs {
    /// Checkpoint that train or export wrote, or weights from elsewhere (.safetensors, .pth, .pkl, .npz)
    #[arg(long, value_name = "FILE")]
    pub checkpoint: PathBuf,
    /// Class names of a checkpoint from elsewhere, one a line
    #[arg(long, value_name = "FILE")]
    pub classes: Option<PathBuf>,
    /// Load a checkpoint from elsewhere though parts of it have no place in the model
    #[arg(long)]
    pub allow_unused: bool,
    /// Take the weights of training from a checkpoint from elsewhere, not their averages (EMA)
    #[arg(long)]
    pub no_averages: bool,
    /// Change what a checkpoint says of itself or how images are prepared, such as model.heads=12; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

impl WeightsArgs {
    /// A checkpoint of ours, as it is.
    pub fn own(path: &Path) -> Self {
        Self {
            checkpoint: path.to_owned(),
            classes: None,
            allow_unused: false,
            no_averages: false,
            set: Vec::new(),
        }
    }

    /// Whether the checkpoint says of itself how it was trained.
    pub fn is_described(&self) -> bool {
        state::is_described(&self.checkpoint)
    }

    /// The changes to the configuration.
    ///
    /// # Errors
    /// A change that is no `section.key=value`.
    pub fn overrides(&self) -> anyhow::Result<Vec<Override>> {
        Ok(self.set.iter().map(|text| Override::parse(text)).collect::<Result<_, _>>()?)
    }

    /// Reads a checkpoint from elsewhere.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(&self) -> anyhow::Result<TensorMap> {
        Ok(load_choosing(&self.checkpoint, self.policy().averages)?)
    }

    /// What may differ between it and the model.
    pub fn policy(&self) -> LoadPolicy {
        LoadPolicy {
            head: HeadPolicy::Strict,
            leftover: if self.allow_unused { LeftoverPolicy::Allow } else { LeftoverPolicy::Refuse },
            averages: if self.no_averages { Averages::Ignore } else { Averages::Prefer },
        }
    }

    /// Names of `count` classes: those of the file that is named for them, else those that the checkpoint tells, else `usual`
    /// ones if there are as many, else numbers.
    ///
    /// # Errors
    /// A file that cannot be read or names another number of classes.
    pub fn names(&self, map: &TensorMap, count: usize, usual: &[&str]) -> anyhow::Result<Vec<String>> {
        if let Some(path) = &self.classes {
            let names = names_in(path)?;
            let (shown, found) = (path.display(), names.len());
            anyhow::ensure!(
                found == count,
                "{shown}: {found} class names, the checkpoint has {count} classes"
            );
            return Ok(names);
        }
        let told = map.metadata.get(told::CLASSES_KEY).and_then(|text| serde_json::from_str(text).ok());
        Ok(match told.filter(|names: &Vec<String>| names.len() == count) {
            Some(names) => names,
            None if usual.len() == count => usual.iter().map(|name| (*name).to_owned()).collect(),
            None => (0..count).map(|i| format!("class {i}")).collect(),
        })
    }

    /// The plan of a model from elsewhere that the configuration `text` describes.
    ///
    /// # Errors
    /// A change or a value that does not do.
    pub fn plan(&self, text: &str, overrides: &[Override], task: TaskKind) -> anyhow::Result<Plan> {
        Ok(Plan::from_text(text, overrides, &self.checkpoint.display().to_string(), task)?)
    }

    /// The weights of a model that was loaded from elsewhere, described by `metadata` as one of ours; says what `report` says.
    pub fn described<D: Device, const N: usize>(
        &self,
        model: &impl Module<D>,
        report: &LoadReport,
        plan: &Plan,
        metadata: [(&str, String); N],
    ) -> TensorMap {
        tracing::info!("weights from {}: {report}", self.checkpoint.display());
        let mut map = model::export(model);
        map.metadata.extend(metadata.map(|(key, text)| (key.to_owned(), text)));
        map.metadata.insert(PLAN_KEY.to_owned(), plan.to_toml());
        map
    }

    /// Says what was recognized.
    pub fn tell(&self, notes: &[String]) {
        notes.iter().for_each(|note| tracing::info!("{}: {note}", self.checkpoint.display()));
    }
}

/// The names in a file, one a line.
///
/// # Errors
/// A file that cannot be read.
pub fn names_in(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = read_text(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.lines().map(str::trim).filter(|n| !n.is_empty()).map(str::to_owned).collect())
}
