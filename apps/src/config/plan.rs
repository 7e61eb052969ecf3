//! What will be done: a configuration whose values have been checked against each other.

use std::path::PathBuf;

use super::check::Check;
use super::data::DataPlan;
use super::error::ConfigError;
use super::kinds::LrScaling;
use super::load::{Loaded, differences, from_text_with, to_text};
use super::model::ModelPlan;
use super::overrides::Override;
use super::raw::{self, Augment, Detect, Eval, Optimizer, RawConfig, Segment, Train};
use super::task::TaskKind;
use crate::run::schedule::Schedule;

/// How long training goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duration {
    /// Passes over the training part.
    Epochs(usize),
    /// Optimizer steps.
    Steps(usize),
}

impl Duration {
    /// Optimizer steps of the whole run.
    pub fn steps(self, steps_per_epoch: usize) -> usize {
        match self {
            Duration::Epochs(n) => n * steps_per_epoch,
            Duration::Steps(n) => n,
        }
    }
}

/// A checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The program that runs it.
    pub task: TaskKind,
    /// Which backbone.
    pub model: ModelPlan,
    /// Where the samples are and how they are read.
    pub data: DataPlan,
    /// How long.
    pub duration: Duration,
    /// In what batches, and with what care.
    pub train: Train,
    /// AdamW.
    pub optimizer: Optimizer,
    /// The learning rate over time.
    pub schedule: raw::Schedule,
    /// Random changes to training images.
    pub augment: Augment,
    /// How the held-out part is evaluated.
    pub eval: Eval,
    /// Where the run's files go.
    pub output: PathBuf,
    /// Whether TensorBoard event files are written.
    pub tensorboard: bool,
    /// Whether report.html and plots are written at the end.
    pub report: bool,
    /// Mask R-CNN; read by `detect` only.
    pub detect: Detect,
    /// UperNet; read by `segment` only.
    pub segment: Segment,
    /// Processes that train together: the launcher's, not the configuration's.
    pub ranks: usize,
    /// All of it as typed, for the record.
    raw: RawConfig,
}

impl Plan {
    /// Checks `loaded`.
    ///
    /// # Errors
    /// The first value that does not do, with file, key, value and what would do.
    pub fn new(loaded: Loaded, task: TaskKind) -> Result<Self, ConfigError> {
        let Loaded { raw, origin } = loaded;
        let check = Check { origin: &origin };
        let model = ModelPlan::new(&raw.model, &check)?;
        check.data(&raw)?;
        let data = DataPlan::new(&raw, &check, task)?;
        check.optimization(&raw)?;
        check.augmentation(&raw)?;
        match task {
            TaskKind::Classify => {}
            TaskKind::Detect => check.detect(&raw)?,
            TaskKind::Segment => check.segment(&raw)?,
        }
        let duration = match (raw.train.epochs, raw.train.steps) {
            (Some(n), None) if n > 0 => Duration::Epochs(n),
            (None, Some(n)) if n > 0 => Duration::Steps(n),
            (Some(_), Some(n)) => {
                return Err(check.bad("train.steps", n, "nothing beside train.epochs: give one of the two"));
            }
            (None, None) => return Err(check.bad("train.epochs", "missing", "train.epochs or train.steps")),
            _ => return Err(check.bad("train.epochs", 0, "at least 1")),
        };
        let RawConfig { train, optimizer, schedule, augment, eval, detect, segment, .. } = raw.clone();
        let (tensorboard, report) = (raw.output.tensorboard, raw.output.report);
        let output = raw.output.directory(task);
        Ok(Self {
            task,
            model,
            data,
            duration,
            train,
            optimizer,
            schedule,
            augment,
            eval,
            output,
            tensorboard,
            report,
            detect,
            segment,
            ranks: 1,
            raw,
        })
    }

    /// Reads a resolved configuration, such as a checkpoint keeps, with `overrides` applied in order, and checks it.
    ///
    /// # Errors
    /// As [`from_text_with`] and [`Plan::new`].
    pub fn from_text(
        text: &str,
        overrides: &[Override],
        origin: &str,
        task: TaskKind,
    ) -> Result<Self, ConfigError> {
        Self::new(from_text_with(text, overrides, origin, task)?, task)
    }

    /// The resolved configuration as TOML, for the run directory and the checkpoints.
    pub fn to_toml(&self) -> String {
        to_text(&self.raw, self.task)
    }

    /// "section.key: there -> here" for each value that is another one in `other`.
    pub fn differences_from(&self, other: &Loaded) -> Vec<String> {
        differences(&other.raw, &self.raw)
    }

    /// Images that contribute to one optimizer step.
    pub fn images_per_step(&self) -> usize {
        self.ranks * self.train.batch_size * self.train.accumulate
    }

    /// "global batch 1024 = 8 ranks × 128 × 1 accumulated".
    pub fn batch_in_words(&self) -> String {
        let (all, ranks, t) = (self.images_per_step(), self.ranks, &self.train);
        format!("global batch {all} = {ranks} ranks × {} × {} accumulated", t.batch_size, t.accumulate)
    }

    /// The full learning rate, scaled by the batch where the configuration says so.
    pub fn peak_lr(&self) -> f64 {
        let o = &self.optimizer;
        match (o.lr_batch, o.lr_scaling) {
            (0, _) | (_, LrScaling::None) => o.lr,
            (batch, LrScaling::Linear) => o.lr * self.images_per_step() as f64 / batch as f64,
            (batch, LrScaling::Sqrt) => o.lr * (self.images_per_step() as f64 / batch as f64).sqrt(),
        }
    }

    /// The learning rate as a function of the step, for an epoch of this many steps.
    pub fn schedule(&self, steps_per_epoch: usize) -> Schedule {
        Schedule::new(&self.schedule, self.peak_lr(), self.duration.steps(steps_per_epoch), steps_per_epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;
    use crate::config::model::ModelBase;

    fn plan(changes: &[&str], task: TaskKind) -> Result<Plan, ConfigError> {
        let base = ["model.name=kat_tiny_patch16_224", "train.epochs=3"];
        let overrides: Vec<_> = base.iter().chain(changes).map(|s| Override::parse(s).unwrap()).collect();
        Plan::new(load(None, &overrides, task)?, task)
    }

    #[test]
    fn a_plain_plan_passes_and_scales_the_rate() {
        let plan = plan(
            &["optimizer.lr=1e-3", "optimizer.lr_batch=1024", "train.batch_size=64", "train.accumulate=2"],
            TaskKind::Classify,
        )
        .unwrap();
        assert_eq!(plan.peak_lr(), 1e-3 * 128.0 / 1024.0);
        let mut ranks = Plan { ranks: 2, ..plan.clone() };
        assert_eq!(ranks.peak_lr(), 1e-3 * 256.0 / 1024.0);
        assert_eq!(ranks.batch_in_words(), "global batch 256 = 2 ranks × 64 × 2 accumulated");
        ranks.optimizer.lr_scaling = LrScaling::Sqrt;
        assert_eq!(ranks.peak_lr(), 0.5e-3);
        ranks.optimizer.lr_scaling = LrScaling::None;
        assert_eq!(ranks.peak_lr(), 1e-3);
        assert_eq!(plan.duration.steps(50), 150);
        assert_eq!(plan.output, PathBuf::from("runs/classify"));
        assert!(plan.to_toml().contains("kat_tiny_patch16_224"));
    }

    #[test]
    fn every_bad_value_is_named_with_what_would_do() {
        for (task, change, parts) in [
            (TaskKind::Classify, "train.batch_size=0", ["train.batch_size is 0", "at least 1"]),
            (TaskKind::Classify, "optimizer.lr=nan", ["optimizer.lr is NaN", "expected a number"]),
            (TaskKind::Classify, "optimizer.layer_decay=1.5", ["layer_decay is 1.5", "from 0.001 to 1"]),
            (TaskKind::Classify, "optimizer.rational_lr=-1", ["rational_lr is -1", "from 0 to 100"]),
            (TaskKind::Classify, "augment.scale=[0.5, 0.1]", ["[0.5, 0.1]", "low <= high"]),
            (TaskKind::Classify, "schedule.milestones=[0.9, 0.5]", ["[0.9, 0.5]", "ascending"]),
            (TaskKind::Detect, "detect.anchor_sizes=[32]", ["[32.0]", "five sides"]),
            (
                TaskKind::Classify,
                "model.image_size=4294967296",
                ["model.image_size is 4294967296", "at most 1048576 pixels"],
            ),
            (TaskKind::Classify, "optimizer.lr=0", ["optimizer.lr is 0", "a number above 0"]),
            (TaskKind::Segment, "segment.stride=600", ["segment.stride is 600", "segment.crop = 512"]),
        ] {
            let message = plan(&[change], task).unwrap_err().to_string();
            assert!(parts.iter().all(|p| message.contains(p)), "{change}: {message}");
            assert!(message.starts_with("defaults: "), "{message}");
        }
    }

    #[test]
    fn two_lengths_in_one_place_contradict_each_other() {
        let both = "[model]\nname = \"kat_tiny_patch16_224\"\n[train]\nepochs = 3\nsteps = 5";
        let loaded = crate::config::from_text(both, "both.toml", TaskKind::Classify).unwrap();
        let message = Plan::new(loaded, TaskKind::Classify).unwrap_err().to_string();
        assert!(message.contains("train.steps is 5") && message.contains("give one of the two"), "{message}");
    }

    #[test]
    fn a_custom_model_needs_its_five_numbers_and_they_must_divide() {
        let custom =
            ["model.image_size=64", "model.patch=8", "model.dim=96", "model.depth=4", "model.heads=3"];
        let build = |changes: &[&str]| {
            let all = custom.iter().chain(&["train.steps=10"]).chain(changes);
            let overrides: Vec<_> = all.map(|s| Override::parse(s).unwrap()).collect();
            Plan::new(load(None, &overrides, TaskKind::Classify)?, TaskKind::Classify)
        };
        let expected = ModelBase::Custom { image_size: 64, patch: 8, dim: 96, depth: 4, heads: 3 };
        assert_eq!(build(&[]).unwrap().model.base, expected);
        assert!(
            build(&["model.image_size=60"]).unwrap_err().to_string().contains("multiple of model.patch = 8")
        );
        assert!(build(&["model.heads=5"]).unwrap_err().to_string().contains("multiple of model.heads = 5"));
        let overrides = [Override::parse("train.steps=1").unwrap()];
        let loaded = load(None, &overrides, TaskKind::Classify).unwrap();
        let message = Plan::new(loaded, TaskKind::Classify).unwrap_err().to_string();
        assert!(message.contains("model.image_size is missing"), "{message}");
    }
}
