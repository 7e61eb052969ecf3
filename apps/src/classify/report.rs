//! The page at the end of a run: curves, confusion matrix, most confident mistakes, learned functions.

use anyhow::Context;
use kat_backbone::checkpoint::model::export;
use kat_backbone::init::Activation;
use kat_backbone::init::tables::coefficients;
use kat_backbone::{Device, Kat};
use ndarray::ArrayView2;

use super::Classify;
use super::held_out::Evaluation;
use crate::config::Plan;
use crate::plot::Plot;
use crate::plot::rationals::{Rational, RationalLayer, rational_panels};
use crate::report::about::about;
use crate::report::charts::{charts, write_plots};
use crate::report::html::{Column, Figure, Page};
use crate::report::thumbnails::data_uri;
use crate::run::metrics_log::read;
use crate::run::run_dir::{RunDir, write_atomic};
use crate::run::sessions;

/// Side of a thumbnail in pixels.
const THUMBNAIL: u32 = 128;

/// Writes report.html and the plots of a finished run.
///
/// # Errors
/// Files that cannot be written.
pub fn write<D: Device>(
    task: &Classify<D>,
    model: &Kat<D>,
    evaluation: &Evaluation,
    plan: &Plan,
    run: &RunDir,
) -> anyhow::Result<()> {
    let records = read(&run.metrics()).with_context(|| format!("cannot read {}", run.metrics().display()))?;
    let accuracy = evaluation.top.accuracy();
    let mut plots = charts(&records)?;
    let (train, val) = task.counts();
    let mut page = Page::new(
        &run.path().display().to_string(),
        &format!("{train} training and {val} held-out images of {} classes", task.classes().len()),
    );
    page.figures_of_merit(&[
        (format!("{:.2} %", 100.0 * accuracy.top1), "top-1, held out".to_owned()),
        (format!("{:.2} %", 100.0 * accuracy.top5), "top-5, held out".to_owned()),
        (kat_backbone::nn::Module::parameter_count(model).to_string(), "parameters".to_owned()),
    ]);
    about(&mut page, &sessions::read(&run.sessions()));
    page.section("Curves");
    page.plots(plots.iter().map(|(_, plot)| plot));
    page.section("What is taken for what");
    let matrix = evaluation.confusion.plot()?;
    page.plots([&matrix]);
    plots.push(("confusion".to_owned(), matrix));
    mistakes(&mut page, evaluation)?;
    if let Some(functions) = functions(model)? {
        page.section("Learned functions");
        page.plots([&functions]);
        plots.push(("rational".to_owned(), functions));
    }
    page.folded("Configuration", &plan.to_toml());
    write_plots(&plots, &run.plots())?;
    let path = run.report();
    write_atomic(&path, page.render().as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

fn mistakes(page: &mut Page, evaluation: &Evaluation) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> = evaluation
        .confusion
        .most_confused(10)
        .into_iter()
        .map(|c| vec![c.truth, c.predicted, c.count.to_string(), format!("{:.1} %", 100.0 * c.share)])
        .collect();
    if rows.is_empty() {
        page.paragraph("Every held-out image was recognized.");
        return Ok(());
    }
    let heads = [
        ("is", Column::Text),
        ("taken for", Column::Text),
        ("images", Column::Number),
        ("share of the class", Column::Number),
    ];
    page.table(&heads, &rows);
    page.section("Most confident mistakes");
    let figures = evaluation.mistakes.iter().map(|m| {
        Ok(Figure {
            source: data_uri(&m.image, THUMBNAIL)?,
            heading: format!("{} for {}", m.predicted, m.truth),
            caption: format!("{:.1} %, {}", 100.0 * m.probability, m.id),
        })
    });
    page.gallery(&figures.collect::<anyhow::Result<Vec<_>>>()?, THUMBNAIL);
    Ok(())
}

/// The rational functions of every layer, nothing for models without.
///
/// # Errors
/// A chart that cannot be drawn.
pub fn functions<D: Device>(model: &Kat<D>) -> anyhow::Result<Option<Plot>> {
    let (map, config) = (export(model), model.config());
    let start = |activation: Activation| -> anyhow::Result<Rational> {
        let c = coefficients(activation, config.order)?;
        Ok(Rational { numerator: c.numerator, denominator: c.denominator })
    };
    let mut layers = Vec::new();
    for block in 0..config.depth {
        for (act, activation) in [("act1", config.act1), ("act2", config.act2)] {
            let name = format!("blocks.{block}.mlp.{act}");
            let rows = |part: &str| {
                let tensor = map.get(&format!("{name}.{part}"))?;
                let [rows, columns] = tensor.shape[..].try_into().ok()?;
                ArrayView2::from_shape((rows, columns), &tensor.data[..]).ok()
            };
            let (Some(p), Some(q)) = (rows("weight_numerator"), rows("weight_denominator")) else { continue };
            layers.extend(RationalLayer::new(name.as_str(), p, q, start(activation)?));
        }
    }
    Ok((!layers.is_empty()).then(|| rational_panels(&layers, 4)).transpose()?)
}
