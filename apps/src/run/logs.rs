//! Where the figures of a run under way go: metrics.jsonl, metrics.csv and TensorBoard.

use anyhow::Context;

use super::run_dir::RunDir;
use crate::run::metrics_csv::MetricsCsv;
use crate::run::metrics_log::{MetricsLog, Record, Resumed, read};
use crate::run::tensorboard::EventWriter;

/// The open files; none where another process writes.
pub(super) struct Logs<'a> {
    run: &'a RunDir,
    metrics: Option<(MetricsLog, MetricsCsv)>,
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
        let kept = read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let table = run.table();
        let table =
            MetricsCsv::of(&table, &kept).with_context(|| format!("cannot write {}", table.display()))?;
        let dir = run.events();
        let events = tensorboard
            .then(|| EventWriter::create(&dir, resumed.map(|r| r.step)))
            .transpose()
            .with_context(|| format!("cannot write to {}", dir.display()))?;
        Ok(Self { run, metrics: Some((metrics, table)), events })
    }

    /// Records values at a step.
    ///
    /// # Errors
    /// A full disk or the like; a directory that is no longer there, where writes would go nowhere.
    pub(super) fn push(&mut self, step: u64, values: &[(&str, f64)]) -> anyhow::Result<()> {
        self.run.check()?;
        if let Some((metrics, table)) = &mut self.metrics {
            let record = Record::new(step, values);
            metrics.push(&record).context("cannot write the metric records")?;
            let all = || read(metrics.path());
            table.push(&record, all).context("cannot write the table of metric records")?;
        }
        if let Some(events) = &mut self.events {
            events.scalars(step, values).context("cannot write TensorBoard events")?;
        }
        Ok(())
    }
}
