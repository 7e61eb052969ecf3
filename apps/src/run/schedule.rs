//! The learning rate as a pure function of the step: a resumed run cannot have another rate than an unbroken
//! one, whatever was or was not saved.
//!
//! Warm-up is linear from `warmup_factor` to 1 and the main shape spans the whole run, so that after warm-up of
//! w steps the rate is the one the shape has at step w (timm's convention for KAT; detectron2's and
//! mmsegmentation's differ from it by less than one warm-up).

use crate::config::{self, Granularity, ScheduleKind};

/// Learning rate over the steps of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    config: config::Schedule,
    peak: f64,
    total: usize,
    steps_per_epoch: usize,
    warmup: f64,
}

impl Schedule {
    /// A schedule for `total` optimizer steps that peaks at the rate `peak`.
    pub fn new(config: &config::Schedule, peak: f64, total: usize, steps_per_epoch: usize) -> Self {
        let steps_per_epoch = steps_per_epoch.max(1);
        let warmup = match config.warmup_steps {
            0 => config.warmup_epochs * steps_per_epoch as f64,
            steps => steps as f64,
        };
        Schedule { config: config.clone(), peak, total: total.max(1), steps_per_epoch, warmup }
    }

    /// Steps of the whole run.
    pub fn total(&self) -> usize {
        self.total
    }

    /// The full rate.
    pub fn peak(&self) -> f64 {
        self.peak
    }

    /// The rate of step `step`, counted from 0.
    pub fn lr(&self, step: usize) -> f64 {
        let at = match self.config.per {
            Granularity::Step => step,
            Granularity::Epoch => step / self.steps_per_epoch * self.steps_per_epoch,
        } as f64;
        if self.config.after_warmup && self.warmup >= 1.0 {
            return self.peak * self.mmengine(at);
        }
        self.peak * if at < self.warmup { self.warmup_factor(at) } else { self.shape(at / self.total as f64) }
    }

    /// mmengine's: a span of n steps reaches its end at its last step, the (n - 1)th after its first.
    fn mmengine(&self, at: f64) -> f64 {
        let last = |steps: f64| (steps - 1.0).max(1.0);
        if at < self.warmup {
            let start = self.config.warmup_factor;
            return start + (1.0 - start) * (at / last(self.warmup)).min(1.0);
        }
        self.shape((at - self.warmup) / last(self.total as f64 - self.warmup))
    }

    fn warmup_factor(&self, at: f64) -> f64 {
        let start = self.config.warmup_factor;
        start + (1.0 - start) * at / self.warmup
    }

    /// Factor at the share `t` in [0, 1] of the run.
    fn shape(&self, t: f64) -> f64 {
        let (c, t) = (&self.config, t.clamp(0.0, 1.0));
        let between = |share: f64| c.min_factor + (1.0 - c.min_factor) * share;
        match c.kind {
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Cosine => between(0.5 * (1.0 + (std::f64::consts::PI * t).cos())),
            ScheduleKind::Poly => between((1.0 - t).powf(c.power)),
            ScheduleKind::Step => {
                let passed = c.milestones.iter().filter(|m| t >= **m).count();
                c.decay.powi(passed as i32).max(c.min_factor)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-12 * b.abs().max(1e-6), "{a} is not {b}");
    }

    #[test]
    fn published_classification_recipe() {
        // 300 epochs of 1251 steps; 5 epochs from 1e-5 to 1e-3, then cosine to 0, changed each epoch.
        let config = config::Schedule { warmup_epochs: 5.0, per: Granularity::Epoch, ..Default::default() };
        let s = Schedule::new(&config, 1e-3, 300 * 1251, 1251);
        close(s.lr(0), 1e-5);
        close(s.lr(1250), 1e-5);
        close(s.lr(1251), 1e-5 + (1e-3 - 1e-5) / 5.0);
        close(s.lr(5 * 1251), 0.5e-3 * (1.0 + (std::f64::consts::PI * 5.0 / 300.0).cos()));
        close(s.lr(150 * 1251 + 7), 0.5e-3);
        assert!(s.lr(299 * 1251) > 0.0);
    }

    #[test]
    fn vitdet_steps() {
        // 184375 iterations, x0.1 at 163889 and x0.01 at 177546, warm-up of 250 from a factor of 0.001.
        let config = config::Schedule {
            kind: ScheduleKind::Step,
            warmup_steps: 250,
            warmup_factor: 1e-3,
            milestones: vec![163889.0 / 184375.0, 177546.0 / 184375.0],
            ..Default::default()
        };
        let s = Schedule::new(&config, 1e-4, 184375, 1844);
        close(s.lr(0), 1e-7);
        close(s.lr(125), 1e-4 * (1e-3 + 0.999 * 0.5));
        for (step, lr) in [(250, 1e-4), (163888, 1e-4), (163889, 1e-5), (177545, 1e-5), (177546, 1e-6)] {
            close(s.lr(step), lr);
        }
    }

    #[test]
    fn upernet_poly() {
        let config = config::Schedule {
            kind: ScheduleKind::Poly,
            warmup_steps: 1500,
            warmup_factor: 1e-6,
            ..Default::default()
        };
        let s = Schedule::new(&config, 6e-5, 160_000, 1263);
        close(s.lr(0), 6e-11);
        close(s.lr(80_000), 3e-5);
        close(s.lr(160_000), 0.0);
        assert_eq!(s.lr(200_000), 0.0);
    }

    /// Rates of mmengine's LinearLR (begin 0, end 4) and PolyLR (begin 4, end 10) at power 1 and a rate of 1.
    #[test]
    fn poly_after_warmup_is_mmengines_step_for_step() {
        let config = config::Schedule {
            kind: ScheduleKind::Poly,
            warmup_steps: 4,
            warmup_factor: 0.1,
            after_warmup: true,
            ..Default::default()
        };
        let s = Schedule::new(&config, 1.0, 10, 5);
        let expected = [0.1, 0.4, 0.7, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0];
        expected.iter().enumerate().for_each(|(step, lr)| close(s.lr(step), *lr));
    }

    #[test]
    fn a_floor_holds_and_warmup_may_outlast_the_run() {
        let config = config::Schedule { min_factor: 0.1, ..Default::default() };
        close(Schedule::new(&config, 1.0, 100, 10).lr(100), 0.1);
        let config = config::Schedule { warmup_steps: 1000, warmup_factor: 0.0, ..Default::default() };
        close(Schedule::new(&config, 1.0, 100, 10).lr(99), 0.099);
    }
}
