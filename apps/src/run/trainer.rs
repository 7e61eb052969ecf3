//! The loop that all three tasks train with.
//!
//! A run is a function of its configuration and data: batches come from the loader in an order that depends on the
//! seed, dropout and drop path draw from the step's own number, and the rate is computed from the step. So a run
//! that was cut off and resumed from its checkpoint goes on to the same weights.

use anyhow::Context;
use kat_backbone::optim::{AdamW, AdamWConfig, GradientSet, ParameterOptions, average_weights};
use kat_backbone::watch::{Clip, Failure, Readings, Watch};
use kat_backbone::{Backend as _, Graph};
use kat_images::loader::LoaderState;

pub use super::error::TrainError;
pub use super::exchange::{Alone, GradientExchange};
use super::logs::Logs;
use super::param_groups::ParamRules;
use super::run_dir::{RunDir, RunDirError};
use super::schedule::Schedule;
use super::sessions::SessionLog;
use super::signals::{Held, Interrupt};
use super::state::{self, Contents, EMA, PLAN_KEY, Progress};
use super::{ema, resume};
use crate::config::{Plan, from_run};
use crate::run::metrics_log::Resumed;
use crate::run::task::{Part, Task};
use crate::shell::progress::Screen;

/// Distance of the averaged weights from the weights, over these, above which both are evaluated.
const APART: f64 = 0.1;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All steps are done.
    Complete,
    /// Somebody asked to stop; a checkpoint of this step is there.
    Interrupted(u64),
}

/// What a run needs beside its task.
pub struct Setting<'a> {
    /// The configuration.
    pub plan: &'a Plan,
    /// Where files go.
    pub run: &'a RunDir,
    /// Where progress is shown.
    pub screen: &'a Screen,
    /// Whether to stop.
    pub interrupt: &'a Interrupt,
    /// What it computes on, in words, for the record.
    pub device: &'a str,
}

/// A run under way.
pub struct Trainer<'a, T: Task> {
    task: &'a T,
    setting: Setting<'a>,
    exchange: Box<dyn GradientExchange<T::Device>>,
    model: T::Model,
    ema: Option<T::Model>,
    optimizer: AdamW<T::Device>,
    watch: Watch<T::Device>,
    step: u64,
    resume: Option<Progress>,
    best: Option<f64>,
    /// Names of the images to train on and held out, as checksums.
    images: [String; 2],
    /// Whether the evaluation after the newest step is still to be done.
    evaluation_due: bool,
    /// What the evaluation after the newest step said.
    figures: Option<Figures>,
    sessions: SessionLog,
}

/// Figures of the held-out part by name.
type Figures = Vec<(&'static str, f64)>;

impl<'a, T: Task> Trainer<'a, T> {
    /// A run from the start, or from the newest checkpoint of the directory where there is one.
    ///
    /// # Errors
    /// A model that cannot be built or a checkpoint that does not fit it.
    pub fn new(
        task: &'a T,
        setting: Setting<'a>,
        exchange: Box<dyn GradientExchange<T::Device>>,
    ) -> anyhow::Result<Self> {
        let plan = setting.plan;
        task.check_held_out()?;
        let mut model = task.build()?;
        let rules = ParamRules::new(&plan.optimizer.no_decay, plan.optimizer.layer_decay, task.depth());
        let adamw = AdamWConfig { betas: plan.optimizer.betas, eps: plan.optimizer.eps };
        let mut optimizer = AdamW::new(&model, adamw, |name, rank| {
            let rule = rules.rule(name, rank);
            let weight_decay = if rule.decays { plan.optimizer.weight_decay } else { 0.0 };
            ParameterOptions { lr_scale: rule.lr_scale, weight_decay }
        })?;
        let mut ema = (plan.train.ema_decay > 0.0).then(|| model.clone());
        let (last, previous) = (setting.run.last(), setting.run.previous());
        let mut resume = None;
        if last.is_file() || previous.is_file() {
            let (map, progress) = resume::read(task, &last, &previous)?;
            warn_of_changes(setting.plan, map.metadata.get(PLAN_KEY));
            state::restore(&mut model, &map, "", &last)?;
            if let Some(ema) = &mut ema {
                state::restore(ema, &map, EMA, &last)?;
            }
            let damaged = || format!("{} cannot be resumed", last.display());
            optimizer.import(&map, progress.updates).with_context(damaged)?;
            resume = Some(progress);
        }
        let best = resume.as_ref().and_then(|p| p.best.as_ref()?.parse().ok());
        let step = resume.as_ref().map_or(0, |p| p.step);
        Ok(Self {
            task,
            exchange,
            model,
            ema,
            optimizer,
            watch: Watch::new(task.device())?,
            step,
            evaluation_due: resume.as_ref().is_some_and(|p| p.evaluation_due),
            images: [Part::Train, Part::HeldOut].map(|part| resume::fingerprint(task, part)),
            resume,
            best,
            figures: None,
            sessions: SessionLog::begin(&setting.run.sessions(), step, setting.device),
            setting,
        })
    }

    /// The weights that evaluation looks at: the averaged ones where kept and wanted.
    pub fn evaluated(&self) -> &T::Model {
        match &self.ema {
            Some(ema) if self.setting.plan.eval.use_ema => ema,
            _ => &self.model,
        }
    }

    /// Figures of the held-out part for these weights; a run that just ended has them already.
    ///
    /// # Errors
    /// Data that cannot be read.
    pub fn figures(&self) -> anyhow::Result<Figures> {
        self.figures.clone().map_or_else(|| self.task.evaluate(self.evaluated()), Ok)
    }

    /// Trains to the end, or until asked to stop.
    ///
    /// # Errors
    /// [`TrainError`], data that cannot be read, or files that cannot be written.
    pub fn run(&mut self) -> anyhow::Result<Ended> {
        // Where the directory is gone, that is the reason, whichever write noticed it.
        self.train().map_err(|error| match self.setting.run.check() {
            Ok(()) => error,
            Err(gone) if error.is::<RunDirError>() => gone.into(),
            Err(gone) => error.context(gone),
        })
    }

    fn train(&mut self) -> anyhow::Result<Ended> {
        let (plan, interrupt) = (self.setting.plan, self.setting.interrupt);
        let held = interrupt.hold();
        let t = &plan.train;
        let mut loader = self.task.batches(self.resume.as_ref().map(|p| p.loader.clone()))?;
        let per_epoch = loader.batches_per_epoch();
        let steps_per_epoch = (per_epoch as usize / t.accumulate).max(1);
        let schedule = plan.schedule(steps_per_epoch);
        let total = schedule.total() as u64;
        let resumed =
            self.resume.as_ref().map(|p| Resumed { step: p.step, evaluation_due: p.evaluation_due });
        let mut logs = Logs::open(self.setting.run, plan.tensorboard, resumed)?;
        if self.evaluation_due && !self.evaluate(&mut logs, &loader.state(), &schedule, &held)? {
            return Ok(Ended::Interrupted(self.step));
        }
        let mut progress = self.setting.screen.progress("training", "steps", self.step, total);
        while self.step < total {
            let before = loader.state();
            let mut gradients: Option<GradientSet<T::Device>> = None;
            for micro in 0..t.accumulate as u64 {
                if interrupt.requested() {
                    // A step that is not complete is done again by the resumed run.
                    self.save(&self.setting.run.last(), &before)?;
                    progress.finish();
                    return Ok(Ended::Interrupted(self.step));
                }
                let batch = loader.next().context("the data ended before the run did")??;
                let found = self.pass(&batch, micro)?;
                match &mut gradients {
                    None => gradients = Some(found),
                    Some(sum) => sum.add(self.task.device(), found)?,
                }
            }
            let Some(mut gradients) = gradients else { break };
            self.exchange.average(&mut gradients)?;
            self.update(&gradients, &schedule)?;
            let lr = schedule.lr(self.step as usize - 1);
            let done = self.step == total;
            let log = self.step.is_multiple_of(t.log_every as u64) || done;
            let epoch_ends = self.step.is_multiple_of(steps_per_epoch as u64);
            let evaluate = done || self.step.is_multiple_of((steps_per_epoch * t.eval_every) as u64);
            let stop = interrupt.requested();
            let due = t.save_every > 0 && self.step.is_multiple_of(t.save_every as u64);
            // A GPU is asked only when something depends on the answer.
            if !T::Device::IS_ASYNC || log || evaluate || epoch_ends || due || stop {
                let seen = if log { self.watch.take()? } else { self.watch.read() };
                self.check(&seen, &schedule)?;
                progress.update(self.step, &[("loss", seen.loss), ("lr", lr)]);
                if log {
                    let values = [("loss", seen.loss), ("lr", lr), ("gradient norm", seen.norm)];
                    logs.push(self.step, &values)?;
                }
            }
            if evaluate {
                self.save_unevaluated(&loader.state())?;
                if !self.evaluate(&mut logs, &loader.state(), &schedule, &held)? {
                    progress.finish();
                    return Ok(Ended::Interrupted(self.step));
                }
            } else if epoch_ends || due || stop {
                self.save(&self.setting.run.last(), &loader.state())?;
            }
            if stop && !done {
                progress.finish();
                return Ok(Ended::Interrupted(self.step));
            }
        }
        progress.finish();
        Ok(Ended::Complete)
    }

    /// The gradients of one batch.
    fn pass(&mut self, batch: &T::Batch, micro: u64) -> anyhow::Result<GradientSet<T::Device>> {
        let t = &self.setting.plan.train;
        let mut graph = Graph::training(pass_seed(t.seed, self.step * t.accumulate as u64 + micro));
        let loss = self.task.loss(&self.model, &mut graph, batch)?;
        self.watch.loss(&loss, self.step)?;
        Ok(GradientSet::take(&self.model, graph.backward(&loss)?)?)
    }

    /// Clips, updates weights and averages.
    fn update(&mut self, gradients: &GradientSet<T::Device>, schedule: &Schedule) -> anyhow::Result<()> {
        let t = &self.setting.plan.train;
        let clip = Clip { mean: 1.0 / t.accumulate as f64, max_norm: t.clip_grad };
        self.watch.gradients(gradients, clip, self.step)?;
        let lr = schedule.lr(self.step as usize);
        self.optimizer.step(&mut self.model, gradients, lr, &self.watch)?;
        if let Some(ema) = &mut self.ema {
            average_weights(ema, &self.model, ema::decay(t, self.step))?;
        }
        self.step += 1;
        self.figures = None;
        Ok(())
    }

    /// Stops at what the watch saw fail; the weights are those before it.
    fn check(&self, seen: &Readings, schedule: &Schedule) -> Result<(), TrainError> {
        seen.failure.map_or(Ok(()), |failure| Err(self.not_finite(failure, schedule)))
    }

    fn not_finite(&self, Failure { what, value, step }: Failure, schedule: &Schedule) -> TrainError {
        let last = Some(self.setting.run.last()).filter(|path| state::is_good(path));
        TrainError::NotFinite { what, value, step, lr: schedule.lr(step as usize), last }
    }

    /// Saves the newest checkpoint before it is evaluated, and keeps the one before it until that has gone well.
    fn save_unevaluated(&mut self, loader: &LoaderState) -> anyhow::Result<()> {
        let (last, previous) = (self.setting.run.last(), self.setting.run.previous());
        if last.is_file() {
            let refused = || format!("cannot write {}", previous.display());
            if previous.exists() {
                std::fs::remove_file(&previous).with_context(refused)?;
            }
            // A second name of the same file; where the file system has no such thing, a copy.
            std::fs::hard_link(&last, &previous)
                .or_else(|_| std::fs::copy(&last, &previous).map(|_| ()))
                .with_context(refused)?;
        }
        self.evaluation_due = true;
        self.save(&last, loader)
    }

    /// Evaluates the held-out part, keeps the checkpoint if it is the best so far, and saves that this is done. False
    /// where somebody asked to stop: the run then goes on with the evaluation.
    fn evaluate(
        &mut self,
        logs: &mut Logs<'_>,
        loader: &LoaderState,
        schedule: &Schedule,
        held: &Held<'_>,
    ) -> anyhow::Result<bool> {
        let (run, screen) = (self.setting.run, self.setting.screen);
        let saved = format!("{} is at step {}; --resume goes on", run.last().display(), self.step);
        let failed = || format!("the evaluation at step {} failed; {saved}", self.step);
        let Some(values) = held.released(&saved, || self.task.evaluate_on(self.evaluated(), screen)) else {
            return Ok(false);
        };
        let values = values.with_context(failed)?;
        for (name, value) in &values {
            if !value.is_finite() {
                if run.previous().is_file() {
                    // So that the last one stays a good one.
                    std::fs::rename(run.previous(), run.last())
                        .with_context(|| format!("cannot write {}", run.last().display()))?;
                }
                return Err(self
                    .not_finite(Failure { what: name, value: *value, step: self.step }, schedule)
                    .into());
            }
        }
        let mut shown: Vec<(String, f64)> = values.iter().map(|(name, v)| (name.to_string(), *v)).collect();
        match &self.ema {
            Some(ema) if self.setting.plan.eval.use_ema && ema::distance(&self.model, ema) > APART => {
                let Some(plain) = held.released(&saved, || self.task.evaluate_on(&self.model, screen)) else {
                    return Ok(false);
                };
                let plain = plain.with_context(failed)?;
                shown.extend(plain.iter().map(|(name, v)| (name.replacen("val/", "without_ema/", 1), *v)));
            }
            _ => {}
        }
        let records: Vec<(&str, f64)> = shown.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        logs.push(self.step, &records)?;
        let shown: Vec<String> = shown.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        tracing::info!("step {}: {}", self.step, shown.join(", "));
        self.evaluation_due = false;
        let figure = values.iter().find(|(name, _)| *name == self.task.criterion()).map(|(_, value)| *value);
        if let Some(figure) = figure.filter(|f| self.best.is_none_or(|best| *f > best)) {
            self.best = Some(figure);
            self.save(&run.best(), loader)?;
        }
        self.figures = Some(values);
        self.save(&run.last(), loader)?;
        if run.previous().exists() {
            let refused = || format!("cannot remove {}", run.previous().display());
            std::fs::remove_file(run.previous()).with_context(refused)?;
        }
        Ok(true)
    }

    fn save(&mut self, path: &std::path::Path, loader: &LoaderState) -> anyhow::Result<()> {
        self.setting.run.check()?;
        let [train_images, held_out_images] = self.images.clone();
        let progress = Progress {
            step: self.step,
            updates: self.optimizer.steps(),
            loader: loader.clone(),
            best: self.best.map(|best| format!("{best:?}")),
            evaluation_due: self.evaluation_due,
            train_images: Some(train_images),
            held_out_images: Some(held_out_images),
        };
        let mut metadata = self.task.metadata(&self.model)?;
        metadata.insert(PLAN_KEY.to_owned(), self.setting.plan.to_toml());
        let contents = Contents {
            model: &self.model,
            ema: self.ema.as_ref(),
            optimizer: &self.optimizer,
            progress: &progress,
            metadata,
        };
        state::save(path, contents)?;
        self.sessions.saved(self.step).context("cannot write the record of sessions")
    }
}

/// The seed of dropout and drop path in pass number `pass` of a run: neighbouring numbers give unrelated seeds
/// (splitmix64).
fn pass_seed(seed: u64, pass: u64) -> u64 {
    let mut z = seed.rotate_left(32).wrapping_add(pass.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn warn_of_changes(plan: &Plan, stored: Option<&String>) {
    let Some(stored) = stored else { return };
    let Ok(before) = from_run(stored, &[], "checkpoint", plan.task) else { return };
    for change in plan.differences_from(&before) {
        tracing::warn!("resuming with another value of {change}");
    }
}

#[cfg(test)]
#[path = "trainer_tests.rs"]
mod tests;
