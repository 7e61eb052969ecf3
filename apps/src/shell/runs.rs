//! `runs`: lists runs, and compares them.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;

use super::Misuse;
use super::printable::print;
use super::progress::span;
use crate::report::html::{Column, Page, Width};
use crate::run::run_dir::write_atomic;
use crate::runs::compare::{Comparison, Paired, shown, shown_summary};
use crate::runs::{Run, find};

/// List runs, or compare them over their seeds
#[derive(Debug, Args)]
pub struct RunsArgs {
    #[command(subcommand)]
    command: RunsCommand,
}

#[derive(Debug, Subcommand)]
enum RunsCommand {
    /// What runs there are, and how far they are
    List(ListArgs),
    /// Mean and spread over seeds of runs that differ in nothing else, side by side
    #[command(
        after_help = "Runs that differ in train.seed alone are one row. Best is the best value during a run, last the \
        newest; ± is the standard deviation over the seeds. Of two rows with seeds in common, the difference is paired by seed, \
        with its 95 % confidence interval (Student's t).\n\nExamples, after the program's name:\n  \
        runs compare runs/kat runs/mlp\n  \
        runs compare experiments --output comparison"
    )]
    Compare(CompareArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Folders that hold runs, or runs
    #[arg(value_name = "DIR", default_value = "runs")]
    folders: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct CompareArgs {
    /// Runs, or folders that hold runs
    #[arg(value_name = "DIR", required = true)]
    folders: Vec<PathBuf>,
    /// Figure to compare by [default: that of the program: val/top1, val/box_AP or val/mIoU]
    #[arg(long, value_name = "NAME")]
    figure: Option<String>,
    /// Also write DIR/compare.html with the curves, and each curve as a PNG
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl RunsArgs {
    /// Prints to stdout.
    ///
    /// # Errors
    /// Folders without runs, runs that cannot be read, a figure that no run has.
    pub fn run(&self) -> anyhow::Result<()> {
        match &self.command {
            RunsCommand::List(args) => list(args),
            RunsCommand::Compare(args) => compare(args),
        }
    }
}

fn open(folders: &[PathBuf]) -> anyhow::Result<Vec<Run>> {
    let mut runs = Vec::new();
    for folder in folders {
        let found = find(folder)?;
        if found.is_empty() {
            let reason = format!("{} holds no run: there is no metrics.jsonl in it", folder.display());
            return Err(Misuse(reason).into());
        }
        for path in found {
            runs.push(Run::open(&path)?);
        }
    }
    Ok(runs)
}

fn list(args: &ListArgs) -> anyhow::Result<()> {
    let runs = open(&args.folders)?;
    if args.json {
        let rows = runs.iter().map(|run| {
            let figure = run.main_figure();
            let measured = figure.and_then(|name| run.measured(name));
            json!({
                "run": run.path, "seed": run.seed, "steps": run.steps(), "done": run.is_done(),
                "seconds": run.seconds(), "started": run.sessions.first().map(|s| &s.started), "figure": figure,
                "best": measured.map(|m| m.best), "best_step": measured.map(|m| m.best_step),
                "last": measured.map(|m| m.last),
            })
        });
        return print(&(serde_json::to_string_pretty(&rows.collect::<Vec<_>>())? + "\n"));
    }
    let heads =
        ["run", "seed", "steps", "figure", "best", "at step", "last", "time", "started (UTC)", "state"];
    let rows = runs.iter().map(|run| {
        let figure = run.main_figure().unwrap_or("-");
        let measured = run.measured(figure);
        let value = |pick: fn(&crate::runs::Measured) -> f64| {
            measured.as_ref().map_or("-".to_owned(), |m| shown(figure, pick(m)))
        };
        [
            run.path.display().to_string(),
            run.seed.map_or("-".to_owned(), |seed| seed.to_string()),
            run.steps().to_string(),
            figure.to_owned(),
            value(|m| m.best),
            measured.as_ref().map_or("-".to_owned(), |m| m.best_step.to_string()),
            value(|m| m.last),
            run.seconds().map_or("-".to_owned(), span),
            run.sessions.first().map_or("-".to_owned(), |s| s.started.clone()),
            (if run.is_done() { "done" } else { "under way or stopped" }).to_owned(),
        ]
        .to_vec()
    });
    print(&table(&heads, &rows.collect::<Vec<_>>()))
}

fn compare(args: &CompareArgs) -> anyhow::Result<()> {
    let runs = open(&args.folders)?;
    let figure = match &args.figure {
        Some(figure) => figure.as_str(),
        None => runs.iter().find_map(Run::main_figure).ok_or_else(|| {
            Misuse("no run was evaluated yet: name a figure with --figure, such as loss".to_owned())
        })?,
    };
    if runs.iter().all(|run| run.measured(figure).is_none()) {
        let known: std::collections::BTreeSet<&str> = runs
            .iter()
            .flat_map(|run| &run.records)
            .flat_map(|r| &r.values)
            .map(|(name, _)| name.as_str())
            .collect();
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        return Err(Misuse(format!("no run has the figure {figure}; there are {known}")).into());
    }
    let comparison = Comparison::new(&runs, figure);
    if let Some(folder) = &args.output {
        write(&comparison, &runs, folder)?;
    }
    let text = if args.json { serde_json::to_string_pretty(&comparison)? + "\n" } else { words(&comparison) };
    print(&text)
}

const HEADS: [&str; 6] = ["runs that differ in their seed alone", "n", "best", "last", "steps", "time a run"];

fn rows(comparison: &Comparison) -> Vec<Vec<String>> {
    let figure = &comparison.figure;
    let row = |group: &crate::runs::compare::Group| {
        vec![
            group.name.clone(),
            group.runs.len().to_string(),
            shown_summary(figure, &group.best_summary),
            shown_summary(figure, &group.last_summary),
            group.steps.to_string(),
            group.seconds.map_or("-".to_owned(), span),
        ]
    };
    comparison.groups.iter().map(row).collect()
}

fn paired(comparison: &Comparison, paired: &Paired) -> String {
    let figure = &comparison.figure;
    let mut text = format!("difference by seed: {}", shown_summary(figure, &Some(paired.difference)));
    if let Some(half) = paired.half_width {
        let (low, high) = (paired.difference.mean - half, paired.difference.mean + half);
        text += &format!(", 95 % confidence interval {} to {}", shown(figure, low), shown(figure, high));
    }
    text + &format!(" ({} seeds)", paired.seeds.len())
}

fn words(comparison: &Comparison) -> String {
    let mut text = format!("{}\n{}", comparison.figure, table(&HEADS, &rows(comparison)));
    if let Some(pair) = &comparison.paired {
        text += &(paired(comparison, pair) + "\n");
    }
    text
}

fn write(comparison: &Comparison, runs: &[Run], folder: &std::path::Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut page = Page::new("Runs compared", &format!("{} runs, by {}", runs.len(), comparison.figure));
    let kinds =
        [Column::Text, Column::Number, Column::Number, Column::Number, Column::Number, Column::Number];
    page.table(&HEADS.into_iter().zip(kinds).collect::<Vec<_>>(), &rows(comparison));
    if let Some(pair) = &comparison.paired {
        page.paragraph(&paired(comparison, pair));
    }
    page.section("Curves", Width::Whole);
    let mut plots = Vec::new();
    for figure in [comparison.figure.as_str(), "loss"] {
        let plot = comparison.chart(runs, figure)?;
        let path = folder.join(figure.replace('/', "_")).with_extension("png");
        plot.write_png(&path).with_context(|| format!("cannot write {}", path.display()))?;
        plots.push(plot);
    }
    page.plots(&plots);
    let keys: Vec<&String> = comparison.groups.iter().flat_map(|g| g.settings.keys()).collect();
    if !keys.is_empty() {
        page.section("What differs", Width::Whole);
        let keys: std::collections::BTreeSet<&String> = keys.into_iter().collect();
        let heads: Vec<(&str, Column)> = std::iter::once(("runs", Column::Text))
            .chain(keys.iter().map(|key| (key.as_str(), Column::Text)))
            .collect();
        let row = |g: &crate::runs::compare::Group| {
            std::iter::once(g.name.clone()).chain(keys.iter().map(|key| g.settings[*key].clone())).collect()
        };
        page.table(&heads, &comparison.groups.iter().map(row).collect::<Vec<_>>());
    }
    let path = folder.join("compare.html");
    write_atomic(&path, page.render().as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    tracing::info!("wrote {}", path.display());
    Ok(())
}

/// Columns as wide as their widest cell.
fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let cells = |column: usize| rows.iter().map(move |row| row[column].chars().count());
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(i, head)| cells(i).max().unwrap_or(0).max(head.chars().count()))
        .collect();
    let line = |row: &[&str]| {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let body = rows.iter().map(|row| line(&row.iter().map(String::as_str).collect::<Vec<_>>()));
    line(heads) + &body.collect::<String>()
}
