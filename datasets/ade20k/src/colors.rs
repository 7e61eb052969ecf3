//! Tables of the colors that stand for classes in label maps that are pictures.
//!
//! A line a color, in any of the forms in which such files are handed on: `red green blue name` (CamVid's label_colors.txt),
//! `name,red,green,blue` (class_dict.csv), `name:red,green,blue::` (CVAT's labelmap.txt). Colors of one name are one class.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use image::{GrayImage, RgbImage};
use kat_images::files::read_text;

use crate::folder::IGNORE;

/// A table that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct ColorError {
    /// The file.
    pub path: PathBuf,
    /// What was found and what was expected.
    pub reason: String,
}

/// A class and a color that stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Color {
    /// Red, green, blue.
    pub rgb: [u8; 3],
    /// The class.
    pub name: String,
}

/// Which class each color stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColorTable {
    names: Vec<String>,
    class_of: HashMap<[u8; 3], u8>,
}

/// A pixel whose color is not in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownColor {
    /// Red, green, blue.
    pub rgb: [u8; 3],
    /// Column.
    pub x: u32,
    /// Row.
    pub y: u32,
}

impl ColorTable {
    /// A color for each of these classes.
    pub fn new(names: &[String], colors: &[[u8; 3]]) -> Self {
        Self { names: names.to_vec(), class_of: colors.iter().copied().zip(0..IGNORE).collect() }
    }

    /// The table of a file. Its classes are `wanted` where that has names, and other colors of the file do not count; else those of
    /// the file in its order.
    ///
    /// # Errors
    /// A file that cannot be read, a line of another form, a color that stands twice, a wanted class without a color, or more
    /// classes than a label map can hold.
    pub fn read(path: &Path, wanted: &[String]) -> Result<Self, ColorError> {
        let fail = |reason: String| ColorError { path: path.to_owned(), reason };
        let rows = read_colors(path)?;
        let mut names = wanted.to_vec();
        if wanted.is_empty() {
            for row in &rows {
                if names.len() <= usize::from(IGNORE) && !names.contains(&row.name) {
                    names.push(row.name.clone());
                }
            }
        }
        if names.len() > usize::from(IGNORE) {
            return Err(fail(format!("more than {IGNORE} classes, which a label map cannot hold")));
        }
        if let Some(name) = names.iter().find(|name| rows.iter().all(|row| row.name != **name)) {
            let found: Vec<&str> = rows.iter().map(|row| &row.name[..]).take(12).collect();
            return Err(fail(format!("no color of the class {name:?}; there are {}", found.join(", "))));
        }
        let class = |row: &Color| {
            let place = names.iter().position(|name| *name == row.name);
            (row.rgb, place.map_or(IGNORE, |place| place as u8))
        };
        let class_of = rows.iter().map(class).collect();
        Ok(Self { names, class_of })
    }

    /// Class names in the order of their indices.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The class of each pixel, [`IGNORE`] for colors that do not count.
    ///
    /// # Errors
    /// The first pixel whose color is not in the table.
    pub fn labels(&self, picture: &RgbImage) -> Result<GrayImage, UnknownColor> {
        let mut labels = GrayImage::new(picture.width(), picture.height());
        // neighbors are mostly of one color
        let mut last = None;
        for ((x, y, pixel), label) in picture.enumerate_pixels().zip(labels.pixels_mut()) {
            let class = match last {
                Some((rgb, class)) if rgb == pixel.0 => class,
                _ => *self.class_of.get(&pixel.0).ok_or(UnknownColor { rgb: pixel.0, x, y })?,
            };
            last = Some((pixel.0, class));
            label.0 = [class];
        }
        Ok(labels)
    }
}

/// Reads a table of colors: a line each, `#` before notes.
///
/// # Errors
/// A file that cannot be read or has no colors, a line of another form, a color that stands twice.
pub fn read_colors(path: &Path) -> Result<Vec<Color>, ColorError> {
    let fail = |reason: String| ColorError { path: path.to_owned(), reason };
    let text = read_text(path).map_err(|error| fail(error.to_string()))?;
    let (mut colors, mut seen): (Vec<Color>, HashSet<[u8; 3]>) = (Vec::new(), HashSet::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || (colors.is_empty() && is_heading(line)) {
            continue;
        }
        let fail = |reason: &str| fail(format!("line {}: {reason}: {line:?}", number + 1));
        let color = colored(line).map_err(fail)?;
        if !seen.insert(color.rgb) {
            return Err(fail("the color stands for another class already"));
        }
        colors.push(color);
    }
    if colors.is_empty() {
        return Err(fail("no colors in it, expected a line each: red green blue name".to_owned()));
    }
    Ok(colors)
}

/// The names of columns.
fn is_heading(line: &str) -> bool {
    let words: Vec<String> = line.split(',').map(|word| word.trim().to_lowercase()).collect();
    words.len() > 3
        && !line.bytes().any(|byte| byte.is_ascii_digit())
        && words.iter().any(|word| word == "r" || word == "red")
}

fn colored(line: &str) -> Result<Color, &'static str> {
    const EXPECTED: &str =
        "expected three levels from 0 to 255 and a name: red green blue name, or name,red,green,blue";
    if let Some((name, rest)) = line.split_once(':') {
        let levels = levels(rest.split(':').next().unwrap_or_default().split(','));
        if let Some(rgb) = levels {
            return named(rgb, name);
        }
    }
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    if let [name, last @ ..] = &fields[..]
        && last.len() == 3
        && let Some(rgb) = levels(last.iter().copied())
        && name.parse::<u8>().is_err()
    {
        return named(rgb, name);
    }
    let spaced = line.replace(',', " ");
    let mut words = spaced.split_whitespace();
    let rgb = levels(words.by_ref().take(3)).ok_or(EXPECTED)?;
    named(rgb, &words.collect::<Vec<_>>().join(" "))
}

fn levels<'a>(words: impl Iterator<Item = &'a str>) -> Option<[u8; 3]> {
    let levels: Option<Vec<u8>> = words.map(|word| word.trim().parse().ok()).collect();
    levels?.try_into().ok()
}

fn named(rgb: [u8; 3], name: &str) -> Result<Color, &'static str> {
    match name.trim() {
        "" => Err("expected a name beside the color"),
        name => Ok(Color { rgb, name: name.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str, wanted: &[&str]) -> Result<ColorTable, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        ColorTable::read(file.path(), &wanted).map_err(|error| error.to_string())
    }

    #[test]
    fn the_forms_in_which_tables_are_handed_on() {
        for text in [
            "# CamVid\n64 128 64\tAnimal\n0 0 0 Void sky\n",
            "64,128,64,Animal\n0,0,0,Void sky\n",
            "name,r,g,b\nAnimal,64,128,64\nVoid sky,0,0,0\n",
            "# label:color_rgb:parts:actions\nAnimal:64,128,64::\nVoid sky:0,0,0::\n",
        ] {
            let read = table(text, &[]).unwrap();
            assert_eq!(read.names(), ["Animal", "Void sky"], "{text}");
            assert_eq!(read.class_of, HashMap::from([([64, 128, 64], 0), ([0, 0, 0], 1)]), "{text}");
        }
        for (text, part) in [
            ("64 128 Animal", "line 1: expected three levels"),
            ("1 2 3", "expected a name"),
            ("1 2 3 a\n1 2 3 b", "line 2: the color stands"),
            ("1 2 256 a", "levels from 0 to 255"),
            ("# nothing", "no colors"),
        ] {
            let error = table(text, &[]).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn classes_may_be_chosen_and_colors_joined() {
        let text = "0 0 0 void\n1 0 0 car\n2 0 0 car\n3 0 0 road\n";
        assert_eq!(table(text, &[]).unwrap().names(), ["void", "car", "road"]);
        let chosen = table(text, &["road", "car"]).unwrap();
        let picture = RgbImage::from_fn(4, 1, |x, _| image::Rgb([x as u8, 0, 0]));
        assert_eq!(chosen.labels(&picture).unwrap().into_raw(), [IGNORE, 1, 1, 0]);
        let error = table(text, &["Road"]).unwrap_err();
        assert!(error.contains("\"Road\"; there are void, car"), "{error}");
        let unknown = RgbImage::from_pixel(3, 2, image::Rgb([9, 9, 9]));
        assert_eq!(chosen.labels(&unknown).unwrap_err(), UnknownColor { rgb: [9, 9, 9], x: 0, y: 0 });
    }
}
