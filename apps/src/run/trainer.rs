//! The loop that all three tasks train with.
//!
//! A run is a function of its configuration and data: batches come from the loader in an order that depends on the
//! seed, dropout and drop path draw from the step's own number, and the rate is computed from the step. So a run
//! that was cut off and resumed from its checkpoint goes on to the same weights. Several processes have equal parts of each
//! batch; all of them make the same steps, and the first writes.

use anyhow::Context;
use kat_backbone::checkpoint::TensorMap;
use kat_backbone::collective::gradients::Summed;
use kat_backbone::nn::Module as _;
use kat_backbone::optim::{AdamWConfig, GradientSet, ParameterOptions, average_weights};
use kat_backbone::step_monitor::{Clip, Failure, Readings};
use kat_backbone::{Backend as _, Graph, Tensor};
use kat_images::loader::LoaderState;

pub use super::error::TrainError;
use super::freeze::freeze;
use super::logs::Logs;
use super::monitor::Monitor;
use super::param_groups::ParamRules;
use super::processes::Processes;
use super::run_dir::{RunDir, RunDirError};
use super::schedule::Schedule;
use super::sessions::SessionLog;
use super::signals::Interrupt;
use super::state::{self, EMA, PLAN_KEY, Progress};
use super::steps::Steps;
use super::{ema, resume, start};
use crate::config::{Duration, Plan, from_run};
use crate::run::metrics_log::Resumed;
use crate::run::task::{Part, Task};
use crate::shell::progress::Screen;

mod checkpoints;

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
pub struct RunContext<'a> {
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
    /// Those that train together.
    pub processes: &'a Processes,
}

/// A run under way.
pub struct Trainer<'a, T: Task> {
    task: &'a T,
    context: RunContext<'a>,
    model: T::Model,
    ema: Option<T::Model>,
    start: TensorMap,
    steps: Steps<T::Device>,
    monitor: Monitor<T::Device>,
    step: u64,
    /// The place on the schedule is the step and this: another number of processes makes another number of steps of an
    /// epoch.
    shift: i64,
    resume: Option<Progress>,
    best: Option<f64>,
    /// Evaluations in a row that were not the best.
    stale: u64,
    /// Names of the images to train on and held out, as checksums.
    images: [String; 2],
    /// Whether the evaluation after the newest step is still to be done.
    evaluation_due: bool,
    /// What the evaluation after the newest step found.
    evaluation: Option<T::Evaluation>,
    sessions: SessionLog,
}

impl<'a, T: Task> Trainer<'a, T> {
    /// A run from the start, or from the newest checkpoint of the directory where there is one.
    ///
    /// # Errors
    /// A model that cannot be built or a checkpoint that does not fit it.
    pub fn new(task: &'a T, context: RunContext<'a>) -> anyhow::Result<Self> {
        let plan = context.plan;
        task.check_held_out()?;
        let mut model = task.build()?;
        let (start, frozen) = (start::of_model(&model), freeze(&mut model, plan.model.freeze, task.depth())?);
        if frozen > 0 {
            tracing::info!(
                "{frozen} of {} parameters stay as they are (model.freeze)",
                model.parameter_count()
            );
        }
        let rules = ParamRules::new(&plan.optimizer.no_decay, plan.optimizer.layer_decay, task.depth())
            .of_rationals(plan.optimizer.rational_lr, plan.optimizer.clip_rationals);
        let adamw = AdamWConfig { betas: plan.optimizer.betas, eps: plan.optimizer.eps };
        let options = |name: &str, rank| {
            let rule = rules.rule(name, rank);
            let weight_decay = if rule.decays { plan.optimizer.weight_decay } else { 0.0 };
            ParameterOptions { lr_scale: rule.lr_scale, weight_decay, in_norm: rule.in_norm }
        };
        let mut steps =
            Steps::new(&model, task.device(), context.processes.collective(), &plan.train, adamw, options)?;
        let mut ema = (plan.train.ema_decay > 0.0).then(|| model.clone());
        let (last, previous) = (context.run.last(), context.run.previous());
        let mut resume = None;
        if last.is_file() || previous.is_file() {
            let (map, progress) = resume::read(task, &last, &previous)?;
            warn_of_changes(context.plan, map.metadata.get(PLAN_KEY));
            state::restore(&mut model, &map, "", &last)?;
            if let Some(ema) = &mut ema {
                state::restore(ema, &map, EMA, &last)?;
            }
            let damaged = || format!("{} cannot be resumed", last.display());
            steps.import(&map, progress.updates).with_context(damaged)?;
            resume = Some(progress);
        }
        let best = resume.as_ref().and_then(|p| p.best.as_ref()?.parse().ok());
        let step = resume.as_ref().map_or(0, |p| p.step);
        Ok(Self {
            task,
            model,
            ema,
            start,
            steps,
            monitor: Monitor::new(task.device())?,
            step,
            shift: resume.as_ref().map_or(0, |p| p.schedule_shift),
            evaluation_due: resume.as_ref().is_some_and(|p| p.evaluation_due),
            images: [Part::Train, Part::HeldOut].map(|part| resume::fingerprint(task, part)),
            stale: resume.as_ref().map_or(0, |p| p.stale),
            resume,
            best,
            evaluation: None,
            sessions: SessionLog::begin(&context.run.sessions(), step, context.device),
            context,
        })
    }

    /// The weights that evaluation looks at: the averaged ones where kept and wanted.
    pub fn evaluated(&self) -> &T::Model {
        match &self.ema {
            Some(ema) if self.context.plan.eval.use_ema => ema,
            _ => &self.model,
        }
    }

    /// What there is to say of these weights on the held-out part; a run that just ended has it already.
    ///
    /// # Errors
    /// Data that cannot be read.
    pub fn evaluation(&mut self) -> anyhow::Result<T::Evaluation> {
        match self.evaluation.take() {
            Some(evaluation) => Ok(evaluation),
            None => {
                let RunContext { plan, screen, processes, .. } = self.context;
                self.task.evaluate(self.evaluated(), screen, plan.eval.examples, processes)
            }
        }
    }

    /// Notes that all is done, the report too.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn completed(&mut self) -> anyhow::Result<()> {
        match self.context.processes.is_first() {
            true => self.sessions.completed().context("cannot write the record of sessions"),
            false => Ok(()),
        }
    }

    /// Trains to the end, or until asked to stop.
    ///
    /// # Errors
    /// [`TrainError`], data that cannot be read, or files that cannot be written.
    pub fn run(&mut self) -> anyhow::Result<Ended> {
        // Where the directory is gone, that is the reason, whichever write noticed it.
        self.train().map_err(|error| match self.context.run.check() {
            Ok(()) => error,
            Err(gone) if error.is::<RunDirError>() => gone.into(),
            Err(gone) => error.context(gone),
        })
    }

    fn train(&mut self) -> anyhow::Result<Ended> {
        let RunContext { plan, interrupt, processes, .. } = self.context;
        let held = interrupt.hold();
        let t = &plan.train;
        let mut loader =
            self.task.batches(processes.shard(), self.resume.as_ref().map(|p| p.loader.clone()))?;
        let per_epoch = loader.batches_per_epoch();
        let steps_per_epoch = (per_epoch as usize / t.accumulate).max(1);
        let schedule = plan.schedule(steps_per_epoch);
        self.find_place(&loader.state(), loader.batches_left(), steps_per_epoch);
        let total = (schedule.total() as u64).saturating_add_signed(-self.shift);
        let resumed =
            self.resume.as_ref().map(|p| Resumed { step: p.step, evaluation_due: p.evaluation_due });
        let mut logs = Logs::open(self.context.run, plan.tensorboard, resumed, processes.is_first())?;
        if self.evaluation_due && !self.evaluate(&mut logs, &loader.state(), &schedule, &held)? {
            return Ok(Ended::Interrupted(self.step));
        }
        let eval_every = t.eval_every.steps(schedule.total(), steps_per_epoch);
        let mut progress = self.context.screen.progress("training", "steps", self.step, total);
        while self.step < total && !self.is_out_of_patience() {
            let before = loader.state();
            let mut gradients: Option<GradientSet<T::Device>> = None;
            let mut summed = None;
            for micro in 0..t.accumulate as u64 {
                if processes.is_alone() && interrupt.requested() {
                    // A step that is not complete is done again by the resumed run.
                    self.save(&self.context.run.last(), &before)?;
                    progress.finish();
                    return Ok(Ended::Interrupted(self.step));
                }
                let batch = loader.next().context("the data ended before the run did")??;
                if micro + 1 == t.accumulate as u64 {
                    summed = Some(self.last_pass(&batch, micro, gradients.take())?);
                    break;
                }
                let found = self.pass(&batch, micro)?;
                match &mut gradients {
                    None => gradients = Some(found),
                    Some(sum) => sum.add(self.task.device(), found)?,
                }
            }
            let Some(summed) = summed else { break };
            let lr = schedule.lr(self.place());
            self.update(&summed, lr)?;
            let done = self.step == total;
            // The first step too: curves begin where the run does.
            let log = self.step == 1 || self.step.is_multiple_of(t.log_every as u64) || done;
            let epoch_ends = self.place().is_multiple_of(steps_per_epoch);
            let evaluate = done || self.place().is_multiple_of(eval_every);
            let stop = processes.agree_to_stop(interrupt)?;
            let due = t.save_every > 0 && self.step.is_multiple_of(t.save_every as u64);
            // A GPU is asked only when something depends on the answer.
            if !T::Device::IS_ASYNC || log || evaluate || epoch_ends || due || stop {
                let seen = if log { self.monitor.take()? } else { self.monitor.read() };
                let (seen, rank) = processes.readings(seen)?;
                self.check(&seen, rank, &schedule)?;
                progress.update(self.step, &[("loss", seen.loss), ("lr", lr)]);
                if log {
                    let mut values = vec![("loss", seen.loss), ("lr", lr), ("gradient norm", seen.norm)];
                    let mut parts = self.monitor.take_parts()?;
                    processes.add_up(&mut parts)?;
                    values.extend(parts);
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
                self.save(&self.context.run.last(), &loader.state())?;
            }
            if stop && !done {
                progress.finish();
                return Ok(Ended::Interrupted(self.step));
            }
        }
        progress.finish();
        self.steps.tell_cost();
        if self.step < total {
            let (figure, count, best) = (self.task.criterion(), self.stale, self.best.unwrap_or(f64::NAN));
            let kept = self.context.run.best();
            tracing::info!(
                "stopped at step {} of {total}: {count} evaluations have not bettered {figure} {best:.4} (train.patience); {} \
                 is the best",
                self.step,
                kept.display()
            );
        }
        Ok(Ended::Complete)
    }

    /// Whether enough evaluations in a row were not the best to stop before the end.
    fn is_out_of_patience(&self) -> bool {
        let patience = self.context.plan.train.patience as u64;
        patience > 0 && self.stale >= patience
    }

    /// A graph for pass number `micro` of a step.
    fn graph(&self, micro: u64) -> Graph<T::Device> {
        let t = &self.context.plan.train;
        let graph = Graph::training(pass_seed(t.seed, self.step * t.accumulate as u64 + micro));
        graph.over(self.context.processes.collective())
    }

    /// The loss of one batch.
    fn loss(&mut self, graph: &mut Graph<T::Device>, batch: &T::Batch) -> anyhow::Result<Tensor<T::Device>> {
        let losses = self.task.loss(&self.model, graph, batch)?;
        self.monitor.losses(&losses, self.step)?;
        Ok(losses.total)
    }

    /// The gradients of one batch.
    fn pass(&mut self, batch: &T::Batch, micro: u64) -> anyhow::Result<GradientSet<T::Device>> {
        let mut graph = self.graph(micro);
        let loss = self.loss(&mut graph, batch)?;
        Ok(GradientSet::take(&self.model, graph.backward(&loss)?)?)
    }

    /// The gradients of a step's last batch and of those before it, over all processes.
    fn last_pass(
        &mut self,
        batch: &T::Batch,
        micro: u64,
        earlier: Option<GradientSet<T::Device>>,
    ) -> anyhow::Result<Summed<T::Device>> {
        let parameters = self.model.parameters();
        let under_way = self.steps.begin(earlier)?;
        let mut graph = self.graph(micro).giving(&parameters, under_way.clone());
        let loss = self.loss(&mut graph, batch)?;
        let left = graph.backward(&loss)?;
        Ok(self.steps.finish(under_way, &parameters, left)?)
    }

    /// Clips, updates weights and averages.
    fn update(&mut self, gradients: &Summed<T::Device>, lr: f64) -> anyhow::Result<()> {
        let t = &self.context.plan.train;
        let clip = Clip { mean: 1.0 / t.accumulate as f64, max_norm: t.clip_grad };
        self.steps.update(&mut self.model, gradients, &mut self.monitor, clip, self.step, lr)?;
        if let Some(ema) = &mut self.ema {
            average_weights(ema, &self.model, ema::decay(t, self.step))?;
        }
        self.step += 1;
        self.evaluation = None;
        Ok(())
    }

    /// The place on the schedule.
    fn place(&self) -> usize {
        self.step.saturating_add_signed(self.shift) as usize
    }

    /// Finds the place on the schedule of a run that goes on with another number of processes than it had: its epochs
    /// then have other numbers of steps.
    fn find_place(&mut self, loader: &LoaderState, batches_left: u64, steps_per_epoch: usize) {
        let Some(before) = self.resume.as_ref().map(|p| &p.loader) else { return };
        let plan = self.context.plan;
        if before.world != loader.world && matches!(plan.duration, Duration::Epochs(_)) {
            let left = batches_left / plan.train.accumulate as u64;
            let place = (loader.epoch + 1) * steps_per_epoch as u64 - left.min(steps_per_epoch as u64);
            self.shift = place as i64 - self.step as i64;
        }
    }

    /// Stops at what the monitor saw fail; the weights are those before it.
    fn check(&self, seen: &Readings, rank: Option<usize>, schedule: &Schedule) -> Result<(), TrainError> {
        seen.failure.map_or(Ok(()), |failure| Err(self.not_finite(failure, rank, schedule)))
    }

    fn not_finite(&self, failure: Failure, rank: Option<usize>, schedule: &Schedule) -> TrainError {
        let Failure { what, value, step } = failure;
        self.context.processes.end_together();
        let last = Some(self.context.run.last()).filter(|path| state::is_good(path));
        let lr = schedule.lr(step.saturating_add_signed(self.shift) as usize);
        TrainError::NotFinite { what, value, step, rank, lr, last }
    }
}

/// The seed of dropout and drop path in pass number `pass` of a run: neighboring numbers give unrelated seeds
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
mod cluster_tests;
#[cfg(test)]
#[path = "trainer_tests.rs"]
mod tests;
