//! Annotations under the geometric transforms: scaled, cropped, mirrored and padded with their image.

use image::{GrayImage, Luma, imageops};
use serde::{Deserialize, Serialize};

use super::TransformError;
use super::resize::resize_labels;
use crate::mask::Mask;
use crate::sample::{Instance, Target};
use crate::{Rect, Size};

/// Label of pixels that count for nothing.
pub const IGNORE_LABEL: u8 = 255;

/// Where a cropped object's box comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoxRule {
    /// The annotated box, cut at the border.
    #[default]
    Clip,
    /// The box around what is left of the mask, which may be smaller; the cut box where there is no mask.
    FromMask,
}

/// `target` of an image scaled from one size to another.
///
/// # Errors
/// [`TransformError::SizeMismatch`] for a label map or bitmap that is not of size `from`.
pub fn resize_target(target: Target, from: Size, to: Size) -> Result<Target, TransformError> {
    let sx = to.width as f32 / from.width as f32;
    let sy = to.height as f32 / from.height as f32;
    map_target(
        target,
        from,
        |labels| resize_labels(labels, to),
        |mut instance| {
            let [x0, y0, x1, y1] = instance.bbox;
            instance.bbox = [x0 * sx, y0 * sy, x1 * sx, y1 * sy];
            if let Some(Mask::Polygon(polygon)) = &mut instance.mask {
                polygon.map_points(|[x, y]| [x * sx, y * sy]);
            }
            Some(instance)
        },
    )
}

/// `target` mirrored left to right with an image of that size.
///
/// # Errors
/// [`TransformError::SizeMismatch`] for a label map or bitmap that is not of the image's size.
pub fn flip_target(target: Target, size: Size) -> Result<Target, TransformError> {
    let width = size.width as f32;
    map_target(
        target,
        size,
        |labels| Ok(imageops::flip_horizontal(labels)),
        |mut instance| {
            let [x0, y0, x1, y1] = instance.bbox;
            instance.bbox = [width - x1, y0, width - x0, y1];
            if let Some(Mask::Polygon(polygon)) = &mut instance.mask {
                polygon.map_points(|[x, y]| [width - x, y]);
            }
            Some(instance)
        },
    )
}

/// `target` of the part `rect` of an image of that size. Objects of which no area is left are dropped.
///
/// # Errors
/// [`TransformError::SizeMismatch`] for a label map or bitmap that is not of the image's size.
pub fn crop_target(target: Target, size: Size, rect: Rect, rule: BoxRule) -> Result<Target, TransformError> {
    let rect = rect.within(size);
    let crop = |labels: &GrayImage| {
        Ok(imageops::crop_imm(labels, rect.x, rect.y, rect.width, rect.height).to_image())
    };
    map_target(target, size, crop, |instance| crop_instance(instance, rect, rule))
}

/// A label map grown to the right and bottom by ignored pixels, bitmaps by background; all else is unchanged.
///
/// # Errors
/// [`TransformError::SizeMismatch`] for a label map or bitmap that is not of size `from`.
pub fn pad_target(target: Target, from: Size, to: Size) -> Result<Target, TransformError> {
    let fill = if matches!(target, Target::LabelMap(_)) { IGNORE_LABEL } else { 0 };
    let (width, height) = to.max(from).dimensions();
    let pad = |labels: &GrayImage| {
        let mut out = GrayImage::from_pixel(width, height, Luma([fill]));
        imageops::replace(&mut out, labels, 0, 0);
        Ok(out)
    };
    map_target(target, from, pad, Some)
}

/// Applies `on_map` to label maps and bitmaps, whose size is checked, and `on_instance` to objects after that.
fn map_target(
    target: Target,
    size: Size,
    on_map: impl Fn(&GrayImage) -> Result<GrayImage, TransformError>,
    on_instance: impl Fn(Instance) -> Option<Instance>,
) -> Result<Target, TransformError> {
    let checked = |what, map: &GrayImage| {
        if Size::of(map) != size {
            return Err(TransformError::SizeMismatch { what, found: Size::of(map), image: size });
        }
        on_map(map)
    };
    Ok(match target {
        Target::LabelMap(labels) => Target::LabelMap(checked("label map", &labels)?),
        Target::Instances(instances) => {
            let mut kept = Vec::with_capacity(instances.len());
            for mut instance in instances {
                // transforms work on pixels, whichever way the mask was stored
                if let Some(Mask::Rle(rle)) = &instance.mask {
                    instance.mask = Some(Mask::Bitmap(rle.to_image()));
                }
                if let Some(Mask::Bitmap(bitmap)) = &mut instance.mask {
                    *bitmap = checked("mask", bitmap)?;
                }
                kept.extend(on_instance(instance));
            }
            Target::Instances(kept)
        }
        other @ (Target::None | Target::Class(_)) => other,
    })
}

/// Box and polygons moved and cut; a bitmap is cut already.
fn crop_instance(mut instance: Instance, rect: Rect, rule: BoxRule) -> Option<Instance> {
    let (left, top) = (rect.x as f32, rect.y as f32);
    let (width, height) = (rect.width as f32, rect.height as f32);
    let [x0, y0, x1, y1] = instance.bbox;
    instance.bbox = [
        (x0 - left).clamp(0.0, width),
        (y0 - top).clamp(0.0, height),
        (x1 - left).clamp(0.0, width),
        (y1 - top).clamp(0.0, height),
    ];
    let around = match &mut instance.mask {
        None => None,
        Some(Mask::Bitmap(bitmap)) => Some(bitmap_bounds(bitmap)?),
        Some(Mask::Polygon(polygon)) => {
            polygon.map_points(|[x, y]| [x - left, y - top]);
            *polygon = polygon.clip(width, height);
            Some(polygon.bounds()?)
        }
        Some(Mask::Rle(_)) => None,
    };
    if let (BoxRule::FromMask, Some(around)) = (rule, around) {
        instance.bbox = around;
    }
    let [x0, y0, x1, y1] = instance.bbox;
    (x1 - x0 > 1e-5 && y1 - y0 > 1e-5).then_some(instance)
}

/// The box around all pixels that are not 0, `None` without one.
pub fn bitmap_bounds(bitmap: &GrayImage) -> Option<[f32; 4]> {
    let mut found: Option<[u32; 4]> = None;
    for (y, line) in bitmap.rows().enumerate() {
        let set = |p: &Luma<u8>| p[0] != 0;
        let Some(first) = line.clone().position(set) else { continue };
        let last = line.len() - 1 - line.rev().position(set).unwrap_or(0);
        let (y, first, last) = (y as u32, first as u32, last as u32 + 1);
        found = Some(
            found.map_or([first, y, last, y + 1], |[x0, y0, x1, _]| [x0.min(first), y0, x1.max(last), y + 1]),
        );
    }
    found.map(|edges| edges.map(|v| v as f32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::polygon::Polygon;

    fn object(bbox: [f32; 4], mask: Option<Mask>) -> Target {
        Target::Instances(vec![Instance { class: 3, bbox, mask, crowd: false }])
    }

    fn only(target: Target) -> Option<Instance> {
        match target {
            Target::Instances(mut instances) => instances.pop(),
            other => panic!("instances expected, found {other:?}"),
        }
    }

    fn bitmap() -> GrayImage {
        GrayImage::from_fn(8, 6, |x, y| {
            Luma([if (2..5).contains(&x) && (1..4).contains(&y) { 255 } else { 0 }])
        })
    }

    #[test]
    fn bounds_of_a_bitmap() {
        assert_eq!(bitmap_bounds(&bitmap()), Some([2.0, 1.0, 5.0, 4.0]));
        assert_eq!(bitmap_bounds(&GrayImage::new(4, 4)), None);
    }

    #[test]
    fn boxes_of_a_crop_are_cut_or_taken_from_the_mask() {
        let rect = Rect { x: 3, y: 0, width: 5, height: 6 };
        for (rule, expected) in
            [(BoxRule::Clip, [0.0, 0.0, 4.0, 5.0]), (BoxRule::FromMask, [0.0, 1.0, 2.0, 4.0])]
        {
            let target = object([1.0, 0.0, 7.0, 5.0], Some(Mask::Bitmap(bitmap())));
            let instance = only(crop_target(target, (8, 6).into(), rect, rule).unwrap()).unwrap();
            assert_eq!(instance.bbox, expected);
        }
        let ring = vec![[2.0, 1.0], [5.0, 1.0], [5.0, 4.0], [2.0, 4.0]];
        let target = object([1.0, 0.0, 7.0, 5.0], Some(Mask::Polygon(Polygon::from_usable([ring]))));
        let instance = only(crop_target(target, (8, 6).into(), rect, BoxRule::FromMask).unwrap()).unwrap();
        assert_eq!(instance.bbox, [0.0, 1.0, 2.0, 4.0]);
    }

    #[test]
    fn emptied_objects_are_dropped() {
        let rect = Rect { x: 6, y: 4, width: 2, height: 2 };
        let target = object([1.0, 0.0, 8.0, 6.0], Some(Mask::Bitmap(bitmap())));
        assert_eq!(only(crop_target(target, (8, 6).into(), rect, BoxRule::Clip).unwrap()), None);
        let target = object([1.0, 0.0, 5.0, 3.0], None);
        assert_eq!(only(crop_target(target, (8, 6).into(), rect, BoxRule::Clip).unwrap()), None);
    }

    #[test]
    fn flipping_twice_changes_nothing() {
        let target = object([1.0, 0.5, 7.0, 5.0], Some(Mask::Bitmap(bitmap())));
        let once = flip_target(target.clone(), (8, 6).into()).unwrap();
        assert_eq!(only(once.clone()).unwrap().bbox, [1.0, 0.5, 7.0, 5.0]);
        assert_eq!(only(flip_target(once, (8, 6).into()).unwrap()), only(target));
    }

    #[test]
    fn scaling_keeps_mask_and_box_together() {
        let target = object([2.0, 1.0, 5.0, 4.0], Some(Mask::Bitmap(bitmap())));
        let instance = only(resize_target(target, (8, 6).into(), (16, 18).into()).unwrap()).unwrap();
        assert_eq!(instance.bbox, [4.0, 3.0, 10.0, 12.0]);
        match instance.mask {
            Some(Mask::Bitmap(mask)) => assert_eq!(bitmap_bounds(&mask), Some([4.0, 3.0, 10.0, 12.0])),
            other => panic!("bitmap expected, found {other:?}"),
        }
    }

    #[test]
    fn padding_is_ignored_in_label_maps_and_background_in_masks() {
        let labels =
            pad_target(Target::LabelMap(GrayImage::new(2, 2)), (2, 2).into(), (3, 2).into()).unwrap();
        assert!(matches!(labels, Target::LabelMap(map) if map.as_raw() == &[0, 0, 255, 0, 0, 255]));
        let error =
            pad_target(Target::LabelMap(GrayImage::new(2, 2)), (4, 4).into(), (5, 5).into()).unwrap_err();
        assert_eq!(error.to_string(), "the label map is (2, 2) pixels, its image (4, 4)");
    }
}
