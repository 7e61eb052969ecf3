//! The page at the end of a run: curves, IoU by class, confusion matrix, predictions beside their annotation.

use anyhow::Context;
use image::{GrayImage, RgbImage};
use kat_ade20k::classes::NAMES;
use kat_ade20k::miou::{ConfusionMatrix, LabelConfig, SegmentationScores};
use kat_ade20k::palette;
use kat_backbone::Device;
use kat_backbone::nn::Module;
use kat_upernet::Segmentor;

use super::Segment;
use super::data::BACKGROUND;
use super::inference::Settings;
use crate::config::Plan;
use crate::draw::masks::draw_labels;
use crate::draw::palette::{Rgb, class_colour};
use crate::draw::{legible, side_by_side};
use crate::plot::bars::{Bar, bars};
use crate::plot::confusion::Confusion;
use crate::report::about::about;
use crate::report::charts::{charts, write_plots};
use crate::report::html::{Column, Figure, Page};
use crate::report::thumbnails::data_uri;
use crate::run::metrics_log::read;
use crate::run::run_dir::{RunDir, write_atomic};
use crate::run::sessions;

/// Width of a picture pair in pixels.
const PAIR: u32 = 420;

/// The colours of a list of classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colours {
    ade20k: bool,
    background: bool,
}

impl Colours {
    /// ADE20K's own for its 150 classes, well told apart for others. A first class called "background" is not painted:
    /// the picture shows there as it is.
    pub fn of(names: &[String]) -> Self {
        Self { ade20k: names == NAMES, background: names.first().is_some_and(|name| name == BACKGROUND) }
    }

    /// The colour in which a label is painted; none for background and for what is ignored.
    pub fn painted(self, label: u8) -> Option<Rgb> {
        (label != 255 && !(self.background && label == 0)).then(|| self.bar(label.into()))
    }

    /// The colour of a class in a chart.
    pub fn bar(self, class: usize) -> Rgb {
        match (self.ade20k, self.background, class) {
            (true, _, _) => palette::colour(class),
            (_, true, 0) => [150, 154, 160],
            (_, background, _) => class_colour(class - usize::from(background)),
        }
    }
}

/// The picture under its label map, small ones enlarged.
pub fn overlay(image: &RgbImage, labels: &GrayImage, colours: Colours) -> RgbImage {
    let (mut picture, _) = legible(image);
    draw_labels(&mut picture, labels, |label| colours.painted(label));
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
    about(&mut page, &sessions::read(&run.sessions()));
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
    page.gallery(&pictures(seen.examples, Colours::of(names))?, PAIR);
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
    let keep = plan.eval.examples.div_ceil(2);
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
    worst.truncate(plan.eval.examples);
    Ok(Examined { matrix, examples: worst })
}

fn pictures(examples: Vec<Example>, colours: Colours) -> anyhow::Result<Vec<Figure>> {
    let figure = |e: Example| {
        let truth = overlay(&e.image, &e.labels, colours);
        let predicted = overlay(&e.image, &e.predicted, colours);
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
    let colours = Colours::of(names);
    let bar = |(class, (name, iou)): (usize, (&String, &f64))| Bar {
        name: name.clone(),
        value: Some(*iou).filter(|v| v.is_finite()),
        colour: colours.bar(class),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ade20k_has_its_colours_and_background_is_not_painted() {
        let ade = Colours::of(&NAMES.map(str::to_owned));
        assert_eq!((ade.painted(2), ade.painted(255)), (Some([6, 230, 230]), None));
        let shapes = Colours::of(&["background", "ring"].map(str::to_owned));
        assert_eq!((shapes.painted(0), shapes.painted(1)), (None, Some(class_colour(0))));
        let labels = GrayImage::from_raw(2, 1, vec![0, 1]).unwrap();
        let picture = overlay(&RgbImage::from_pixel(2, 1, image::Rgb([9; 3])), &labels, shapes);
        assert_eq!(picture.width(), 480);
        assert!(picture.get_pixel(5, 100).0 == [9; 3] && picture.get_pixel(400, 100).0 != [9; 3]);
    }
}
