//! Labels of one image from how they are stored.

use std::collections::HashMap;
use std::path::Path;

use image::{GrayImage, Luma, RgbImage};
use kat_images::files::read_text;

use super::{ConvertError, IGNORED, Source};
use crate::label_png;

/// A class and the color that stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Color {
    /// Red, green, blue.
    pub rgb: [u8; 3],
    /// The class.
    pub name: String,
}

/// Reads a table of colors: a line a class, `red green blue name`, in the order of the classes; commas count as spaces.
///
/// # Errors
/// A file that cannot be read, a line of another form, a color that stands twice.
pub fn read_colors(path: &Path) -> Result<Vec<Color>, ConvertError> {
    let text = read_text(path).map_err(ConvertError::of(path))?.replace(',', " ");
    let mut colors: Vec<Color> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.split_whitespace();
        let levels: Vec<u8> = words.by_ref().take(3).map_while(|word| word.parse().ok()).collect();
        let name = words.collect::<Vec<_>>().join(" ");
        let fail = |reason: &str| ConvertError::new(path, format!("line {}: {reason}: {line:?}", number + 1));
        let Ok(rgb) = <[u8; 3]>::try_from(levels) else {
            return Err(fail("expected three levels from 0 to 255 and a name"));
        };
        if name.is_empty() {
            return Err(fail("expected a name after the color"));
        }
        if colors.iter().any(|color| color.rgb == rgb) {
            return Err(fail("the color stands for another class already"));
        }
        colors.push(Color { rgb, name });
    }
    match colors.len() {
        1..=255 => Ok(colors),
        found => Err(ConvertError::new(path, format!("{found} colors, expected 1 to 255"))),
    }
}

/// The labels; `colors` are those of the classes.
pub(super) fn read(source: &Source, colors: &[[u8; 3]]) -> Result<GrayImage, ConvertError> {
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
        Source::Colors(path) => {
            let classes: HashMap<[u8; 3], u8> = colors.iter().copied().zip(0..).collect();
            let picture = rgb(path)?;
            let mut labels = GrayImage::new(picture.width(), picture.height());
            for (x, y, pixel) in picture.enumerate_pixels() {
                let Some(class) = classes.get(&pixel.0) else {
                    let reason = format!("the color {:?} at x {x}, y {y} is none of the table's", pixel.0);
                    return Err(ConvertError::new(path, reason));
                };
                labels.put_pixel(x, y, Luma([*class]));
            }
            Ok(labels)
        }
    }
}

fn gray(path: &Path) -> Result<GrayImage, ConvertError> {
    label_png::read(path).map_err(|error| ConvertError::new(&error.path, &error.reason))
}

fn rgb(path: &Path) -> Result<RgbImage, ConvertError> {
    Ok(image::open(path).map_err(ConvertError::of(path))?.to_rgb8())
}

/// The union of masks of one size.
fn masks(paths: &[std::path::PathBuf]) -> Result<GrayImage, ConvertError> {
    let mut union: Option<GrayImage> = None;
    for path in paths {
        let mask = image::open(path).map_err(ConvertError::of(path))?.to_luma8();
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
