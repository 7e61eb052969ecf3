//! The loop that all three tasks train with.
//!
//! A run is a function of its configuration and data: batches come from the loader in an order that depends on the
//! seed, dropout and drop path draw from the step's own number, and the rate is computed from the step. So a run
//! that was cut off and resumed from its checkpoint goes on to the same weights.

use std::path::PathBuf;

use anyhow::Context;
use kat_backbone::optim::{AdamW, AdamWConfig, GradientSet, ParameterOptions, average_weights};
use kat_backbone::watch::{Clip, Failure, Readings, Watch};
use kat_backbone::{Backend as _, Device, Graph};
use kat_datasets::loader::LoaderState;

use super::param_groups::ParamRules;
use super::run_dir::RunDir;
use super::schedule::Schedule;
use super::signals::Interrupt;
use super::state::{self, Contents, EMA, PLAN_KEY, Progress};
use crate::config::{Plan, differences, from_text};
use crate::report::metrics_log::{MetricsLog, Record};
use crate::report::progress::Screen;
use crate::report::tensorboard::EventWriter;
use crate::task::Task;

/// Where gradients are averaged over the processes that train together.
pub trait GradientExchange<D: Device> {
    /// Replaces the gradients of this process by the mean over all.
    ///
    /// # Errors
    /// A process that cannot be reached.
    fn average(&mut self, gradients: &mut GradientSet<D>) -> anyhow::Result<()>;
}

/// One process: nothing to average.
pub struct Alone;

impl<D: Device> GradientExchange<D> for Alone {
    fn average(&mut self, _: &mut GradientSet<D>) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Training that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A loss or gradient that is not a number.
    #[error(
        "the {what} is {value} at step {step} (learning rate {lr:.3e}); training stopped. {}",
        last.as_ref().map_or("There is no checkpoint yet".to_owned(), |p| format!("The last good checkpoint is {}", p.display()))
    )]
    NotFinite {
        /// "loss", "gradient norm" or a figure of the held-out part.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The step, from 0.
        step: u64,
        /// Its rate.
        lr: f64,
        /// The newest checkpoint.
        last: Option<PathBuf>,
    },
}

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
    /// What the evaluation after the newest step said.
    figures: Option<Figures>,
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
        let raw = &setting.plan.raw;
        let mut model = task.build()?;
        let rules = ParamRules::new(&raw.optimizer.no_decay, raw.optimizer.layer_decay, task.depth());
        let adamw = AdamWConfig { betas: raw.optimizer.betas, eps: raw.optimizer.eps };
        let mut optimizer = AdamW::new(&model, adamw, |name, rank| {
            let rule = rules.rule(name, rank);
            let weight_decay = if rule.decays { raw.optimizer.weight_decay } else { 0.0 };
            ParameterOptions { lr_scale: rule.lr_scale, weight_decay }
        })?;
        let mut ema = (raw.train.ema_decay > 0.0).then(|| model.clone());
        let last = setting.run.last();
        let mut resume = None;
        if last.is_file() {
            let (map, progress) = state::load(&last)?;
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
        let watch = Watch::new(task.device())?;
        Ok(Self { task, setting, exchange, model, ema, optimizer, watch, step, resume, best, figures: None })
    }

    /// The weights that evaluation looks at: the averaged ones where kept and wanted.
    pub fn evaluated(&self) -> &T::Model {
        match &self.ema {
            Some(ema) if self.setting.plan.raw.eval.use_ema => ema,
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
        let plan = self.setting.plan;
        let t = &plan.raw.train;
        let mut loader = self.task.batches(self.resume.as_ref().map(|p| p.loader.clone()))?;
        let per_epoch = loader.batches_per_epoch();
        let steps_per_epoch = (per_epoch as usize / t.accumulate).max(1);
        let schedule = plan.schedule(steps_per_epoch);
        let total = schedule.total() as u64;
        let mut logs = Logs::open(&self.setting, self.resume.as_ref().map(|p| p.step))?;
        let mut progress = self.setting.screen.progress("training", "steps", self.step, total);
        while self.step < total {
            let mut gradients: Option<GradientSet<T::Device>> = None;
            for micro in 0..t.accumulate as u64 {
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
            let evaluate = self.step.is_multiple_of((steps_per_epoch * t.eval_every) as u64);
            let stop = self.setting.interrupt.requested();
            let due = t.save_every > 0 && self.step.is_multiple_of(t.save_every as u64);
            // A GPU is asked only when something depends on the answer.
            if !T::Device::WAITS || log || evaluate || epoch_ends || due || stop {
                let seen = if log { self.watch.take()? } else { self.watch.read() };
                self.check(&seen, &schedule)?;
                progress.update(self.step, &[("loss", seen.loss), ("lr", lr)]);
                if log {
                    let values = [("loss", seen.loss), ("lr", lr), ("gradient norm", seen.norm)];
                    logs.push(self.step, &values)?;
                }
            }
            if evaluate || done {
                self.evaluate(&mut logs, &loader.state(), &schedule)?;
            }
            if epoch_ends || due || done || stop {
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
        let t = &self.setting.plan.raw.train;
        let mut graph = Graph::training(pass_seed(t.seed, self.step * t.accumulate as u64 + micro));
        let loss = self.task.loss(&self.model, &mut graph, batch)?;
        self.watch.loss(&loss, self.step)?;
        Ok(GradientSet::take(&self.model, graph.backward(&loss)?)?)
    }

    /// Clips, updates weights and averages.
    fn update(&mut self, gradients: &GradientSet<T::Device>, schedule: &Schedule) -> anyhow::Result<()> {
        let t = &self.setting.plan.raw.train;
        let clip = Clip { mean: 1.0 / t.accumulate as f64, max_norm: t.clip_grad };
        self.watch.gradients(gradients, clip, self.step)?;
        let lr = schedule.lr(self.step as usize);
        self.optimizer.step(&mut self.model, gradients, lr, &self.watch)?;
        if let Some(ema) = &mut self.ema {
            average_weights(ema, &self.model, t.ema_decay)?;
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
        let last = Some(self.setting.run.last()).filter(|path| path.is_file());
        TrainError::NotFinite { what, value, step, lr: schedule.lr(step as usize), last }
    }

    /// Looks at the held-out part and keeps the checkpoint if it is the best so far.
    fn evaluate(&mut self, logs: &mut Logs, loader: &LoaderState, schedule: &Schedule) -> anyhow::Result<()> {
        let values = self.task.evaluate(self.evaluated())?;
        // Before the checkpoint is written, so that the last one stays a good one.
        for (name, value) in &values {
            if !value.is_finite() {
                return Err(self
                    .not_finite(Failure { what: name, value: *value, step: self.step }, schedule)
                    .into());
            }
        }
        logs.push(self.step, &values)?;
        let shown: Vec<String> = values.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        tracing::info!("step {}: {}", self.step, shown.join(", "));
        let figure = values.iter().find(|(name, _)| *name == self.task.criterion()).map(|(_, value)| *value);
        if let Some(figure) = figure.filter(|f| self.best.is_none_or(|best| *f > best)) {
            self.best = Some(figure);
            self.save(&self.setting.run.best(), loader)?;
        }
        self.figures = Some(values);
        Ok(())
    }

    fn save(&self, path: &std::path::Path, loader: &LoaderState) -> anyhow::Result<()> {
        let progress = Progress {
            step: self.step,
            updates: self.optimizer.steps(),
            loader: loader.clone(),
            best: self.best.map(|best| format!("{best:?}")),
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
        state::save(path, contents)
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
    let Ok(before) = from_text(stored, "checkpoint", plan.task) else { return };
    for change in differences(&before.raw, &plan.raw) {
        tracing::warn!("resuming with another value of {change}");
    }
}

/// Where figures go.
struct Logs {
    metrics: MetricsLog,
    events: Option<EventWriter>,
}

impl Logs {
    fn open(setting: &Setting<'_>, resumed_at: Option<u64>) -> anyhow::Result<Self> {
        let path = setting.run.metrics();
        let opened = match resumed_at {
            Some(step) => MetricsLog::resume(&path, step),
            None => MetricsLog::create(&path),
        };
        let metrics = opened.with_context(|| format!("cannot write {}", path.display()))?;
        let dir = setting.run.events();
        let events = (setting.plan.raw.output.tensorboard)
            .then(|| EventWriter::create(&dir, resumed_at))
            .transpose()
            .with_context(|| format!("cannot write to {}", dir.display()))?;
        Ok(Self { metrics, events })
    }

    fn push(&mut self, step: u64, values: &[(&str, f64)]) -> anyhow::Result<()> {
        self.metrics.push(&Record::new(step, values)).context("cannot write the metric records")?;
        if let Some(events) = &mut self.events {
            events.scalars(step, values).context("cannot write TensorBoard events")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "trainer_tests.rs"]
mod tests;
