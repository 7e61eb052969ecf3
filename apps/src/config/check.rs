//! What values make sense, each by itself and beside the others.

use std::str::FromStr;

use kat_backbone::init::InitError;

use super::error::ConfigError;
use super::kinds::ColorChoice;
use super::raw::RawConfig;

/// The longest side of an image; whether memory holds it is seen when the model is known.
const MOST_PIXELS: usize = 1 << 20;

/// The checks, with the file to name.
pub(super) struct Check<'a> {
    pub(super) origin: &'a str,
}

impl Check<'_> {
    pub(super) fn bad(
        &self,
        key: &'static str,
        found: impl std::fmt::Display,
        expected: &str,
    ) -> ConfigError {
        ConfigError::BadValue {
            origin: self.origin.to_owned(),
            key,
            found: found.to_string(),
            expected: expected.to_owned(),
        }
    }

    /// The value that a word stands for.
    pub(super) fn parsed<T: FromStr<Err = InitError>>(
        &self,
        key: &'static str,
        word: &str,
    ) -> Result<T, ConfigError> {
        word.parse().map_err(|source| ConfigError::Word { origin: self.origin.to_owned(), key, source })
    }

    pub(super) fn positive(&self, key: &'static str, value: usize) -> Result<(), ConfigError> {
        if value == 0 { Err(self.bad(key, value, "at least 1")) } else { Ok(()) }
    }

    /// `low <= value < high`, or `<= high` where `high` may be reached; never NaN.
    pub(super) fn range(
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

    pub(super) fn side(&self, key: &'static str, value: usize) -> Result<(), ConfigError> {
        if value > MOST_PIXELS {
            return Err(self.bad(key, value, &format!("at most {MOST_PIXELS} pixels")));
        }
        Ok(())
    }

    pub(super) fn data(&self, raw: &RawConfig) -> Result<(), ConfigError> {
        self.range("data.val_fraction", raw.data.val_fraction, 0.0..=0.9)?;
        self.class_names(raw)?;
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

    /// Names that stand once each, in one place.
    fn class_names(&self, raw: &RawConfig) -> Result<(), ConfigError> {
        let (d, given) = (&raw.data, &raw.data.classes);
        if !given.is_empty() && !raw.segment.classes.is_empty() && *given != raw.segment.classes {
            let found = format!("{:?}", raw.segment.classes);
            return Err(self.bad(
                "segment.classes",
                found,
                "nothing beside data.classes: give one of the two",
            ));
        }
        if let Some(file) = d.class_names.as_ref().filter(|_| !given.is_empty()) {
            return Err(self.bad(
                "data.class_names",
                file,
                "nothing beside data.classes: give one of the two",
            ));
        }
        let names = if given.is_empty() { &raw.segment.classes } else { given };
        for (index, name) in names.iter().enumerate() {
            if name.trim().is_empty() || names[..index].contains(name) {
                return Err(self.bad("data.classes", format!("{name:?}"), "a name, each once"));
            }
        }
        if let Some(ColorChoice::Table(colors)) = &d.colors {
            if colors.len() != names.len() {
                let expected = format!("a color for each of data.classes ({})", names.len());
                return Err(self.bad("data.colors", format!("{} colors", colors.len()), &expected));
            }
            if let Some(twice) = colors.iter().enumerate().find(|(i, color)| colors[..*i].contains(color)) {
                return Err(self.bad("data.colors", format!("{:?} twice", twice.1), "each color once"));
            }
        }
        Ok(())
    }

    pub(super) fn optimization(&self, raw: &RawConfig) -> Result<(), ConfigError> {
        let (t, o, s) = (&raw.train, &raw.optimizer, &raw.schedule);
        self.positive("train.batch_size", t.batch_size)?;
        self.positive("train.accumulate", t.accumulate)?;
        self.positive("train.log_every", t.log_every)?;
        if !t.eval_every.is_positive() {
            return Err(self.bad("train.eval_every", t.eval_every, "at least 1 epoch or step"));
        }
        self.range("train.balance", t.balance, 0.0..=1.0)?;
        self.range("train.clip_grad", t.clip_grad, 0.0..=f64::MAX)?;
        self.range("train.ema_decay", t.ema_decay, 0.0..=0.9999999)?;
        self.range("train.ema_tau", t.ema_tau, 1e-3..=f64::MAX)?;
        self.range("optimizer.lr", o.lr, f64::MIN_POSITIVE..=f64::MAX)?;
        self.range("optimizer.eps", o.eps, f64::MIN_POSITIVE..=1.0)?;
        self.range("optimizer.weight_decay", o.weight_decay, 0.0..=f64::MAX)?;
        self.range("optimizer.layer_decay", o.layer_decay, 1e-3..=1.0)?;
        self.range("optimizer.rational_lr", o.rational_lr, 0.0..=100.0)?;
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

    pub(super) fn augmentation(&self, raw: &RawConfig) -> Result<(), ConfigError> {
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

    pub(super) fn detect(&self, raw: &RawConfig) -> Result<(), ConfigError> {
        let d = &raw.detect;
        self.positive("detect.channels", d.channels)?;
        self.positive("detect.pretrain_size", d.pretrain_size)?;
        self.range("detect.smooth_l1_beta", d.smooth_l1_beta, 0.0..=f64::MAX)?;
        self.positive("detect.box_hidden", d.box_hidden)?;
        self.positive("detect.rpn_samples", d.rpn_samples)?;
        self.positive("detect.roi_samples", d.roi_samples)?;
        self.positive("detect.max_detections", d.max_detections)?;
        self.range("detect.score_threshold", d.score_threshold, 0.0..=1.0)?;
        self.range("detect.show_threshold", d.show_threshold, 0.0..=1.0)?;
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

    pub(super) fn segment(&self, raw: &RawConfig) -> Result<(), ConfigError> {
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
