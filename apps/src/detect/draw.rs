//! Objects on an image: masks, boxes, names.

use image::{GrayImage, RgbImage};
use kat_coco::json::Category;
use kat_images::Mask;
use kat_images::sample::Sample;
use kat_mask_rcnn::structures::{ImageResult, Targets};

use super::batch::targets;
use crate::draw::boxes::{LabelledBox, draw_boxes};
use crate::draw::legible;
use crate::draw::masks::draw_mask;
use crate::draw::palette::{Rgb, class_color, shade};

/// An object to draw.
struct Shown {
    class: u32,
    label: String,
    bbox: [f32; 4],
    mask: Option<GrayImage>,
}

fn name(categories: &[Category], class: u32) -> &str {
    categories.get(class as usize).map_or("?", |c| c.name.as_str())
}

/// The image with what was found from `threshold` on; the most certain on top.
pub fn draw_found(
    image: &RgbImage,
    found: &ImageResult,
    categories: &[Category],
    threshold: f32,
) -> RgbImage {
    let d = &found.detections;
    let shown = (0..d.len()).rev().filter(|i| d.scores()[*i] >= threshold).map(|i| Shown {
        class: d.classes()[i],
        label: format!("{} {:.0} %", name(categories, d.classes()[i]), 100.0 * d.scores()[i]),
        bbox: d.boxes().as_slice()[i],
        mask: found.masks.as_ref().map(|masks| masks[i].to_image()),
    });
    draw(image, shown.collect())
}

/// The image with its annotation; crowds are named so.
///
/// # Errors
/// A mask that does not fit the image.
pub fn draw_truth(sample: &Sample, categories: &[Category]) -> anyhow::Result<RgbImage> {
    Ok(draw_targets(&sample.image, &targets(sample)?, categories))
}

/// An image with what training is to find in it, in pixels of this image; crowds are named so.
pub fn draw_targets(image: &RgbImage, truth: &Targets, categories: &[Category]) -> RgbImage {
    let side = image.width().max(image.height()) as usize;
    let square = [0.0, 0.0, side as f32, side as f32];
    let mask = |mask: &Mask| {
        let whole = GrayImage::from_raw(side as u32, side as u32, mask.crop_and_resize(square, side))?;
        Some(image::imageops::crop_imm(&whole, 0, 0, image.width(), image.height()).to_image())
    };
    let shown = (0..truth.classes().len()).map(|i| Shown {
        class: truth.classes()[i],
        label: name(categories, truth.classes()[i]).to_owned()
            + if truth.crowd()[i] { " (crowd)" } else { "" },
        bbox: truth.boxes().as_slice()[i],
        mask: truth.masks().and_then(|masks| mask(&masks[i])),
    });
    draw(image, shown.collect())
}

/// Objects of one category in shades of its color.
fn draw(image: &RgbImage, shown: Vec<Shown>) -> RgbImage {
    let (mut image, factor) = legible(image);
    let mut seen = std::collections::BTreeMap::new();
    let colors: Vec<Rgb> = shown
        .iter()
        .map(|object| {
            let number = seen.entry(object.class).or_insert(0);
            *number += 1;
            shade(class_color(object.class as usize), *number - 1)
        })
        .collect();
    for (object, color) in shown.iter().zip(&colors) {
        if let Some(mask) = &object.mask {
            draw_mask(&mut image, mask, *color);
        }
    }
    let boxed = |(object, color): (Shown, Rgb)| LabelledBox {
        bbox: object.bbox.map(|v| v * factor as f32),
        color,
        label: object.label,
    };
    draw_boxes(&mut image, &shown.into_iter().zip(colors).map(boxed).collect::<Vec<_>>());
    image
}
