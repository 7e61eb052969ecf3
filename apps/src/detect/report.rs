//! The page of a run: curves, precision over recall, AP by size and category, images, a batch.

use anyhow::Context;
use image::RgbImage;
use kat_backbone::Device;
use kat_backbone::nn::Module;
use kat_coco::evaluate::{AreaRange, CategoryFigures, Evaluation as Scores};
use kat_coco::json::Category;
use kat_images::Shard;
use kat_images::encode::save_png;
use kat_images::sample::Target;
use kat_mask_rcnn::MaskRcnn;

use super::Detect;
use super::draw::{draw_found, draw_targets, draw_truth};
use super::held_out::Evaluation;
use super::scored::Figures;
use crate::draw::palette::class_color;
use crate::draw::side_by_side;
use crate::plot::bars::{Bar, bars};
use crate::plot::curves::{LineChart, Series};
use crate::plot::{Plot, PlotError};
use crate::report::html::{Column, Figure, Page, Width};
use crate::report::mosaic::mosaic;
use crate::report::run_page::{Facts, ReportContext, RunPage};
use crate::report::thumbnails::data_uri;
use crate::run::task::Task as _;

/// Side of a pair of images on the page in pixels.
const PAIR: u32 = 640;
/// Images of a batch that are shown, and their side in pixels.
const BATCH: usize = 8;
const TILE: u32 = 480;

/// Writes report.html, and of a finished run the plots.
///
/// # Errors
/// Images to show that cannot be read again, or files that cannot be written.
pub fn write<D: Device>(
    task: &Detect<D>,
    model: &MaskRcnn<D>,
    evaluation: &Evaluation,
    context: ReportContext<'_>,
) -> anyhow::Result<()> {
    let (splits, categories) = (task.splits(), task.categories());
    let figures = &evaluation.figures;
    let (train, val) = (splits.train.0.len(), splits.val.0.len());
    let facts = Facts {
        data: format!("{train} training and {val} held-out images of {} categories", categories.len()),
        merit: merit(figures),
        parameters: model.parameter_count(),
    };
    let mut page = RunPage::begin(context, facts)?;
    let parts = [("boxes", Some(&figures.boxes)), ("masks", figures.masks.as_ref())];
    for (what, scores) in parts.into_iter().filter_map(|(what, e)| Some((what, e?))) {
        page.page.section(&format!("Precision of {what}"), Width::Half);
        let drawn = [precision(what, scores)?, by_size(what, scores)?, by_category(what, scores)?];
        let named = drawn.into_iter().zip(["precision", "size", "category"]);
        page.plots(named.map(|(plot, name)| (format!("{name}_{what}"), plot)).collect());
        table(&mut page.page, scores);
    }
    if let Some(reason) = &figures.no_masks {
        page.page.paragraph(&format!("Masks are not evaluated: {reason}."));
    }
    page.page.section("Ground truth and predictions", Width::Whole);
    let pairs = pairs(task, evaluation, context)?;
    page.page.gallery(&pairs, PAIR);
    page.training_batch(|| batch(task, &categories))?;
    page.functions(&model.backbone.net)?;
    page.write()
}

/// Held-out images, each as annotated and as predicted; the first also as plots/example.png.
fn pairs<D: Device>(
    task: &Detect<D>,
    evaluation: &Evaluation,
    context: ReportContext<'_>,
) -> anyhow::Result<Vec<Figure>> {
    let (images, categories) = (&task.splits().val, task.categories());
    let drawn = task.plan.detect.show_threshold as f32;
    let mut pairs = Vec::new();
    for (number, (id, found)) in evaluation.examples.iter().enumerate() {
        let sample = images.of_id(id).map_err(|e| anyhow::anyhow!(e))?;
        let truth = draw_truth(&sample, &categories)?;
        let predicted = draw_found(&sample.image, found, &categories, drawn);
        let pair = side_by_side(("ground truth", &truth), ("predicted", &predicted));
        let certain = found.detections.scores().iter().filter(|s| **s >= drawn).count();
        let annotated = match &sample.target {
            Target::Instances(objects) => objects.len(),
            _ => 0,
        };
        pairs.push(Figure {
            source: data_uri(&pair, PAIR)?,
            heading: images.file_name(id).unwrap_or_else(|| format!("image {id}")),
            caption: format!("{annotated} annotated, {certain} found with at least {:.0} %", 100.0 * drawn),
        });
        if number == 0 && context.under_way.is_none() {
            let path = context.run.plots().join("example.png");
            std::fs::create_dir_all(context.run.plots())?;
            save_png(&pair, &path).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(pairs)
}

/// The first images of training with their boxes and masks.
fn batch<D: Device>(task: &Detect<D>, categories: &[Category]) -> anyhow::Result<RgbImage> {
    let batch = task.batches(Shard::WHOLE, None)?.next().context("there is no batch")??;
    let side = task.side() as usize;
    let tile = |row: usize| {
        let image = task.plan.data.normalize.to_image(batch.images.item(row), side);
        Ok((draw_targets(&image, &batch.targets[row], categories), String::new()))
    };
    let tiles = (0..batch.images.len().min(BATCH)).map(tile).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(mosaic(&tiles, TILE, BATCH as u32 / 2))
}

fn merit(figures: &Figures) -> Vec<(String, String)> {
    let ap = |e: &Scores| format!("{:.1} %", 100.0 * e.ap());
    let mut merit = vec![(ap(&figures.boxes), "AP of boxes, held out".to_owned())];
    merit.extend(figures.masks.as_ref().map(|e| (ap(e), "AP of masks, held out".to_owned())));
    merit
}

/// Precision over recall, the mean over categories, at three overlaps.
fn precision(what: &str, scores: &Scores) -> Result<Plot, PlotError> {
    let series = [0.5, 0.75, 0.9].into_iter().filter_map(|iou| {
        let curve = scores.curve(None, iou, AreaRange::All)?;
        let points = curve.iter().map(|p| (p.recall, p.precision)).collect();
        Some(Series::new(format!("IoU {iou}"), points))
    });
    let mut chart = LineChart::new(format!("precision of {what}"), "recall", series.collect());
    chart.y_range = Some((0.0, 1.0));
    chart.plot()
}

fn by_size(what: &str, scores: &Scores) -> Result<Plot, PlotError> {
    let sizes = [
        ("all", AreaRange::All),
        ("small, to 32² pixels", AreaRange::Small),
        ("medium, to 96²", AreaRange::Medium),
        ("large", AreaRange::Large),
    ];
    let bar = |(i, (name, area)): (usize, (&str, AreaRange))| {
        let by_iou: Vec<f64> = scores.ap_by_iou(area).into_iter().filter_map(|(_, ap)| ap).collect();
        let value = (!by_iou.is_empty()).then(|| by_iou.iter().sum::<f64>() / by_iou.len() as f64);
        Bar { name: name.to_owned(), value, color: class_color(i) }
    };
    bars(&format!("AP of {what} by size"), &sizes.into_iter().enumerate().map(bar).collect::<Vec<_>>())
}

fn by_category(what: &str, scores: &Scores) -> Result<Plot, PlotError> {
    let bar = |(i, c): (usize, CategoryFigures)| Bar { name: c.name, value: c.ap, color: class_color(i) };
    let all: Vec<Bar> = scores.categories().into_iter().enumerate().map(bar).collect();
    bars(&format!("AP of {what} by category"), &all)
}

fn table(page: &mut Page, scores: &Scores) {
    let figure = |v: Option<f64>| v.map_or_else(|| "–".to_owned(), |v| format!("{:.1}", 100.0 * v));
    let rows: Vec<Vec<String>> = scores
        .categories()
        .into_iter()
        .map(|c| {
            let values = [c.ap, c.ap50, c.ap75, c.ap_small, c.ap_medium, c.ap_large, c.ar];
            std::iter::once(c.name).chain(values.map(figure)).collect()
        })
        .collect();
    let heads = ["AP", "AP50", "AP75", "small", "medium", "large", "AR"].map(|h| (h, Column::Number));
    let heads: Vec<_> = std::iter::once(("category", Column::Text)).chain(heads).collect();
    page.table(&heads, &rows);
}
