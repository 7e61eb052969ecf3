//! `report`: curves of a run from its metric records, finished or under way.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::Misuse;
use crate::report::about::about;
use crate::report::axis::Spread;
use crate::report::curves::{LineChart, Series};
use crate::report::html::Page;
use crate::report::metrics_log::{Record, read};
use crate::report::raster::write_png;
use crate::report::scene::Scene;
use crate::train::run_dir::write_atomic;
use crate::train::sessions;

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
    pub fn run(&self) -> anyhow::Result<()> {
        let metrics = self.run.join("metrics.jsonl");
        if !metrics.is_file() {
            return Err(
                Misuse(format!("{} is not a run: it has no metrics.jsonl", self.run.display())).into()
            );
        }
        let records = read(&metrics).with_context(|| format!("cannot read {}", metrics.display()))?;
        let charts = charts(&records);
        let mut page = Page::new(&self.run.display().to_string(), &lead(&records));
        about(&mut page, &sessions::read(&self.run.join("sessions.jsonl")));
        page.section("Curves");
        page.plots(&charts.iter().map(|(_, scene)| scene.clone()).collect::<Vec<_>>());
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

/// Values of one batch, drawn with their moving average.
const NOISY: [&str; 2] = ["loss", "gradient norm"];

fn lead(records: &[Record]) -> String {
    match records.last() {
        Some(last) => format!("{} records, up to step {}", records.len(), last.step),
        None => "no records yet".to_owned(),
    }
}

/// Charts of all values of a run, each with a name for a file. "val/loss" shares a chart with "loss".
pub fn charts(records: &[Record]) -> Vec<(String, Scene)> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in records.iter().flat_map(|r| &r.values) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let measure = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
    let mut measures: Vec<String> = Vec::new();
    for name in &names {
        if !measures.contains(&measure(name)) {
            measures.push(measure(name));
        }
    }
    let chart = |wanted: String| {
        let series: Vec<Series> = names
            .iter()
            .filter(|name| measure(name) == wanted)
            .map(|name| {
                let points = records.iter().filter_map(|r| Some((r.step as f64, r.get(name)?))).collect();
                let label = name.split_once('/').map_or("train", |(part, _)| part);
                // The rate is exact: an average would take its peak and its warm-up away.
                if NOISY.contains(name) { Series::noisy(label, points) } else { Series::new(label, points) }
            })
            .collect();
        let mut chart = LineChart::new(wanted.as_str(), "step", series);
        if wanted.contains("loss") && spans_decades(&chart.series) {
            chart.spread = Spread::Log;
        }
        (wanted.replace(|c: char| !c.is_ascii_alphanumeric(), "_"), chart.scene())
    };
    measures.into_iter().map(chart).collect()
}

/// Whether all values are positive and the largest is over a hundred times the smallest.
fn spans_decades(series: &[Series]) -> bool {
    let values = series.iter().flat_map(|s| s.points.iter().map(|p| p.1)).filter(|v| v.is_finite());
    let (low, high) = values.fold((f64::INFINITY, 0.0f64), |(l, h), v| (l.min(v), h.max(v)));
    low > 0.0 && high > 100.0 * low
}

/// Writes each chart as DIR/NAME.png.
pub fn write_plots(charts: &[(String, Scene)], dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for (name, scene) in charts {
        let path = dir.join(format!("{name}.png"));
        write_png(scene, &path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
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
    fn the_rate_is_drawn_as_it_is() {
        let rate = |step: u64| if step == 10 { 1.0 } else { 0.0 };
        let records: Vec<Record> = (1..60)
            .map(|i| Record::new(i, &[("loss", rate(i)), ("lr", rate(i)), ("gradient norm", 1.0)]))
            .collect();
        let lines = |name: &str| {
            let (_, scene) = charts(&records).into_iter().find(|(n, _)| n == name).unwrap();
            let curves = scene.shapes.into_iter().filter_map(|s| match s {
                crate::report::scene::Shape::Line { points, .. } if points.len() > 20 => Some(points),
                _ => None,
            });
            curves.collect::<Vec<_>>()
        };
        assert_eq!((lines("loss").len(), lines("gradient_norm").len(), lines("lr").len()), (2, 2, 1));
        let top = |points: &[(f32, f32)]| points.iter().map(|p| p.1).fold(f32::INFINITY, f32::min);
        assert_eq!(top(&lines("lr")[0]), top(&lines("loss")[0]), "the peak of the rate is where it was");
    }

    #[test]
    fn what_is_no_run_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let error = ReportCommand { run: dir.path().into() }.run().unwrap_err();
        assert!(error.to_string().contains("has no metrics.jsonl") && crate::cli::status(&error) == 2);
    }
}
