//! The page of a run: curves, IoU by class, confusion matrix, predictions beside their annotation.

use anyhow::Context;
use image::{GrayImage, RgbImage};
use kat_ade20k::classes::NAMES;
use kat_ade20k::miou::SegmentationScores;
use kat_ade20k::palette;
use kat_backbone::Device;
use kat_backbone::nn::Module;
use kat_images::Shard;
use kat_upernet::Segmentor;

use super::Segment;
use super::data::BACKGROUND;
use super::examples::Example;
use super::held_out::Evaluation;
use crate::draw::legend::{Entry, with_legend};
use crate::draw::masks::draw_labels;
use crate::draw::palette::{Rgb, class_color};
use crate::draw::{legible, side_by_side};
use crate::plot::bars::{Bar, bars};
use crate::plot::confusion::Confusion;
use crate::report::html::{Column, Figure, Page, Width};
use crate::report::mosaic::mosaic;
use crate::report::run_page::{Facts, ReportContext, RunPage};
use crate::report::thumbnails::data_uri;
use crate::run::task::Task as _;

/// Width of a pair of images in pixels.
const PAIR: u32 = 480;
/// Images of a batch that are shown, and their side in pixels.
const BATCH: usize = 8;
const TILE: u32 = 320;

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

/// Writes report.html, and of a finished run the plots.
///
/// # Errors
/// Files that cannot be written.
pub fn write<D: Device>(
    task: &Segment<D>,
    model: &Segmentor<D>,
    evaluation: &Evaluation,
    context: ReportContext<'_>,
) -> anyhow::Result<()> {
    let names = task.classes();
    let scores = evaluation.matrix.scores();
    let (train, val) = task.counts();
    let facts = Facts {
        data: format!("{train} training and {val} held-out images of {} classes", names.len()),
        merit: vec![
            (percent(scores.m_iou), "mIoU, held out".to_owned()),
            (percent(scores.m_acc), "mAcc, held out".to_owned()),
            (percent(scores.a_acc), "aAcc, held out".to_owned()),
        ],
        parameters: model.parameter_count(),
    };
    let mut page = RunPage::begin(context, facts)?;
    page.page.section("Classes", Width::Half);
    page.plots(vec![("iou".to_owned(), bars("IoU by class", &class_bars(names, &scores))?)]);
    page.page.section("What is taken for what", Width::Half);
    let confusion = Confusion::of_counts(names.to_vec(), evaluation.matrix.counts());
    page.plots(vec![("confusion".to_owned(), confusion.plot()?)]);
    confused(&mut page.page, &confusion);
    page.page.section("Held-out images, the worst first", Width::Whole);
    page.page.gallery(&figures(&evaluation.examples, names)?, PAIR);
    page.training_batch(|| batch(task))?;
    page.functions(&model.backbone)?;
    page.write()
}

fn figures(examples: &[Example], names: &[String]) -> anyhow::Result<Vec<Figure>> {
    let colors = Colors::of(names);
    let figure = |e: &Example| {
        let truth = overlay(&e.image, &e.labels, colors);
        let predicted = overlay(&e.image, &e.predicted, colors);
        let pair = side_by_side(("annotated", &truth), ("predicted", &predicted));
        let pair = with_legend(&pair, &entries([&e.labels, &e.predicted], names));
        Ok(Figure {
            source: data_uri(&pair, PAIR * 2)?,
            heading: format!("{} of the pixels right", percent(e.right)),
            caption: e.id.clone(),
        })
    };
    examples.iter().map(figure).collect()
}

/// What the colors of these label maps stand for.
fn entries<'m>(maps: impl IntoIterator<Item = &'m GrayImage>, names: &[String]) -> Vec<Entry> {
    let mut there = [false; 256];
    maps.into_iter().flat_map(|map| map.as_raw()).for_each(|label| there[usize::from(*label)] = true);
    let colors = Colors::of(names);
    let entry = |(label, name): (u8, &String)| {
        let color = colors.painted(label).filter(|_| there[usize::from(label)])?;
        Some(Entry { color, name: name.clone(), share: None })
    };
    (0..=u8::MAX).zip(names).filter_map(entry).collect()
}

/// The first crops of training under their labels.
fn batch<D: Device>(task: &Segment<D>) -> anyhow::Result<RgbImage> {
    let batch = task.batches(Shard::WHOLE, None)?.next().context("there is no batch")??;
    let (side, names) = (task.plan.segment.crop, task.classes());
    let maps = (0..batch.images.len().min(BATCH))
        .map(|row| GrayImage::from_raw(side as u32, side as u32, batch.labels.item(row).to_vec()))
        .collect::<Option<Vec<_>>>()
        .context("the labels of the first batch are of another size than its images")?;
    let tile = |(row, labels): (usize, &GrayImage)| {
        let image = task.plan.data.normalize.to_image(batch.images.item(row), side);
        (overlay(&image, labels, Colors::of(names)), String::new())
    };
    let tiles: Vec<_> = maps.iter().enumerate().map(tile).collect();
    Ok(with_legend(&mosaic(&tiles, TILE, BATCH as u32 / 2), &entries(&maps, names)))
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
