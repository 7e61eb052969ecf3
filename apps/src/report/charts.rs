//! The curves of a run, of its metric records.

use std::path::Path;

use anyhow::Context;

use crate::plot::axis::Spread;
use crate::plot::curves::{LineChart, Series};
use crate::plot::raster::write_png;
use crate::plot::scene::Scene;
use crate::run::metrics_log::Record;

/// Values of one batch, drawn with their moving average.
const NOISY: [&str; 2] = ["loss", "gradient norm"];

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
    fn the_rate_is_drawn_as_it_is() {
        let rate = |step: u64| if step == 10 { 1.0 } else { 0.0 };
        let records: Vec<Record> = (1..60)
            .map(|i| Record::new(i, &[("loss", rate(i)), ("lr", rate(i)), ("gradient norm", 1.0)]))
            .collect();
        let lines = |name: &str| {
            let (_, scene) = charts(&records).into_iter().find(|(n, _)| n == name).unwrap();
            let curves = scene.shapes.into_iter().filter_map(|s| match s {
                crate::plot::scene::Shape::Line { points, .. } if points.len() > 20 => Some(points),
                _ => None,
            });
            curves.collect::<Vec<_>>()
        };
        assert_eq!((lines("loss").len(), lines("gradient_norm").len(), lines("lr").len()), (2, 2, 1));
        let top = |points: &[(f32, f32)]| points.iter().map(|p| p.1).fold(f32::INFINITY, f32::min);
        assert_eq!(top(&lines("lr")[0]), top(&lines("loss")[0]), "the peak of the rate is where it was");
    }
}
