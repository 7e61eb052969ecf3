//! Labels of one image from how they are stored.

use std::collections::HashMap;
use std::path::Path;

use image::{DynamicImage, GrayImage, Luma, RgbImage};
use kat_images::decode::decode_stored;
use kat_images::files::{MAX_IMAGE_BYTES, read_regular};

use super::{ConvertError, IGNORED, Source};
use crate::colors::{ColorTable, UnknownColor};
use crate::label_png;

/// The labels; `colors` says which classes those of pictures are.
pub(super) fn read(source: &Source, colors: &ColorTable) -> Result<GrayImage, ConvertError> {
    match source {
        Source::Classes(path) => gray(path),
        Source::Numbers(path, classes) => {
            let mut labels = gray(path)?;
            labels.pixels_mut().for_each(|Luma([label])| {
                *label = classes.get(usize::from(*label)).copied().unwrap_or(IGNORED);
            });
            Ok(labels)
        }
        Source::Segments(path, segments) => {
            let classes: HashMap<u32, u8> = segments.iter().copied().collect();
            let picture = rgb(path)?;
            let label = |x, y| {
                let [r, g, b] = picture.get_pixel(x, y).0.map(u32::from);
                Luma([classes.get(&(r + 256 * g + 65536 * b)).copied().unwrap_or(IGNORED)])
            };
            Ok(GrayImage::from_fn(picture.width(), picture.height(), label))
        }
        Source::Masks(paths) => masks(paths),
        Source::Colors(path) => colors.labels(&rgb(path)?).map_err(|UnknownColor { rgb, x, y }| {
            ConvertError::new(path, format!("the color {rgb:?} at x {x}, y {y} is none of the table's"))
        }),
    }
}

fn gray(path: &Path) -> Result<GrayImage, ConvertError> {
    label_png::read(path).map_err(|error| ConvertError::new(&error.path, &error.reason))
}

fn stored(path: &Path) -> Result<DynamicImage, ConvertError> {
    let bytes = read_regular(path, MAX_IMAGE_BYTES).map_err(ConvertError::of(path))?;
    decode_stored(&bytes).map_err(ConvertError::of(path))
}

fn rgb(path: &Path) -> Result<RgbImage, ConvertError> {
    Ok(stored(path)?.to_rgb8())
}

/// The union of masks of one size.
fn masks(paths: &[std::path::PathBuf]) -> Result<GrayImage, ConvertError> {
    let mut union: Option<GrayImage> = None;
    for path in paths {
        let mask = stored(path)?.to_luma8();
        let labels = union.get_or_insert_with(|| GrayImage::new(mask.width(), mask.height()));
        if labels.dimensions() != mask.dimensions() {
            let (found, expected) = (mask.dimensions(), labels.dimensions());
            return Err(ConvertError::new(
                path,
                format!("{found:?} pixels, the masks before it have {expected:?}"),
            ));
        }
        for (Luma([label]), Luma([level])) in labels.pixels_mut().zip(mask.pixels()) {
            *label |= u8::from(*level > 0);
        }
    }
    union.ok_or_else(|| ConvertError::new(Path::new("masks"), "no mask of an image"))
}
