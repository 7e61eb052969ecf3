//! Objects on a picture: masks, boxes, names.

use image::{GrayImage, RgbImage};
use kat_coco::json::Category;
use kat_images::Mask;
use kat_images::sample::{Sample, Target};
use kat_mask_rcnn::structures::ImageResult;

use super::batch::targets;
use crate::draw::boxes::{LabelledBox, draw_boxes};
use crate::draw::legible;
use crate::draw::masks::draw_mask;
use crate::draw::palette::class_colour;

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

/// The picture with what was found from `threshold` on; the most certain on top.
pub fn draw_found(
    picture: &RgbImage,
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
    draw(picture, shown.collect())
}

/// The picture with its annotation; crowds are named so.
///
/// # Errors
/// A mask that does not fit the picture.
pub fn draw_truth(sample: &Sample, categories: &[Category]) -> anyhow::Result<RgbImage> {
    let truth = targets(sample)?;
    let side = sample.image.width().max(sample.image.height()) as usize;
    let square = [0.0, 0.0, side as f32, side as f32];
    let mask = |mask: &Mask| {
        let whole = GrayImage::from_raw(side as u32, side as u32, mask.crop_and_resize(square, side))?;
        Some(image::imageops::crop_imm(&whole, 0, 0, sample.image.width(), sample.image.height()).to_image())
    };
    let objects = match &sample.target {
        Target::Instances(objects) => &objects[..],
        _ => &[],
    };
    let shown = objects.iter().enumerate().map(|(i, object)| Shown {
        class: object.class,
        label: name(categories, object.class).to_owned() + if object.crowd { " (crowd)" } else { "" },
        bbox: object.bbox,
        mask: truth.masks().and_then(|masks| mask(&masks[i])),
    });
    Ok(draw(&sample.image, shown.collect()))
}

fn draw(picture: &RgbImage, shown: Vec<Shown>) -> RgbImage {
    let (mut picture, factor) = legible(picture);
    for object in &shown {
        if let Some(mask) = &object.mask {
            draw_mask(&mut picture, mask, class_colour(object.class as usize));
        }
    }
    let boxed = |object: Shown| LabelledBox {
        bbox: object.bbox.map(|v| v * factor as f32),
        colour: class_colour(object.class as usize),
        label: object.label,
    };
    draw_boxes(&mut picture, &shown.into_iter().map(boxed).collect::<Vec<_>>());
    picture
}
