//! What a run keeps: checkpoints, before and after an evaluation, and the evaluation between them.

use anyhow::Context;
use kat_backbone::checkpoint::TensorMap;
use kat_backbone::step_monitor::Failure;
use kat_images::loader::LoaderState;

use super::{APART, RunContext, Trainer};
use crate::report::run_page::ReportContext;
use crate::run::ema;
use crate::run::logs::Logs;
use crate::run::schedule::Schedule;
use crate::run::signals::Held;
use crate::run::state::{self, Contents, PLAN_KEY, Progress};
use crate::run::task::Task;
use crate::shell::told;

impl<T: Task> Trainer<'_, T> {
    /// Saves the newest checkpoint before it is evaluated, and keeps the one before it until that has gone well.
    pub(super) fn save_unevaluated(&mut self, loader: &LoaderState) -> anyhow::Result<()> {
        let (last, previous) = (self.context.run.last(), self.context.run.previous());
        if last.is_file() && self.context.processes.is_first() {
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
    pub(super) fn evaluate(
        &mut self,
        logs: &mut Logs<'_>,
        loader: &LoaderState,
        schedule: &Schedule,
        held: &Held<'_>,
    ) -> anyhow::Result<bool> {
        let RunContext { run, screen, interrupt, processes, .. } = self.context;
        if !processes.is_alone() && processes.agree_to_stop(interrupt)? {
            return Ok(false);
        }
        let saved = format!("{} is at step {}; --resume goes on", run.last().display(), self.step);
        let failed = || format!("the evaluation at step {} failed; {saved}", self.step);
        let examples = self.context.plan.eval.examples;
        let evaluate = |model: &T::Model, examples| self.task.evaluate(model, screen, examples, processes);
        let evaluated = held.released(&saved, || evaluate(self.evaluated(), examples));
        let Some(evaluation) = evaluated else { return self.not_begun(&saved) };
        let evaluation = evaluation.with_context(failed)?;
        let values = self.task.figures(&evaluation);
        for (name, value) in &values {
            if !value.is_finite() {
                if processes.is_first() && run.previous().is_file() {
                    // So that the last one stays a good one.
                    std::fs::rename(run.previous(), run.last())
                        .with_context(|| format!("cannot write {}", run.last().display()))?;
                }
                return Err(self
                    .not_finite(Failure { what: name, value: *value, step: self.step }, None, schedule)
                    .into());
            }
        }
        let mut shown: Vec<(String, f64)> = values.iter().map(|(name, v)| (name.to_string(), *v)).collect();
        match &self.ema {
            Some(ema) if self.context.plan.eval.use_ema && ema::distance(&self.model, ema) > APART => {
                let plain = held.released(&saved, || evaluate(&self.model, 0));
                let Some(plain) = plain else { return self.not_begun(&saved) };
                let plain = self.task.figures(&plain.with_context(failed)?);
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
        match figure.filter(|f| self.best.is_none_or(|best| *f > best)) {
            Some(figure) => {
                (self.best, self.stale) = (Some(figure), 0);
                self.save(&run.best(), loader)?;
            }
            None => self.stale += 1,
        }
        self.save(&run.last(), loader)?;
        self.follow(&evaluation, schedule);
        self.evaluation = Some(evaluation);
        if processes.is_first() && run.previous().exists() {
            let refused = || format!("cannot remove {}", run.previous().display());
            std::fs::remove_file(run.previous()).with_context(refused)?;
        }
        Ok(true)
    }

    /// The rational functions that training began with.
    pub fn start(&self) -> &TensorMap {
        &self.start
    }

    /// Rewrites the page of the run while it goes on. What fails at it is said, and no reason to stop training.
    fn follow(&self, evaluation: &T::Evaluation, schedule: &Schedule) {
        let RunContext { run, plan, processes, .. } = self.context;
        let ends = self.place() >= schedule.total() || self.is_out_of_patience();
        if !plan.report || !processes.is_first() || ends {
            return;
        }
        let total = (schedule.total() as u64).saturating_add_signed(-self.shift);
        let context = ReportContext { plan, run, start: &self.start, under_way: Some(total) };
        if let Err(error) = self.task.report(self.evaluated(), evaluation, context) {
            tracing::warn!("the report could not be rewritten: {}", told(&error));
        }
    }

    /// The evaluation was not begun here because somebody asked to stop; other processes may be at it, and are ended.
    fn not_begun(&self, saved: &str) -> anyhow::Result<bool> {
        match self.context.processes.is_alone() {
            true => Ok(false),
            false => Err(self.context.interrupt.stopped(saved).into()),
        }
    }

    pub(super) fn save(&mut self, path: &std::path::Path, loader: &LoaderState) -> anyhow::Result<()> {
        self.context.run.check()?;
        // Of all processes, before those that write nothing leave.
        let moments = self.steps.moments()?;
        if !self.context.processes.is_first() {
            return Ok(());
        }
        let [train_images, held_out_images] = self.images.clone();
        let progress = Progress {
            step: self.step,
            updates: self.steps.updates(),
            loader: loader.clone(),
            best: self.best.map(|best| format!("{best:?}")),
            stale: self.stale,
            evaluation_due: self.evaluation_due,
            schedule_shift: self.shift,
            train_images: Some(train_images),
            held_out_images: Some(held_out_images),
        };
        let mut metadata = self.task.metadata(&self.model)?;
        metadata.insert(PLAN_KEY.to_owned(), self.context.plan.to_toml());
        let contents =
            Contents { model: &self.model, ema: self.ema.as_ref(), moments, progress: &progress, metadata };
        state::save(path, contents)?;
        self.sessions.saved(self.step).context("cannot write the record of sessions")
    }
}
