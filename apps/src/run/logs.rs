//! Where the figures of a run under way go: metrics.jsonl and TensorBoard.

use anyhow::Context;

use super::run_dir::RunDir;
use crate::run::metrics_log::{MetricsLog, Record, Resumed};
use crate::run::tensorboard::EventWriter;

/// The open files; none where another process writes.
pub(super) struct Logs<'a> {
    run: &'a RunDir,
    metrics: Option<MetricsLog>,
    events: Option<EventWriter>,
}

impl<'a> Logs<'a> {
    /// Starts them, or goes on where a run stood.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub(super) fn open(
        run: &'a RunDir,
        tensorboard: bool,
        resumed: Option<Resumed>,
        writes: bool,
    ) -> anyhow::Result<Self> {
        if !writes {
            return Ok(Self { run, metrics: None, events: None });
        }
        let path = run.metrics();
        let opened = match resumed {
            Some(resumed) => MetricsLog::resume(&path, resumed),
            None => MetricsLog::create(&path),
        };
        let metrics = opened.with_context(|| format!("cannot write {}", path.display()))?;
        let dir = run.events();
        let events = tensorboard
            .then(|| EventWriter::create(&dir, resumed.map(|r| r.step)))
            .transpose()
            .with_context(|| format!("cannot write to {}", dir.display()))?;
        Ok(Self { run, metrics: Some(metrics), events })
    }

    /// Records values at a step.
    ///
    /// # Errors
    /// A full disk or the like; a directory that is no longer there, where writes would go nowhere.
    pub(super) fn push(&mut self, step: u64, values: &[(&str, f64)]) -> anyhow::Result<()> {
        self.run.check()?;
        if let Some(metrics) = &mut self.metrics {
            metrics.push(&Record::new(step, values)).context("cannot write the metric records")?;
        }
        if let Some(events) = &mut self.events {
            events.scalars(step, values).context("cannot write TensorBoard events")?;
        }
        Ok(())
    }
}
