//! What will be done: a configuration whose values have been checked against each other.

use std::path::PathBuf;

use super::error::ConfigError;
use super::load::{Loaded, to_text};
use super::raw::{Model, RawConfig};
use crate::config::TaskKind;
use crate::run::schedule::Schedule;

/// The longest side of an image; whether memory holds it is seen when the model is known.
const MOST_PIXELS: usize = 1 << 20;

/// How long training goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duration {
    /// Passes over the training part.
    Epochs(usize),
    /// Optimiser steps.
    Steps(usize),
}

impl Duration {
    /// Optimiser steps of the whole run.
    pub fn steps(self, steps_per_epoch: usize) -> usize {
        match self {
            Duration::Epochs(n) => n * steps_per_epoch,
            Duration::Steps(n) => n,
        }
    }
}

/// Which backbone to build.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelPlan {
    /// A named variant; the numbers given beside the name override it.
    Variant(String),
    /// Every number given.
    Custom {
        /// Side of the square input in pixels.
        image_size: usize,
        /// Side of a patch in pixels.
        patch: usize,
        /// Channels of a token.
        dim: usize,
        /// Number of blocks.
        depth: usize,
        /// Attention heads.
        heads: usize,
    },
}

/// A checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The program that runs it.
    pub task: TaskKind,
    /// Which backbone.
    pub model: ModelPlan,
    /// How long.
    pub duration: Duration,
    /// Where the run's files go.
    pub output: PathBuf,
    /// Every value, for the parts that need no resolving.
    pub raw: RawConfig,
}

impl Plan {
    /// Checks `loaded`; the error names file, key, value and what would do.
    pub fn new(loaded: Loaded, task: TaskKind) -> Result<Self, ConfigError> {
        let Loaded { raw, origin } = loaded;
        let check = Check { origin: &origin };
        let model = check.model(&raw.model)?;
        check.data(&raw)?;
        check.optimisation(&raw)?;
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
        let output = raw.output.dir.clone().unwrap_or_else(|| Self::default_output(task));
        Ok(Plan { task, model, duration, output: output.into(), raw })
    }

    /// Where a program's runs go when nothing else is said.
    pub fn default_output(task: TaskKind) -> String {
        format!("runs/{}", task.program())
    }

    /// The resolved configuration as TOML, for the run directory and the checkpoints.
    pub fn to_toml(&self) -> String {
        to_text(&self.raw, self.task)
    }

    /// Images that contribute to one optimiser step.
    pub fn images_per_step(&self) -> usize {
        self.raw.train.batch_size * self.raw.train.accumulate
    }

    /// The full learning rate, scaled by the batch where the configuration says so.
    pub fn peak_lr(&self) -> f64 {
        let o = &self.raw.optimizer;
        if o.lr_batch == 0 { o.lr } else { o.lr * self.images_per_step() as f64 / o.lr_batch as f64 }
    }

    /// The learning rate as a function of the step, for an epoch of this many steps.
    pub fn schedule(&self, steps_per_epoch: usize) -> Schedule {
        Schedule::new(
            &self.raw.schedule,
            self.peak_lr(),
            self.duration.steps(steps_per_epoch),
            steps_per_epoch,
        )
    }
}

/// The checks, with the file to name.
struct Check<'a> {
    origin: &'a str,
}

impl Check<'_> {
    fn bad(&self, key: &'static str, found: impl std::fmt::Display, expected: &str) -> ConfigError {
        ConfigError::BadValue {
            origin: self.origin.to_owned(),
            key,
            found: found.to_string(),
            expected: expected.to_owned(),
        }
    }

    fn positive(&self, key: &'static str, value: usize) -> Result<(), ConfigError> {
        if value == 0 { Err(self.bad(key, value, "at least 1")) } else { Ok(()) }
    }

    /// `low <= value < high`, or `<= high` where `high` may be reached; never NaN.
    fn range(
        &self,
        key: &'static str,
        value: f64,
        range: std::ops::RangeInclusive<f64>,
    ) -> Result<(), ConfigError> {
        if range.contains(&value) {
            return Ok(());
        }
        let expected = match (*range.start(), *range.end()) {
            (low, high) if low == f64::MIN_POSITIVE && high == f64::MAX => "a number above 0".to_owned(),
            (low, high) if high == f64::MAX => format!("a number of at least {low}"),
            (low, high) => format!("a number from {low} to {high}"),
        };
        Err(self.bad(key, value, &expected))
    }

    fn side(&self, key: &'static str, value: usize) -> Result<(), ConfigError> {
        if value > MOST_PIXELS {
            return Err(self.bad(key, value, &format!("at most {MOST_PIXELS} pixels")));
        }
        Ok(())
    }

    fn model(&self, m: &Model) -> Result<ModelPlan, ConfigError> {
        self.range("model.drop_path", m.drop_path, 0.0..=0.99)?;
        self.side("model.image_size", m.image_size.unwrap_or(1))?;
        for (key, value) in [
            ("model.image_size", m.image_size),
            ("model.patch", m.patch),
            ("model.dim", m.dim),
            ("model.depth", m.depth),
            ("model.heads", m.heads),
            ("model.groups", m.groups),
            ("model.numerator_degree", m.numerator_degree),
        ] {
            if let Some(value) = value {
                self.positive(key, value)?;
            }
        }
        if let Some(ratio) = m.mlp_ratio {
            self.range("model.mlp_ratio", ratio, 0.25..=64.0)?;
        }
        if let (Some(size), Some(patch)) = (m.image_size, m.patch)
            && size % patch != 0
        {
            return Err(self.bad("model.image_size", size, &format!("a multiple of model.patch = {patch}")));
        }
        if let (Some(dim), Some(heads)) = (m.dim, m.heads)
            && dim % heads != 0
        {
            return Err(self.bad("model.dim", dim, &format!("a multiple of model.heads = {heads}")));
        }
        if let (Some(dim), Some(groups)) = (m.dim, m.groups)
            && dim % groups != 0
        {
            return Err(self.bad("model.dim", dim, &format!("a multiple of model.groups = {groups}")));
        }
        if let Some(name) = &m.name {
            return Ok(ModelPlan::Variant(name.clone()));
        }
        let need = |key: &'static str, value: Option<usize>| {
            value.ok_or_else(|| self.bad(key, "missing", "a number, or a variant in model.name"))
        };
        Ok(ModelPlan::Custom {
            image_size: need("model.image_size", m.image_size)?,
            patch: need("model.patch", m.patch)?,
            dim: need("model.dim", m.dim)?,
            depth: need("model.depth", m.depth)?,
            heads: need("model.heads", m.heads)?,
        })
    }

    fn data(&self, raw: &RawConfig) -> Result<(), ConfigError> {
        self.range("data.val_fraction", raw.data.val_fraction, 0.0..=0.9)?;
        for value in raw.data.std {
            self.range("data.std", value, 1e-6..=f64::MAX)?;
        }
        for value in raw.data.mean {
            self.range("data.mean", value, -1e3..=1e3)?;
        }
        self.positive("data.generate_train", raw.data.generate_train)?;
        self.positive("data.generate_val", raw.data.generate_val)?;
        self.positive("data.generate_size", raw.data.generate_size)?;
        self.positive("data.generate_classes", raw.data.generate_classes)?;
        self.range("eval.crop", raw.eval.crop, 0.01..=1.0)
    }

    fn optimisation(&self, raw: &RawConfig) -> Result<(), ConfigError> {
        let (t, o, s) = (&raw.train, &raw.optimizer, &raw.schedule);
        self.positive("train.batch_size", t.batch_size)?;
        self.positive("train.accumulate", t.accumulate)?;
        self.positive("train.log_every", t.log_every)?;
        self.positive("train.eval_every", t.eval_every)?;
        self.range("train.clip_grad", t.clip_grad, 0.0..=f64::MAX)?;
        self.range("train.ema_decay", t.ema_decay, 0.0..=0.9999999)?;
        self.range("train.ema_tau", t.ema_tau, 1e-3..=f64::MAX)?;
        self.range("optimizer.lr", o.lr, f64::MIN_POSITIVE..=f64::MAX)?;
        self.range("optimizer.eps", o.eps, f64::MIN_POSITIVE..=1.0)?;
        self.range("optimizer.weight_decay", o.weight_decay, 0.0..=f64::MAX)?;
        self.range("optimizer.layer_decay", o.layer_decay, 1e-3..=1.0)?;
        for beta in o.betas {
            self.range("optimizer.betas", beta, 0.0..=0.9999999)?;
        }
        self.range("schedule.warmup_epochs", s.warmup_epochs, 0.0..=f64::MAX)?;
        self.range("schedule.warmup_factor", s.warmup_factor, 0.0..=1.0)?;
        self.range("schedule.min_factor", s.min_factor, 0.0..=1.0)?;
        self.range("schedule.power", s.power, 0.0..=100.0)?;
        self.range("schedule.decay", s.decay, 0.0..=1.0)?;
        if s.warmup_epochs > 0.0 && s.warmup_steps > 0 {
            let both = "0 beside schedule.warmup_epochs: give one of the two";
            return Err(self.bad("schedule.warmup_steps", s.warmup_steps, both));
        }
        if s.milestones.iter().any(|m| !(0.0..1.0).contains(m)) || !s.milestones.is_sorted() {
            let found = format!("{:?}", s.milestones);
            return Err(self.bad("schedule.milestones", found, "shares of the run in (0, 1), ascending"));
        }
        Ok(())
    }

    fn augmentation(&self, raw: &RawConfig) -> Result<(), ConfigError> {
        let a = &raw.augment;
        for (key, [low, high]) in [("augment.scale", a.scale), ("augment.ratio", a.ratio)] {
            if !(low > 0.0 && low <= high && high.is_finite()) {
                return Err(self.bad(key, format!("[{low}, {high}]"), "[low, high] with 0 < low <= high"));
            }
        }
        self.range("augment.hflip", a.hflip, 0.0..=1.0)?;
        self.range("augment.color_jitter", a.color_jitter, 0.0..=1.0)?;
        self.range("augment.randaugment", a.randaugment, 0.0..=10.0)?;
        self.range("augment.randaugment_std", a.randaugment_std, 0.0..=10.0)?;
        self.range("augment.erase", a.erase, 0.0..=1.0)?;
        self.range("augment.mixup", a.mixup, 0.0..=100.0)?;
        self.range("augment.cutmix", a.cutmix, 0.0..=100.0)?;
        self.range("augment.label_smoothing", a.label_smoothing, 0.0..=0.99)
    }

    fn detect(&self, raw: &RawConfig) -> Result<(), ConfigError> {
        let d = &raw.detect;
        self.positive("detect.channels", d.channels)?;
        self.positive("detect.pretrain_size", d.pretrain_size)?;
        self.range("detect.smooth_l1_beta", d.smooth_l1_beta, 0.0..=f64::MAX)?;
        self.positive("detect.box_hidden", d.box_hidden)?;
        self.positive("detect.rpn_samples", d.rpn_samples)?;
        self.positive("detect.roi_samples", d.roi_samples)?;
        self.positive("detect.max_detections", d.max_detections)?;
        self.range("detect.score_threshold", d.score_threshold, 0.0..=1.0)?;
        self.range("detect.nms", d.nms, 0.0..=1.0)?;
        if d.anchor_sizes.len() != 5 || d.anchor_sizes.iter().any(|s| s.is_nan() || *s <= 0.0) {
            let found = format!("{:?}", d.anchor_sizes);
            return Err(self.bad("detect.anchor_sizes", found, "five sides in pixels, one a pyramid level"));
        }
        if d.anchor_ratios.is_empty() || d.anchor_ratios.iter().any(|r| r.is_nan() || *r <= 0.0) {
            let found = format!("{:?}", d.anchor_ratios);
            return Err(self.bad("detect.anchor_ratios", found, "one or more ratios above 0"));
        }
        Ok(())
    }

    fn segment(&self, raw: &RawConfig) -> Result<(), ConfigError> {
        let s = &raw.segment;
        self.positive("segment.channels", s.channels)?;
        self.positive("segment.crop", s.crop)?;
        self.side("segment.crop", s.crop)?;
        self.range("segment.dropout", s.dropout, 0.0..=0.99)?;
        self.range("segment.aux_weight", s.aux_weight, 0.0..=f64::MAX)?;
        self.range("segment.max_class_share", s.max_class_share, 0.01..=1.0)?;
        self.range("segment.ohem_threshold", s.ohem_threshold, 0.0..=1.0)?;
        self.positive("segment.aux_channels", s.aux_channels)?;
        for weight in &s.class_weights {
            self.range("segment.class_weights", *weight, 0.0..=f64::MAX)?;
        }
        if s.out_blocks.len() != 4 || s.out_blocks.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(self.bad(
                "segment.out_blocks",
                format!("{:?}", s.out_blocks),
                "four different blocks, ascending",
            ));
        }
        if s.pool_scales.is_empty() || s.pool_scales.contains(&0) {
            let found = format!("{:?}", s.pool_scales);
            return Err(self.bad("segment.pool_scales", found, "one or more grids of at least 1"));
        }
        if s.stride > s.crop {
            return Err(self.bad("segment.stride", s.stride, &format!("at most segment.crop = {}", s.crop)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Override, load};

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
        assert_eq!(plan.duration.steps(50), 150);
        assert_eq!(plan.output, PathBuf::from("runs/classify"));
        assert!(plan.to_toml().contains("kat_tiny_patch16_224"));
    }

    #[test]
    fn every_bad_value_is_named_with_what_would_do() {
        for (task, change, parts) in [
            (TaskKind::Classify, "train.batch_size=0", ["train.batch_size is 0", "at least 1"]),
            (TaskKind::Classify, "train.steps=5", ["train.steps is 5", "give one of the two"]),
            (TaskKind::Classify, "optimizer.lr=nan", ["optimizer.lr is NaN", "expected a number"]),
            (TaskKind::Classify, "optimizer.layer_decay=1.5", ["layer_decay is 1.5", "from 0.001 to 1"]),
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
    fn a_custom_model_needs_its_five_numbers_and_they_must_divide() {
        let custom =
            ["model.image_size=64", "model.patch=8", "model.dim=96", "model.depth=4", "model.heads=3"];
        let build = |changes: &[&str]| {
            let all = custom.iter().chain(&["train.steps=10"]).chain(changes);
            let overrides: Vec<_> = all.map(|s| Override::parse(s).unwrap()).collect();
            Plan::new(load(None, &overrides, TaskKind::Classify)?, TaskKind::Classify)
        };
        let expected = ModelPlan::Custom { image_size: 64, patch: 8, dim: 96, depth: 4, heads: 3 };
        assert_eq!(build(&[]).unwrap().model, expected);
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
