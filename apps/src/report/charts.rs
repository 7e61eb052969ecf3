//! The curves of a run, of its metric records.

use std::path::Path;

use anyhow::Context;

use crate::plot::curves::{LineChart, Series};
use crate::plot::range::Spread;
use crate::plot::{Plot, PlotError};
use crate::run::metrics_log::Record;
use crate::runs::MAIN;

/// Values of one batch, drawn with their moving average; parts of the loss are such too.
const NOISY: [&str; 2] = ["loss", "gradient norm"];
/// Before the name of a part of the loss.
const PART: &str = "loss_";
/// The chart that all parts of the loss share.
const PARTS: &str = "parts of the loss";

/// The chart that a value is drawn in, and the name of its curve there. "val/loss" shares a chart with "loss".
fn place(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((part, measure)) => (measure.rsplit('/').next().unwrap_or(measure), part),
        None => name.strip_prefix(PART).map_or((name, "train"), |part| (PARTS, part)),
    }
}

/// What is looked at first: figures of the held-out part, then losses, then how it was trained.
fn order(title: &str, names: &[&str]) -> usize {
    let evaluated = names.iter().any(|name| name.contains('/') && place(name).0 == title);
    match title {
        _ if MAIN.iter().any(|main| main.ends_with(&format!("/{title}"))) => 0,
        "loss" => 2,
        PARTS => 3,
        _ if evaluated => 1,
        "lr" => 4,
        _ => 5,
    }
}

/// Charts of all values of a run, each with a name for a file.
///
/// # Errors
/// A chart that cannot be drawn.
pub fn charts(records: &[Record]) -> Result<Vec<(String, Plot)>, PlotError> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in records.iter().flat_map(|r| &r.values) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let mut titles: Vec<&str> = Vec::new();
    for (title, _) in names.iter().map(|name| place(name)) {
        if !titles.contains(&title) {
            titles.push(title);
        }
    }
    let chart = |title: &str| {
        let series = names.iter().filter(|name| place(name).0 == title).map(|name| {
            let points = records.iter().filter_map(|r| Some((r.step as f64, r.get(name)?))).collect();
            let label = place(name).1;
            // The rate is exact: an average would take its peak and its warm-up away.
            match NOISY.contains(name) || title == PARTS {
                true => Series::noisy(label, points),
                false => Series::new(label, points),
            }
        });
        let mut chart = LineChart::new(title, "step", series.collect());
        chart.ends = true;
        if title.contains("loss") && spans_decades(&chart.series) {
            chart.spread = Spread::Log;
        }
        Ok((title.replace(|c: char| !c.is_ascii_alphanumeric(), "_"), chart.plot()?))
    };
    titles.sort_by_key(|title| order(title, &names));
    titles.into_iter().map(chart).collect()
}

/// Whether all values are positive and the largest is over a hundred times the smallest.
fn spans_decades(series: &[Series]) -> bool {
    let values = series.iter().flat_map(|s| s.points.iter().map(|p| p.1)).filter(|v| v.is_finite());
    let (low, high) = values.fold((f64::INFINITY, 0.0f64), |(l, h), v| (l.min(v), h.max(v)));
    low > 0.0 && high > 100.0 * low
}

/// Writes each chart as DIR/NAME.png.
///
/// # Errors
/// A folder or file that cannot be written.
pub fn write_plots(charts: &[(String, Plot)], dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for (name, plot) in charts {
        let path = dir.join(format!("{name}.png"));
        plot.write_png(&path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::curves::polylines;

    #[test]
    fn the_rate_is_drawn_as_it_is() {
        let rate = |step: u64| if step == 10 { 1.0 } else { 0.0 };
        let records: Vec<Record> = (1..60)
            .map(|i| Record::new(i, &[("loss", rate(i)), ("lr", rate(i)), ("gradient norm", 1.0)]))
            .collect();
        let lines = |name: &str| {
            let (_, plot) = charts(&records).unwrap().into_iter().find(|(n, _)| n == name).unwrap();
            polylines(plot.svg()).into_iter().filter(|points| points.len() > 20).collect::<Vec<_>>()
        };
        assert_eq!((lines("loss").len(), lines("gradient_norm").len(), lines("lr").len()), (2, 2, 1));
        let top = |points: &[(f64, f64)]| points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
        assert_eq!(top(&lines("lr")[0]), top(&lines("loss")[0]), "the peak of the rate is where it was");
    }

    #[test]
    fn parts_of_a_loss_share_a_chart() {
        let value = |i: u64| 1.0 / i as f64;
        let records: Vec<Record> = (1..5)
            .map(|i| Record::new(i, &[("loss", value(i)), ("loss_cls", value(i)), ("loss_mask", value(i))]))
            .chain([Record::new(5, &[("val/loss", 0.5)])])
            .collect();
        let all = charts(&records).unwrap();
        let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["loss", "parts_of_the_loss"]);
        let first = Record::new(
            1,
            &[("gradient norm", 1.0), ("lr", 1.0), ("loss", 1.0), ("val/a", 1.0), ("val/top1", 1.0)],
        );
        let titles = charts(&[first]).unwrap().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(titles, ["top1", "a", "loss", "lr", "gradient_norm"]);
        assert_eq!([0, 1].map(|i| polylines(all[i].1.svg()).len()), [1, 2]);
        assert!(all[1].1.svg().contains("\ncls  1.00") && all[1].1.svg().contains("\nmask  1.00"));
    }
}
