//! `report`: curves of a run from its metric records, finished or under way.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::Misuse;
use crate::report::about::about;
use crate::report::charts::{charts, write_plots};
use crate::report::html::{Page, Width};
use crate::run::metrics_log::{Record, read};
use crate::run::run_dir::write_atomic;
use crate::run::sessions;

/// Draw the curves of a run, finished or under way, into an HTML page
#[derive(Debug, Args)]
#[command(
    after_help = "Example, after the program's name:\n  report runs/classify\n\nReads RUN/metrics.jsonl; writes RUN/curves.html and \
    RUN/plots/*.png."
)]
pub struct ReportCommand {
    /// The run's directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
}

impl ReportCommand {
    /// Writes the page and the plots.
    ///
    /// # Errors
    /// A directory that holds no run, or files that cannot be read or written.
    pub fn run(&self) -> anyhow::Result<()> {
        let metrics = self.run.join("metrics.jsonl");
        if !metrics.is_file() {
            return Err(
                Misuse(format!("{} is not a run: it has no metrics.jsonl", self.run.display())).into()
            );
        }
        let records = read(&metrics).with_context(|| format!("cannot read {}", metrics.display()))?;
        let charts = charts(&records)?;
        let mut page = Page::new(&self.run.display().to_string(), &lead(&records));
        about(&mut page, &sessions::read(&self.run.join("sessions.jsonl")));
        page.section("Curves", Width::Whole);
        page.plots(charts.iter().map(|(_, plot)| plot));
        if let Ok(config) = std::fs::read_to_string(self.run.join("config.toml")) {
            page.folded("Configuration", &config);
        }
        write_plots(&charts, &self.run.join("plots"))?;
        let path = self.run.join("curves.html");
        write_atomic(&path, page.render().as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        tracing::info!("wrote {}", path.display());
        Ok(())
    }
}

fn lead(records: &[Record]) -> String {
    match records.last() {
        Some(last) => format!("{} records, up to step {}", records.len(), last.step),
        None => "no records yet".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_becomes_a_page_and_plots() {
        let dir = tempfile::tempdir().unwrap();
        let lines: String = (1..60)
            .map(|i| format!("{{\"step\":{i},\"loss\":{},\"lr\":0.1}}\n", 3.0 / f64::from(i)))
            .collect();
        std::fs::write(dir.path().join("metrics.jsonl"), lines + "{\"step\":60,\"val/loss\":0.2}\n").unwrap();
        ReportCommand { run: dir.path().into() }.run().unwrap();
        let html = std::fs::read_to_string(dir.path().join("curves.html")).unwrap();
        assert!(html.contains("60 records, up to step 60") && html.matches("<svg").count() == 2);
        assert!(dir.path().join("plots/loss.png").is_file() && dir.path().join("plots/lr.png").is_file());
    }

    #[test]
    fn what_is_no_run_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let error = ReportCommand { run: dir.path().into() }.run().unwrap_err();
        assert!(error.to_string().contains("has no metrics.jsonl") && crate::shell::status(&error) == 2);
    }
}
