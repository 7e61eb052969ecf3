//! What the pages of all programs have in common: the head, the curves, the batch, the end.

use anyhow::Context as _;
use image::RgbImage;
use kat_backbone::checkpoint::TensorMap;
use kat_backbone::{Device, Kat};
use kat_images::decode::{DecodeOptions, decode_file};
use kat_images::encode::save_jpeg;

use super::about::about;
use super::charts::{charts, write_plots};
use super::functions::functions;
use super::html::{Page, Width};
use super::thumbnails::data_uri;
use crate::config::Plan;
use crate::plot::Plot;
use crate::run::metrics_log::read;
use crate::run::run_dir::{RunDir, write_atomic};
use crate::run::sessions::{self, Session};
use crate::shell::progress::span;

/// Seconds after which the page of a run under way loads itself again.
const REFRESH: u32 = 15;
/// Longest side of the picture of a batch.
const BATCH: u32 = 1600;

/// Of which run a page is.
#[derive(Clone, Copy)]
pub struct ReportContext<'a> {
    /// The configuration.
    pub plan: &'a Plan,
    /// Where files go.
    pub run: &'a RunDir,
    /// The rational functions that training began with ([`crate::run::start`]).
    pub start: &'a TensorMap,
    /// Steps of the whole run while it is under way; then the page loads itself again and plots are not written as files.
    pub under_way: Option<u64>,
}

/// What the head says beside what the run's files say.
pub struct Facts {
    /// "120 training and 30 held-out images of 5 classes".
    pub data: String,
    /// Figures of the held-out part, the main one first.
    pub merit: Vec<(String, String)>,
    /// Values that are learned.
    pub parameters: usize,
}

/// A page under construction with the plots that are written beside it.
pub struct RunPage<'a> {
    context: ReportContext<'a>,
    /// The page.
    pub page: Page,
    plots: Vec<(String, Plot)>,
}

impl<'a> RunPage<'a> {
    /// The head and the curves.
    ///
    /// # Errors
    /// Metric records that cannot be read.
    pub fn begin(context: ReportContext<'a>, facts: Facts) -> anyhow::Result<Self> {
        let run = context.run;
        let records =
            read(&run.metrics()).with_context(|| format!("cannot read {}", run.metrics().display()))?;
        let sessions = sessions::read(&run.sessions());
        let mut page = Page::new(&run.path().display().to_string(), &facts.data);
        let step = records.last().map_or(0, |record| record.step);
        if let Some(total) = context.under_way {
            page.refresh(REFRESH);
            page.under_way(
                &format!("step {step} of {total}; this page follows the run"),
                step as f64 / total as f64,
            );
        }
        page.figures_of_merit(&facts.merit);
        page.facts(&head(&sessions, step, facts.parameters));
        let curves = charts(&records)?;
        page.section("Curves", Width::Whole);
        page.plots(curves.iter().map(|(_, plot)| plot));
        Ok(Self { context, page, plots: curves })
    }

    /// Adds plots, which are also written as NAME.png at the end of the run.
    pub fn plots(&mut self, plots: Vec<(String, Plot)>) {
        self.page.plots(plots.iter().map(|(_, plot)| plot));
        self.plots.extend(plots);
    }

    /// Adds the first batch of training as it is augmented. It is drawn once a run and kept as plots/train_batch.jpg.
    ///
    /// # Errors
    /// Images that cannot be read, or a file that cannot be written.
    pub fn training_batch(&mut self, draw: impl FnOnce() -> anyhow::Result<RgbImage>) -> anyhow::Result<()> {
        let path = self.context.run.plots().join("train_batch.jpg");
        let kept = path.is_file().then(|| decode_file(&path, &DecodeOptions::default()).ok()).flatten();
        let picture = match kept {
            Some(kept) => kept,
            None => {
                let drawn = draw().context("the first batch of training cannot be drawn")?;
                let refused = || format!("cannot write {}", path.display());
                std::fs::create_dir_all(self.context.run.plots()).with_context(refused)?;
                save_jpeg(&drawn, 88, &path).with_context(refused)?;
                drawn
            }
        };
        self.page.section("A batch of training, augmented", Width::Whole);
        self.page
            .picture(&data_uri(&picture, BATCH)?, "images of the first batch as the model was given them");
        Ok(())
    }

    /// Adds the learned functions of a backbone that has some.
    ///
    /// # Errors
    /// A chart that cannot be drawn.
    pub fn functions<D: Device>(&mut self, backbone: &Kat<D>) -> anyhow::Result<()> {
        if let Some(functions) = functions(backbone, Some(self.context.start))? {
            self.page.section("Learned functions", Width::Whole);
            self.plots(vec![("rational".to_owned(), functions)]);
        }
        Ok(())
    }

    /// Writes the page, and of a run that is done the plots.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn write(mut self) -> anyhow::Result<()> {
        let ReportContext { plan, run, under_way, .. } = self.context;
        let sessions = sessions::read(&run.sessions());
        if sessions.len() > 1 {
            // the head says all there is of one
            about(&mut self.page, &sessions);
        }
        self.page.folded("Configuration", &plan.to_toml());
        if under_way.is_none() {
            write_plots(&self.plots, &run.plots())?;
        }
        let path = run.report();
        write_atomic(&path, self.page.render().as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// When, how long, on what, by which command.
fn head(sessions: &[Session], step: u64, parameters: usize) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let (Some(first), Some(last)) = (sessions.first(), sessions.last()) {
        let seconds: f64 = sessions.iter().map(|s| s.seconds).sum();
        facts.push(("started (UTC)", first.started.replace(['T', 'Z'], " ").trim().to_owned()));
        facts.push(("trained", format!("{} · {step} steps", span(seconds))));
        facts.push(("device and numbers", last.device.clone()));
        facts.push(("version", last.version.clone()));
        facts.push(("parameters", grouped(parameters)));
        facts.push(("command", last.command.clone()));
    } else {
        facts.push(("parameters", grouped(parameters)));
    }
    facts
}

/// 1,234,567.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([1, 999, 1000, 1_234_567].map(grouped), ["1", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn the_head_tells_when_how_long_on_what_and_how() {
        let session = Session {
            started: "2026-01-02T03:04:05Z".into(),
            seconds: 60.0,
            from: 0,
            to: 40,
            device: "cpu, 2 threads".into(),
            command: "classify train --config a.toml".into(),
            version: "0.1.0".into(),
            complete: false,
        };
        let facts = head(&[session.clone(), Session { seconds: 80.0, ..session }], 80, 1200);
        let text = facts.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join("|");
        let expected =
            "2026-01-02 03:04:05|2m 20s · 80 steps|cpu, 2 threads|0.1.0|1,200|classify train --config a.toml";
        assert_eq!(text, expected);
        assert_eq!(head(&[], 0, 5), [("parameters", "5".to_owned())]);
    }
}
