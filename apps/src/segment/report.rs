//! The page at the end of a run: curves, IoU by class, confusion matrix, predictions beside their annotation.

use anyhow::Context;
use image::{GrayImage, RgbImage};
use kat_ade20k::classes::NAMES;
use kat_ade20k::miou::SegmentationScores;
use kat_ade20k::palette;
use kat_backbone::Device;
use kat_backbone::nn::Module;
use kat_upernet::Segmentor;

use super::Segment;
use super::data::BACKGROUND;
use super::examples::Example;
use super::held_out::Evaluation;
use crate::config::Plan;
use crate::draw::masks::draw_labels;
use crate::draw::palette::{Rgb, class_color};
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

/// Width of a pair of images in pixels.
const PAIR: u32 = 420;

/// The colors of a list of classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colors {
    ade20k: bool,
    background: bool,
}

impl Colors {
    /// ADE20K's own for its 150 classes, well told apart for others. A first class called "background" is not painted:
    /// the image shows there as it is.
    pub fn of(names: &[String]) -> Self {
        Self { ade20k: names == NAMES, background: names.first().is_some_and(|name| name == BACKGROUND) }
    }

    /// The color in which a label is painted; none for background and for what is ignored.
    pub fn painted(self, label: u8) -> Option<Rgb> {
        (label != 255 && !(self.background && label == 0)).then(|| self.bar(label.into()))
    }

    /// The color of a class in a chart.
    pub fn bar(self, class: usize) -> Rgb {
        match (self.ade20k, self.background, class) {
            (true, _, _) => palette::color(class),
            (_, true, 0) => [150, 154, 160],
            (_, background, _) => class_color(class - usize::from(background)),
        }
    }
}

/// The image under its label map, small ones enlarged.
pub fn overlay(image: &RgbImage, labels: &GrayImage, colors: Colors) -> RgbImage {
    let (mut painted, _) = legible(image);
    draw_labels(&mut painted, labels, |label| colors.painted(label));
    painted
}

/// Writes report.html and the plots of a finished run.
///
/// # Errors
/// Files that cannot be written.
pub fn write<D: Device>(
    task: &Segment<D>,
    model: &Segmentor<D>,
    evaluation: &Evaluation,
    plan: &Plan,
    run: &RunDir,
) -> anyhow::Result<()> {
    let records = read(&run.metrics()).with_context(|| format!("cannot read {}", run.metrics().display()))?;
    let names = task.classes();
    let scores = evaluation.matrix.scores();
    let mut plots = charts(&records)?;
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
    page.plots(plots.iter().map(|(_, plot)| plot));
    page.section("Classes");
    let by_class = bars("IoU by class", &class_bars(names, &scores))?;
    page.plots([&by_class]);
    plots.push(("iou".to_owned(), by_class));
    page.section("What is taken for what");
    let counts = evaluation.matrix.counts();
    let confusion = Confusion::of_counts(names.to_vec(), counts);
    let matrix = confusion.plot()?;
    page.plots([&matrix]);
    plots.push(("confusion".to_owned(), matrix));
    confused(&mut page, &confusion);
    page.section("Held-out images, the worst first");
    page.gallery(&figures(&evaluation.examples, Colors::of(names))?, PAIR);
    page.folded("Configuration", &plan.to_toml());
    write_plots(&plots, &run.plots())?;
    let path = run.report();
    write_atomic(&path, page.render().as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

fn figures(examples: &[Example], colors: Colors) -> anyhow::Result<Vec<Figure>> {
    let figure = |e: &Example| {
        let truth = overlay(&e.image, &e.labels, colors);
        let predicted = overlay(&e.image, &e.predicted, colors);
        let pair = side_by_side(("annotated", &truth), ("predicted", &predicted));
        Ok(Figure {
            source: data_uri(&pair, PAIR * 2)?,
            heading: format!("{} of the pixels right", percent(e.right)),
            caption: e.id.clone(),
        })
    };
    examples.iter().map(figure).collect()
}

fn percent(value: f64) -> String {
    if value.is_nan() { "–".to_owned() } else { format!("{:.2} %", 100.0 * value) }
}

fn class_bars(names: &[String], scores: &SegmentationScores) -> Vec<Bar> {
    let colors = Colors::of(names);
    let bar = |(class, (name, iou)): (usize, (&String, &f64))| Bar {
        name: name.clone(),
        value: Some(*iou).filter(|v| v.is_finite()),
        color: colors.bar(class),
    };
    names.iter().zip(&scores.iou).enumerate().map(bar).collect()
}

fn confused(page: &mut Page, confusion: &Confusion) {
    let rows: Vec<Vec<String>> = confusion
        .most_confused(10)
        .into_iter()
        .map(|c| vec![c.truth, c.predicted, c.count.to_string(), percent(c.share)])
        .collect();
    if rows.is_empty() {
        page.paragraph("Every labelled pixel was recognized.");
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
    fn ade20k_has_its_colors_and_background_is_not_painted() {
        let ade = Colors::of(&NAMES.map(str::to_owned));
        assert_eq!((ade.painted(2), ade.painted(255)), (Some([6, 230, 230]), None));
        let shapes = Colors::of(&["background", "ring"].map(str::to_owned));
        assert_eq!((shapes.painted(0), shapes.painted(1)), (None, Some(class_color(0))));
        let labels = GrayImage::from_raw(2, 1, vec![0, 1]).unwrap();
        let painted = overlay(&RgbImage::from_pixel(2, 1, image::Rgb([9; 3])), &labels, shapes);
        assert_eq!(painted.width(), 480);
        assert!(painted.get_pixel(5, 100).0 == [9; 3] && painted.get_pixel(400, 100).0 != [9; 3]);
    }
}
