//! The page of a run: curves, confusion matrix, classes, most confident mistakes, a batch, learned functions.

use anyhow::Context;
use image::RgbImage;
use kat_backbone::{Device, Kat};
use kat_images::Shard;

use super::Classify;
use super::calibration::Calibration;
use super::figures::{ClassFigures, TOP5_FROM, by_class};
use super::held_out::Evaluation;
use crate::plot::confusion::Confused;
use crate::plot::curves::{LineChart, Series};
use crate::plot::{Plot, PlotError};
use crate::report::html::{Column, Figure, Page, Width};
use crate::report::mosaic::mosaic;
use crate::report::run_page::{Facts, ReportContext, RunPage};
use crate::report::thumbnails::data_uri;
use crate::run::task::Task as _;

/// Side of a thumbnail in pixels.
const THUMBNAIL: u32 = 128;
/// Images of a batch that are shown, and their side in pixels.
const BATCH: usize = 16;
const TILE: u32 = 180;
/// Most classes in the table.
const MOST_CLASSES: usize = 30;

/// Writes report.html, and of a finished run the plots.
///
/// # Errors
/// Files that cannot be written.
pub fn write<D: Device>(
    task: &Classify<D>,
    model: &Kat<D>,
    evaluation: &Evaluation,
    context: ReportContext<'_>,
) -> anyhow::Result<()> {
    let accuracy = evaluation.top.accuracy();
    let (train, val) = task.counts();
    let mut merit = vec![(percent(accuracy.top1), "top-1, held out".to_owned())];
    if task.classes().len() >= TOP5_FROM {
        merit.push((percent(accuracy.top5), "top-5, held out".to_owned()));
    }
    let calibration = evaluation.calibration();
    merit.push((percent(calibration.ece), "calibration error (ECE)".to_owned()));
    let facts = Facts {
        data: format!("{train} training and {val} held-out images of {} classes", task.classes().len()),
        merit,
        parameters: kat_backbone::nn::Module::parameter_count(model),
    };
    let mut page = RunPage::begin(context, facts)?;
    page.page.section("What is taken for what", Width::Half);
    page.plots(vec![("confusion".to_owned(), evaluation.confusion.plot()?)]);
    confused(&mut page.page, evaluation);
    page.page.section("Classes", Width::Half);
    page.plots(vec![("calibration".to_owned(), reliability(&calibration)?)]);
    classes(&mut page.page, evaluation, task.classes());
    mistakes(&mut page.page, evaluation)?;
    page.training_batch(|| batch(task))?;
    page.functions(model)?;
    page.write()
}

fn percent(value: f64) -> String {
    if value.is_nan() { "–".to_owned() } else { format!("{:.2} %", 100.0 * value) }
}

/// Accuracy over confidence: on the diagonal, the model is right as often as it says.
fn reliability(calibration: &Calibration) -> Result<Plot, PlotError> {
    let points = calibration.bins.iter().map(|bin| (bin.confidence, bin.accuracy)).collect();
    let diagonal = (0..=10).map(|i| (f64::from(i) / 10.0, f64::from(i) / 10.0)).collect();
    let series = vec![Series::new("accuracy", points), Series::line("as sure as right", diagonal)];
    let mut chart = LineChart::new("accuracy over confidence", "confidence", series);
    chart.y_range = Some((0.0, 1.0));
    chart.plot()
}

/// Recall, precision and F1 of each class, of many those with the lowest F1.
fn classes(page: &mut Page, evaluation: &Evaluation, names: &[String]) {
    let mut figures = by_class(evaluation, names);
    figures.retain(|class| class.images > 0 || class.precision.is_finite());
    if figures.len() > MOST_CLASSES {
        figures.sort_by(|a, b| a.f1.total_cmp(&b.f1));
        page.paragraph(&format!("The {MOST_CLASSES} of {} classes with the lowest F1.", figures.len()));
        figures.truncate(MOST_CLASSES);
    }
    let row = |c: &ClassFigures| {
        let numbers = [percent(c.recall), percent(c.precision), percent(c.f1)];
        [c.class.clone(), c.images.to_string()].into_iter().chain(numbers).collect()
    };
    let heads = ["images", "recall", "precision", "F1"].map(|head| (head, Column::Number));
    let heads: Vec<_> = std::iter::once(("class", Column::Text)).chain(heads).collect();
    page.table(&heads, &figures.iter().map(row).collect::<Vec<Vec<String>>>());
}

/// The first images of training with the classes that they count for.
fn batch<D: Device>(task: &Classify<D>) -> anyhow::Result<RgbImage> {
    let batch = task.batches(Shard::WHOLE, None)?.next().context("there is no batch")??;
    let (side, names) = (task.side(), task.classes());
    let caption = |row: usize| match &batch.soft {
        None => batch.labels.get(row).map(|label| names[*label as usize].clone()).unwrap_or_default(),
        Some(soft) => {
            // a mixture names what it is mostly of
            let mut shares: Vec<(usize, f32)> = soft.row(row).iter().copied().enumerate().collect();
            shares.sort_by(|a, b| b.1.total_cmp(&a.1));
            let of = |(class, share): &(usize, f32)| format!("{} {:.0} %", names[*class], 100.0 * share);
            shares.iter().take(2).filter(|(_, share)| *share > 0.05).map(of).collect::<Vec<_>>().join(", ")
        }
    };
    let tile = |row: usize| {
        let image = task.plan.data.normalize.to_image(batch.images.item(row), side as usize);
        (image, caption(row))
    };
    let tiles: Vec<_> = (0..batch.images.len().min(BATCH)).map(tile).collect();
    Ok(mosaic(&tiles, TILE, BATCH as u32 / 2))
}

fn confused(page: &mut Page, evaluation: &Evaluation) {
    let row = |c: Confused| vec![c.truth, c.predicted, c.count.to_string(), percent(c.share)];
    let rows: Vec<Vec<String>> = evaluation.confusion.most_confused(10).into_iter().map(row).collect();
    if rows.is_empty() {
        page.paragraph("Every held-out image was recognized.");
        return;
    }
    let heads = [
        ("is", Column::Text),
        ("taken for", Column::Text),
        ("images", Column::Number),
        ("share of the class", Column::Number),
    ];
    page.table(&heads, &rows);
}

fn mistakes(page: &mut Page, evaluation: &Evaluation) -> anyhow::Result<()> {
    if evaluation.mistakes.is_empty() {
        return Ok(());
    }
    page.section("Most confident mistakes", Width::Whole);
    let figures = evaluation.mistakes.iter().map(|m| {
        Ok(Figure {
            source: data_uri(&m.image, THUMBNAIL)?,
            heading: format!("{}, taken for {}", m.truth, m.predicted),
            caption: format!("{:.1} % sure · {}", 100.0 * m.probability, m.id),
        })
    });
    page.gallery(&figures.collect::<anyhow::Result<Vec<_>>>()?, THUMBNAIL);
    Ok(())
}
