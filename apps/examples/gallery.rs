//! Draws every kind of plot and image once from made-up data, to be looked at after a change:
//! `cargo run -p kat-apps --example gallery -- DIR`.

use std::path::PathBuf;

use image::{GrayImage, Luma, Rgb, RgbImage};
use kat_apps::draw::boxes::{LabelledBox, draw_boxes};
use kat_apps::draw::heat::HeatMap;
use kat_apps::draw::legend::{Entry, with_legend};
use kat_apps::draw::masks::{draw_labels, draw_mask};
use kat_apps::draw::palette::class_color;
use kat_apps::draw::{legible, side_by_side};
use kat_apps::plot::bars::{Bar, bars};
use kat_apps::plot::confusion::Confusion;
use kat_apps::plot::curves::{LineChart, Series};
use kat_apps::plot::range::Spread;
use kat_apps::plot::rationals::{Rational, RationalLayer, rational_panels};
use kat_apps::plot::{Plot, PlotError};
use kat_apps::report::html::{Column, Figure, Page, Width};
use kat_apps::report::thumbnails::data_uri;
use kat_backbone::ops::rational::Denominator;
use ndarray::Array2;

fn main() -> anyhow::Result<()> {
    let dir = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "gallery".into()));
    std::fs::create_dir_all(&dir)?;
    images(&dir)?;
    let charts = [loss()?, accuracy()?];
    let (small, large) = (confusion(10), confusion(80));
    let rationals = rationals()?;
    let iou = bars("IoU by class", &ious())?;
    for (name, plot) in [
        ("loss", &charts[0]),
        ("accuracy", &charts[1]),
        ("confusion_10", &small.plot()?),
        ("confusion_80", &large.plot()?),
        ("rationals", &rationals),
        ("iou", &iou),
    ] {
        plot.write_png(&dir.join(format!("{name}.png")))?;
    }
    let mut page = Page::new("KAT-tiny on shapes", "20 epochs, 1240 steps, finished in 3m 42s");
    page.figures_of_merit(&[
        ("97.2 %".into(), "top-1 (averaged weights)".into()),
        ("0.083".into(), "loss, held out".into()),
        ("1.2 M".into(), "parameters".into()),
    ]);
    page.section("Curves", Width::Whole);
    page.plots(&charts);
    page.section("Confusion", Width::Whole);
    page.plots([&small.plot()?]);
    let rows: Vec<Vec<String>> = small
        .most_confused(5)
        .into_iter()
        .map(|c| vec![c.truth, c.predicted, c.count.to_string(), format!("{:.1} %", 100.0 * c.share)])
        .collect();
    let heads = [
        ("true class", Column::Text),
        ("taken for", Column::Text),
        ("count", Column::Number),
        ("share", Column::Number),
    ];
    page.table(&heads, &rows);
    page.section("Most confident mistakes", Width::Whole);
    let mistakes = (0..9)
        .map(|i| {
            Ok(Figure {
                source: data_uri(&scene_image(64, 48 + 4 * i), 160)?,
                heading: format!("star, taken for hexagon {}", i + 1),
                caption: format!("{} % · val/star/00{i}17.png", 99 - 3 * i),
            })
        })
        .collect::<image::ImageResult<Vec<_>>>()?;
    page.gallery(&mistakes, 160);
    page.section("Learned functions", Width::Whole);
    page.plots([&rationals]);
    page.section("Classes", Width::Whole);
    page.plots([&iou]);
    page.folded("Configuration", "[train]\nepochs = 20\nbatch_size = 64\n");
    std::fs::write(dir.join("report.html"), page.render())?;
    Ok(())
}

fn loss() -> Result<Plot, PlotError> {
    let noise = |i: i32| 1.0 + 0.3 * (f64::from(i) * 12.9898).sin() * (f64::from(i) * 78.233).cos();
    let train = (0..620).map(|i| (f64::from(2 * i), noise(i) * (0.05 + 2.3 * (-f64::from(i) / 90.0).exp())));
    let val = (1..=20).map(|e| (f64::from(62 * e), 0.08 + 2.0 * (-f64::from(e) / 3.0).exp()));
    let mut chart = LineChart::new(
        "Loss",
        "step",
        vec![Series::noisy("train", train.collect()), Series::new("held out", val.collect())],
    );
    chart.spread = Spread::Log;
    chart.plot()
}

fn accuracy() -> Result<Plot, PlotError> {
    let val = (1..=10).map(|e| (f64::from(124 * e), 0.97 - 0.8 * (-f64::from(e) / 2.0).exp()));
    LineChart::new("Top-1 on the held-out part", "step", vec![Series::new("held out", val.collect())]).plot()
}

fn confusion(classes: usize) -> Confusion {
    let names =
        ["circle", "square", "triangle", "star", "hexagon", "crescent", "American Staffordshire terrier"];
    let name = |i: usize| names.get(i).map_or_else(|| format!("class {i}"), |n| (*n).to_owned());
    let mut m = Confusion::new((0..classes).map(name).collect());
    for t in 0..classes {
        m.add_many(t, t, 90 + t as u64);
        m.add_many(t, (t * 7 + 3) % classes, (t as u64 * 5) % 11);
        m.add_many(t, (t + 1) % classes, (t as u64 * 3) % 4);
    }
    m
}

fn rationals() -> Result<Plot, PlotError> {
    let form = Denominator::Kernel;
    let identity =
        Rational { numerator: vec![0.0, 1.0, 0.0, 0.0, 0.0, 0.0], denominator: vec![0.0; 4], form };
    let layers: Vec<_> = (0..8)
        .map(|n| {
            let group = |g: usize| Rational {
                numerator: vec![
                    0.02 * g as f32,
                    1.0 + 0.05 * n as f32,
                    0.06 * g as f32,
                    0.01 * n as f32,
                    0.0,
                    0.0,
                ],
                denominator: vec![0.05 * g as f32, 0.02 * n as f32, 0.0, 0.0],
                form,
            };
            RationalLayer {
                name: format!("blocks.{}.mlp.act{}", n / 2, n % 2 + 1),
                groups: (0..8).map(group).collect(),
                initial: vec![identity.clone()],
            }
        })
        .collect();
    rational_panels(&layers, 4)
}

fn ious() -> Vec<Bar> {
    ["background", "circle", "square", "triangle", "star", "hexagon"]
        .iter()
        .enumerate()
        .map(|(i, name)| Bar {
            name: (*name).into(),
            value: (i != 4).then_some(1.0 - 0.13 * i as f64),
            color: class_color(i),
        })
        .collect()
}

/// An image with something in it.
fn scene_image(w: u32, h: u32) -> RgbImage {
    RgbImage::from_fn(w, h, |x, y| {
        let (u, v) = (x as f32 / w as f32, y as f32 / h as f32);
        let inside =
            (u - 0.35).powi(2) + (v - 0.45).powi(2) < 0.06 || (u > 0.6 && v > 0.5 && u < 0.9 && v < 0.85);
        let ground = 90.0 + 60.0 * v + 14.0 * (u * 60.0).sin() * (v * 47.0).cos();
        if inside {
            Rgb([220, (200.0 * u) as u8, 80])
        } else {
            Rgb([ground as u8, (ground * 1.1) as u8, 120])
        }
    })
}

fn images(dir: &std::path::Path) -> anyhow::Result<()> {
    for (name, w, h) in [("tiny", 64, 48), ("usual", 640, 480), ("large", 3000, 2000), ("strip", 900, 60)] {
        let (mut image, factor) = legible(&scene_image(w, h));
        let (fw, fh) = ((w * factor) as f32, (h * factor) as f32);
        let disc = GrayImage::from_fn(w, h, |x, y| {
            let (u, v) = (x as f32 / w as f32, y as f32 / h as f32);
            Luma([u8::from((u - 0.35).powi(2) + (v - 0.45).powi(2) < 0.06)])
        });
        draw_mask(&mut image, &disc, class_color(0));
        let boxes = [
            ([0.1, 0.2, 0.6, 0.7], "circle 98 %", 0),
            ([0.12, 0.2, 0.55, 0.66], "circle 61 %", 0),
            ([0.6, 0.5, 0.9, 0.85], "American Staffordshire terrier 87 %", 6),
            ([0.94, 0.9, 1.0, 1.0], "edge 55 %", 10),
        ];
        let boxes: Vec<_> = boxes
            .iter()
            .rev()
            .map(|(b, label, class)| LabelledBox {
                bbox: [b[0] * fw, b[1] * fh, b[2] * fw, b[3] * fh],
                color: class_color(*class),
                label: (*label).into(),
            })
            .collect();
        draw_boxes(&mut image, &boxes);
        image.save(dir.join(format!("boxes_{name}.png")))?;

        let labels = GrayImage::from_fn(w, h, |x, y| {
            let (u, v) = (x as f32 / w as f32, y as f32 / h as f32);
            let disc = (u - 0.35).powi(2) + (v - 0.45).powi(2) < 0.06;
            let square = u > 0.6 && v > 0.5 && u < 0.9 && v < 0.85;
            Luma([if disc {
                1
            } else if square {
                2
            } else if v < 0.3 {
                3
            } else {
                255
            }])
        });
        let mut overlay = legible(&scene_image(w, h)).0;
        draw_labels(&mut overlay, &labels, |l| (l < 255).then(|| class_color(usize::from(l))));
        let entries: Vec<_> = ["sky", "flower", "building; edifice"]
            .iter()
            .enumerate()
            .map(|(i, n)| Entry {
                color: class_color(i + 1),
                name: (*n).into(),
                share: Some(0.31 / (i + 1) as f64),
            })
            .collect();
        with_legend(&overlay, &entries).save(dir.join(format!("labels_{name}.png")))?;
    }
    let mut explained = legible(&scene_image(224, 224)).0;
    let bump = |row: usize, column: usize| {
        (-(column as f32 - 5.0).powi(2) / 9.0 - (row as f32 - 6.0).powi(2) / 9.0).exp()
    };
    let values = Array2::from_shape_fn((14, 14), |(row, column)| bump(row, column));
    if let Some(map) = HeatMap::new(values.view()) {
        map.draw(&mut explained);
    }
    let original = legible(&scene_image(224, 224)).0;
    side_by_side(("image", &original), ("attention for: star", &explained)).save(dir.join("explain.png"))?;
    Ok(())
}
