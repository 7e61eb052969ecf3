//! The page at the end of a run: curves, IoU by class, confusion matrix, predictions beside their annotation.

use anyhow::Context;
use image::{GrayImage, RgbImage};
use kat_backbone::Device;
use kat_backbone::nn::Module;
use kat_datasets::ade20k::palette;
use kat_datasets::metrics::miou::{ConfusionMatrix, LabelConfig, SegmentationScores};
use kat_heads::segment::Segmentor;

use super::Segment;
use super::inference::Settings;
use crate::cli::report::{charts, write_plots};
use crate::config::Plan;
use crate::report::bars::{Bar, bars};
use crate::report::confusion::Confusion;
use crate::report::html::{Column, Figure, Page};
use crate::report::metrics_log::read;
use crate::report::thumbnails::data_uri;
use crate::train::run_dir::{RunDir, write_atomic};
use crate::viz::masks::draw_labels;
use crate::viz::palette::Rgb;
use crate::viz::{legible, side_by_side};

/// Width of a picture pair in pixels.
const PAIR: u32 = 420;

/// The colour of a class: ADE20K's own where the classes are ADE20K's, in the order of their indices.
pub fn class_colour(class: u8) -> Rgb {
    palette::colour(class.into())
}

/// The picture under its label map; 255 leaves it as it is.
pub fn overlay(image: &RgbImage, labels: &GrayImage) -> RgbImage {
    let (mut picture, _) = legible(image);
    draw_labels(&mut picture, labels, |label| (label != 255).then(|| class_colour(label)));
    picture
}

/// Writes report.html and the plots of a finished run.
///
/// # Errors
/// Held-out images that cannot be read, or files that cannot be written.
pub fn write<D: Device>(
    task: &Segment<D>,
    model: &Segmentor<D>,
    plan: &Plan,
    run: &RunDir,
) -> anyhow::Result<()> {
    let records = read(&run.metrics()).with_context(|| format!("cannot read {}", run.metrics().display()))?;
    let names = task.classes();
    let seen = examine(task, model, plan)?;
    let scores = seen.matrix.scores();
    let mut plots = charts(&records);
    let (train, val) = task.counts();
    let lead = format!("{train} training and {val} held-out images of {} classes", names.len());
    let mut page = Page::new(&run.path().display().to_string(), &lead);
    page.figures_of_merit(&[
        (percent(scores.m_iou), "mIoU, held out".to_owned()),
        (percent(scores.m_acc), "mAcc, held out".to_owned()),
        (percent(scores.a_acc), "aAcc, held out".to_owned()),
        (model.parameter_count().to_string(), "parameters".to_owned()),
    ]);
    page.section("Curves");
    page.plots(&plots.iter().map(|(_, scene)| scene.clone()).collect::<Vec<_>>());
    page.section("Classes");
    let by_class = bars("IoU by class", &class_bars(names, &scores));
    page.plots(std::slice::from_ref(&by_class));
    plots.push(("iou".to_owned(), by_class));
    page.section("What is taken for what");
    let confusion = confusion(names, &seen.matrix);
    let matrix = confusion.scene();
    page.plots(std::slice::from_ref(&matrix));
    plots.push(("confusion".to_owned(), matrix));
    confused(&mut page, &confusion);
    page.section("Held-out images, the worst first");
    page.gallery(&pictures(seen.examples)?, PAIR);
    page.folded("Configuration", &plan.to_toml());
    write_plots(&plots, &run.plots())?;
    let path = run.report();
    write_atomic(&path, page.render().as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// A held-out image to show.
struct Example {
    id: String,
    /// Share of its labelled pixels that are right.
    right: f64,
    image: RgbImage,
    labels: GrayImage,
    predicted: GrayImage,
}

struct Examined {
    matrix: ConfusionMatrix,
    examples: Vec<Example>,
}

/// Counts all held-out images and keeps some: half of them the worst, half the first ones as they come.
fn examine<D: Device>(task: &Segment<D>, model: &Segmentor<D>, plan: &Plan) -> anyhow::Result<Examined> {
    let settings = Settings::of(plan);
    let mut matrix = ConfusionMatrix::new(LabelConfig::new(task.classes().len()))?;
    let (mut worst, mut first): (Vec<Example>, Vec<Example>) = (Vec::new(), Vec::new());
    let keep = plan.raw.eval.examples.div_ceil(2);
    task.held_out(model, &settings).look(|seen| {
        matrix.update(seen.labels.as_raw(), seen.predicted.as_raw())?;
        let pairs = seen.labels.as_raw().iter().zip(seen.predicted.as_raw()).filter(|(l, _)| **l != 255);
        let (right, all) = pairs.fold((0, 0), |(r, n), (l, p)| (r + u64::from(l == p), n + 1));
        let example = Example {
            id: seen.sample.id.clone(),
            right: right as f64 / f64::from(all.max(1)),
            image: seen.sample.image.clone(),
            labels: seen.labels.clone(),
            predicted: seen.predicted.clone(),
        };
        if first.len() < keep {
            first.push(example);
            return Ok(());
        }
        let at = worst.partition_point(|other| other.right <= example.right);
        if at < keep {
            worst.insert(at, example);
            worst.truncate(keep);
        }
        Ok(())
    })?;
    worst.extend(first);
    worst.sort_by(|a, b| a.right.total_cmp(&b.right));
    worst.truncate(plan.raw.eval.examples);
    Ok(Examined { matrix, examples: worst })
}

fn pictures(examples: Vec<Example>) -> anyhow::Result<Vec<Figure>> {
    let figure = |e: Example| {
        let truth = overlay(&e.image, &e.labels);
        let predicted = overlay(&e.image, &e.predicted);
        let pair = side_by_side(("annotated", &truth), ("predicted", &predicted));
        Ok(Figure {
            source: data_uri(&pair, PAIR * 2)?,
            heading: format!("{} of the pixels right", percent(e.right)),
            caption: e.id,
        })
    };
    examples.into_iter().map(figure).collect()
}

fn percent(value: f64) -> String {
    if value.is_nan() { "–".to_owned() } else { format!("{:.2} %", 100.0 * value) }
}

fn class_bars(names: &[String], scores: &SegmentationScores) -> Vec<Bar> {
    let bar = |(class, (name, iou)): (usize, (&String, &f64))| Bar {
        name: name.clone(),
        value: Some(*iou).filter(|v| v.is_finite()),
        colour: palette::colour(class),
    };
    names.iter().zip(&scores.iou).enumerate().map(bar).collect()
}

fn confusion(names: &[String], matrix: &ConfusionMatrix) -> Confusion {
    let mut confusion = Confusion::new(names.to_vec());
    for (truth, row) in matrix.counts().chunks_exact(names.len().max(1)).enumerate() {
        for (predicted, count) in row.iter().enumerate() {
            confusion.add_many(truth, predicted, *count);
        }
    }
    confusion
}

fn confused(page: &mut Page, confusion: &Confusion) {
    let rows: Vec<Vec<String>> = confusion
        .most_confused(10)
        .into_iter()
        .map(|c| vec![c.truth, c.predicted, c.count.to_string(), percent(c.share)])
        .collect();
    if rows.is_empty() {
        page.paragraph("Every labelled pixel was recognised.");
        return;
    }
    let heads = [
        ("is", Column::Text),
        ("taken for", Column::Text),
        ("pixels", Column::Number),
        ("share of the class", Column::Number),
    ];
    page.table(&heads, &rows);
}
