//! The page at the end of a run: curves, precision over recall, AP by size and category, pictures.

use anyhow::Context;
use kat_backbone::Device;
use kat_backbone::nn::Module;
use kat_coco::evaluate::{AreaRange, Evaluation};
use kat_images::loader::Dataset as _;
use kat_mask_rcnn::MaskRcnn;
use kat_mask_rcnn::structures::ImageResult;

use super::Detect;
use super::draw::{draw_found, draw_truth};
use super::scored::{Figures, Scored};
use crate::config::Plan;
use crate::draw::palette::class_colour;
use crate::draw::side_by_side;
use crate::plot::bars::{Bar, bars};
use crate::plot::curves::{LineChart, Series};
use crate::plot::scene::Scene;
use crate::report::about::about;
use crate::report::charts::{charts, write_plots};
use crate::report::html::{Column, Figure, Page};
use crate::report::thumbnails::data_uri;
use crate::run::metrics_log::read;
use crate::run::run_dir::{RunDir, write_atomic};
use crate::run::sessions;

/// Side of a pair of pictures on the page in pixels.
const PAIR: u32 = 640;
/// Lowest score of a detection that is drawn.
const DRAWN: f32 = 0.5;

/// Writes report.html and the plots of a finished run.
///
/// # Errors
/// Held-out images that cannot be read, or files that cannot be written.
pub fn write<D: Device>(
    task: &Detect<D>,
    model: &MaskRcnn<D>,
    plan: &Plan,
    run: &RunDir,
) -> anyhow::Result<()> {
    let records = read(&run.metrics()).with_context(|| format!("cannot read {}", run.metrics().display()))?;
    let splits = task.splits();
    let categories = task.categories();
    let mut scored = Scored::new(&splits.val.0, &categories)?;
    let mut examples: Vec<ImageResult> = Vec::new();
    task.held_out().look(model, &mut |batch, found| {
        let room = plan.eval.examples.saturating_sub(examples.len());
        examples.extend(found.iter().take(room).cloned());
        batch.ids.iter().zip(found).try_for_each(|(id, found)| scored.add(id, found))
    })?;
    let figures = scored.figures(&scored.to_json()?)?;
    let lead = format!(
        "{} training and {} held-out images of {} categories",
        splits.train.0.len(),
        splits.val.0.len(),
        categories.len()
    );
    let mut page = Page::new(&run.path().display().to_string(), &lead);
    page.figures_of_merit(&merit(&figures, model.parameter_count()));
    let mut plots = charts(&records);
    about(&mut page, &sessions::read(&run.sessions()));
    page.section("Curves");
    page.plots(&plots.iter().map(|(_, scene)| scene.clone()).collect::<Vec<_>>());
    let parts = [("boxes", Some(&figures.boxes)), ("masks", figures.masks.as_ref())];
    for (what, evaluation) in parts.into_iter().filter_map(|(what, e)| Some((what, e?))) {
        page.section(&format!("Precision of {what}"));
        let scenes = [precision(what, evaluation), by_size(what, evaluation), by_category(what, evaluation)];
        page.plots(&scenes);
        for (scene, name) in scenes.into_iter().zip(["precision", "size", "category"]) {
            plots.push((format!("{name}_{what}"), scene));
        }
        table(&mut page, evaluation);
    }
    if let Some(reason) = &figures.no_masks {
        page.paragraph(&format!("Masks are not evaluated: {reason}."));
    }
    page.section("Ground truth and predictions");
    let mut pairs = Vec::new();
    for (index, found) in examples.iter().enumerate() {
        let sample = splits.val.get(index).map_err(|e| anyhow::anyhow!(e))?;
        let truth = draw_truth(&sample, &categories)?;
        let predicted = draw_found(&sample.image, found, &categories, DRAWN);
        let pair = side_by_side(("ground truth", &truth), ("predicted", &predicted));
        let certain = found.detections.scores().iter().filter(|s| **s >= DRAWN).count();
        pairs.push(Figure {
            source: data_uri(&pair, PAIR)?,
            heading: format!("image {}", sample.id),
            caption: format!("{certain} detections of at least {:.0} %", 100.0 * DRAWN),
        });
        if index == 0 {
            let path = run.plots().join("example.png");
            std::fs::create_dir_all(run.plots())?;
            pair.save(&path).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    page.gallery(&pairs, PAIR);
    page.folded("Configuration", &plan.to_toml());
    write_plots(&plots, &run.plots())?;
    let path = run.report();
    write_atomic(&path, page.render().as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

fn merit(figures: &Figures, parameters: usize) -> Vec<(String, String)> {
    let ap = |e: &Evaluation| format!("{:.1} %", 100.0 * e.ap());
    let mut merit = vec![(ap(&figures.boxes), "AP of boxes, held out".to_owned())];
    merit.extend(figures.masks.as_ref().map(|e| (ap(e), "AP of masks, held out".to_owned())));
    merit.push((parameters.to_string(), "parameters".to_owned()));
    merit
}

/// Precision over recall, the mean over categories, at three overlaps.
fn precision(what: &str, evaluation: &Evaluation) -> Scene {
    let series = [0.5, 0.75, 0.9].into_iter().filter_map(|iou| {
        let curve = evaluation.curve(None, iou, AreaRange::All)?;
        let points = curve.iter().map(|p| (p.recall, p.precision)).collect();
        Some(Series::new(format!("IoU {iou}"), points))
    });
    let mut chart = LineChart::new(format!("precision of {what}"), "recall", series.collect());
    chart.y_range = Some((0.0, 1.0));
    chart.scene()
}

fn by_size(what: &str, evaluation: &Evaluation) -> Scene {
    let sizes = [
        ("all", AreaRange::All),
        ("small, to 32² pixels", AreaRange::Small),
        ("medium, to 96²", AreaRange::Medium),
        ("large", AreaRange::Large),
    ];
    let bar = |(i, (name, area)): (usize, (&str, AreaRange))| {
        let by_iou: Vec<f64> = evaluation.ap_by_iou(area).into_iter().filter_map(|(_, ap)| ap).collect();
        let value = (!by_iou.is_empty()).then(|| by_iou.iter().sum::<f64>() / by_iou.len() as f64);
        Bar { name: name.to_owned(), value, colour: class_colour(i) }
    };
    bars(&format!("AP of {what} by size"), &sizes.into_iter().enumerate().map(bar).collect::<Vec<_>>())
}

fn by_category(what: &str, evaluation: &Evaluation) -> Scene {
    let bar = |(i, c): (usize, kat_coco::evaluate::CategoryFigures)| Bar {
        name: c.name,
        value: c.ap,
        colour: class_colour(i),
    };
    let all: Vec<Bar> = evaluation.categories().into_iter().enumerate().map(bar).collect();
    bars(&format!("AP of {what} by category"), &all)
}

fn table(page: &mut Page, evaluation: &Evaluation) {
    let figure = |v: Option<f64>| v.map_or_else(|| "–".to_owned(), |v| format!("{:.1}", 100.0 * v));
    let rows: Vec<Vec<String>> = evaluation
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
