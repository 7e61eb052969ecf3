//! Runs side by side: those that differ in their seed alone are one group.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::statistics::Summary;
use super::{Run, is_loss};
use crate::plot::curves::{LineChart, Series};
use crate::plot::{Plot, PlotError};

/// Settings in a group's name; of more, the name is that of its first run.
const MAX_NAMED: usize = 3;

/// Runs of one configuration.
#[derive(Debug, Clone, Serialize)]
pub struct Group {
    /// What sets it apart: its settings that others do not have, or the name of its first run.
    pub name: String,
    /// The directories.
    pub runs: Vec<String>,
    /// The seeds, in the order of the runs.
    pub seeds: Vec<Option<i64>>,
    /// The settings in which groups differ, as this one has them.
    pub settings: BTreeMap<String, String>,
    /// The figure's best value in each run; null where it was not measured.
    pub best: Vec<Option<f64>>,
    /// Over the runs in which it was measured.
    pub best_summary: Option<Summary>,
    /// The same of the newest values.
    pub last_summary: Option<Summary>,
    /// Mean seconds of training.
    pub seconds: Option<f64>,
    /// Most steps done.
    pub steps: u64,
}

/// The first group less the second, over the seeds that both have.
#[derive(Debug, Clone, Serialize)]
pub struct Paired {
    /// The seeds.
    pub seeds: Vec<i64>,
    /// Of the differences of the best values.
    pub difference: Summary,
    /// Half the width of its 95 % confidence interval.
    pub half_width: Option<f64>,
}

/// Groups by a figure.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The figure.
    pub figure: String,
    /// The groups, in the order in which their first runs were named.
    pub groups: Vec<Group>,
    /// Where there are two groups with seeds in common.
    pub paired: Option<Paired>,
    /// The runs of each group.
    #[serde(skip)]
    members: Vec<Vec<usize>>,
}

impl Comparison {
    /// Compares by a figure.
    pub fn new(runs: &[Run], figure: &str) -> Self {
        let mut members: Vec<Vec<usize>> = Vec::new();
        for (i, run) in runs.iter().enumerate() {
            match members.iter_mut().find(|group| runs[group[0]].settings == run.settings) {
                Some(group) => group.push(i),
                None => members.push(vec![i]),
            }
        }
        let differing = differing(members.iter().map(|group| &runs[group[0]].settings));
        let groups = members.iter().map(|group| summarize(runs, group, &differing, figure)).collect();
        let mut comparison = Self { figure: figure.to_owned(), groups, paired: None, members };
        comparison.paired = comparison.pair(runs);
        comparison
    }

    fn pair(&self, runs: &[Run]) -> Option<Paired> {
        let [first, second] = &self.members[..] else { return None };
        let by_seed = |group: &[usize]| -> BTreeMap<i64, f64> {
            let value = |i: &usize| Some((runs[*i].seed?, runs[*i].measured(&self.figure)?.best));
            group.iter().filter_map(value).collect()
        };
        let (first, second) = (by_seed(first), by_seed(second));
        let seeds: Vec<i64> = first.keys().filter(|seed| second.contains_key(seed)).copied().collect();
        let differences: Vec<f64> = seeds.iter().map(|seed| first[seed] - second[seed]).collect();
        let difference = Summary::of(&differences)?;
        Some(Paired { seeds, difference, half_width: difference.half_width() })
    }

    /// A chart of the groups' mean curves over the steps at which all their runs were measured.
    ///
    /// # Errors
    /// A chart that cannot be drawn.
    pub fn chart(&self, runs: &[Run], figure: &str) -> Result<Plot, PlotError> {
        let series = self.groups.iter().zip(&self.members).map(|(group, members)| {
            let curves: Vec<BTreeMap<u64, f64>> =
                members.iter().map(|i| runs[*i].curve(figure).into_iter().collect()).collect();
            let steps = curves.first().into_iter().flat_map(|curve| curve.keys());
            let mean = |step: &u64| {
                let values: Option<Vec<f64>> = curves.iter().map(|curve| curve.get(step).copied()).collect();
                Some((*step as f64, Summary::of(&values?)?.mean))
            };
            let points: Vec<(f64, f64)> = steps.filter_map(mean).collect();
            if figure.contains('/') {
                Series::new(&group.name, points)
            } else {
                Series::noisy(&group.name, points)
            }
        });
        let mut chart = LineChart::new(figure, "step", series.collect());
        chart.size = (720, 400);
        chart.plot()
    }
}

fn summarize(runs: &[Run], members: &[usize], differing: &BTreeSet<String>, figure: &str) -> Group {
    let group: Vec<&Run> = members.iter().map(|i| &runs[*i]).collect();
    let first = group[0];
    let settings: BTreeMap<String, String> = differing
        .iter()
        .map(|key| (key.clone(), first.settings.get(key).cloned().unwrap_or_else(|| "not set".to_owned())))
        .collect();
    let name = if settings.is_empty() || settings.len() > MAX_NAMED {
        first.path.file_name().unwrap_or(first.path.as_os_str()).to_string_lossy().into_owned()
    } else {
        settings.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
    };
    let measured: Vec<_> = group.iter().map(|run| run.measured(figure)).collect();
    let summary = |pick: fn(super::Measured) -> f64| {
        Summary::of(&measured.iter().flatten().map(|m| pick(*m)).collect::<Vec<_>>())
    };
    let seconds: Option<Vec<f64>> = group.iter().map(|run| run.seconds()).collect();
    Group {
        name,
        runs: group.iter().map(|run| run.path.display().to_string()).collect(),
        seeds: group.iter().map(|run| run.seed).collect(),
        settings,
        best: measured.iter().map(|m| m.map(|m| m.best)).collect(),
        best_summary: summary(|m| m.best),
        last_summary: summary(|m| m.last),
        seconds: seconds.and_then(|s| Summary::of(&s)).map(|s| s.mean),
        steps: group.iter().map(|run| run.steps()).max().unwrap_or(0),
    }
}

/// The keys that not all have with one value.
fn differing<'a>(all: impl Iterator<Item = &'a BTreeMap<String, String>>) -> BTreeSet<String> {
    let all: Vec<_> = all.collect();
    let keys: BTreeSet<&String> = all.iter().flat_map(|settings| settings.keys()).collect();
    let alike = |key: &str| all.windows(2).all(|pair| pair[0].get(key) == pair[1].get(key));
    keys.into_iter().filter(|key| !alike(key)).cloned().collect()
}

/// A value of a figure as people write it: shares in percent, losses as they are.
pub fn shown(figure: &str, value: f64) -> String {
    if is_loss(figure) { format!("{value:.4}") } else { format!("{:.2}", 100.0 * value) }
}

/// `mean ± std`.
pub fn shown_summary(figure: &str, summary: &Option<Summary>) -> String {
    match summary {
        None => "-".to_owned(),
        Some(Summary { mean, std: None, .. }) => shown(figure, *mean),
        Some(Summary { mean, std: Some(std), .. }) => {
            format!("{} ± {}", shown(figure, *mean), shown(figure, *std))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::tests::made;

    #[test]
    fn seeds_are_one_group_and_two_groups_are_paired() {
        let dir = tempfile::tempdir().unwrap();
        let config = |mixer: &str, seed: usize| {
            format!(
                "[train]\nseed = {seed}\n[output]\ndir = \"{mixer}{seed}\"\n[model]\nmixer = \"{mixer}\"\ndepth = 2\n"
            )
        };
        let tops = [("kat", [0.70, 0.74, 0.72]), ("mlp", [0.60, 0.66, 0.63])];
        let runs: Vec<Run> = tops
            .iter()
            .flat_map(|(mixer, tops)| tops.iter().enumerate().map(move |(seed, top)| (mixer, seed, top)))
            .map(|(mixer, seed, top)| {
                made(dir.path(), &format!("{mixer}{seed}"), &config(mixer, seed), &[0.1, *top])
            })
            .collect();
        let found = Comparison::new(&runs, "val/top1");
        let names: Vec<&str> = found.groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["model.mixer=\"kat\"", "model.mixer=\"mlp\""]);
        assert_eq!(shown_summary("val/top1", &found.groups[0].best_summary), "72.00 ± 2.00");
        assert_eq!(found.groups[1].seeds, [Some(0), Some(1), Some(2)]);
        let paired = found.paired.as_ref().unwrap();
        // differences of 10, 8 and 9 points: 9 ± 4.303 · 1 / √3
        assert!((paired.difference.mean - 0.09).abs() < 1e-12);
        assert!((paired.half_width.unwrap() - 0.04303 / 3f64.sqrt()).abs() < 1e-6);
        let svg = found.chart(&runs, "val/top1").unwrap().svg().to_owned();
        assert!(svg.contains("kat") && svg.contains("mlp"));
        let alone = Comparison::new(&runs[..1], "val/top1");
        assert!(alone.groups[0].name == "kat0" && alone.paired.is_none());
    }
}
