//! Label maps as other datasets store them: Pascal VOC, Cityscapes, COCO panoptic, a mask for each object, and colors.
//!
//! A layout lists images with where their labels are; [`LabelSet::write`] makes `images/PART` beside `annotations/PART` of it, the class
//! of each pixel as a gray PNG, 255 where it does not count, and `classes.txt`.

mod layouts;
mod pixels;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::colors::ColorTable;
use crate::pixels::image_size;
use kat_images::decode::ExifPolicy;
use kat_images::encode;

/// A label that does not count.
pub const IGNORED: u8 = 255;

/// Why labels cannot be converted.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct ConvertError {
    /// The file or folder.
    pub path: PathBuf,
    /// What was found and what was expected.
    pub reason: String,
}

impl ConvertError {
    fn new(path: &Path, reason: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), reason: reason.to_string() }
    }

    fn of<E: fmt::Display>(path: &Path) -> impl Fn(E) -> Self + '_ {
        move |reason| Self::new(path, reason)
    }
}

/// Where the labels of an image are, and what they mean.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A gray or palette PNG of classes.
    Classes(PathBuf),
    /// A gray PNG of numbers that `1` gives a class for; the others do not count.
    Numbers(PathBuf, Vec<u8>),
    /// An RGB PNG whose colors, as red + 256 green + 65536 blue, are segments of a class; the others do not count.
    Segments(PathBuf, Vec<(u32, u8)>),
    /// Pictures of one object each: what is not black in any is class 1, the rest 0.
    Masks(Vec<PathBuf>),
    /// An RGB PNG whose colors are classes; another color is an error.
    Colors(PathBuf),
}

/// An image with its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledImage {
    /// The image.
    pub image: PathBuf,
    /// Its name below the folder of its part.
    pub name: String,
    /// Its labels.
    pub labels: Source,
}

/// A dataset whose labels are not read yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LabelSet {
    /// Names of classes in the order of their indices.
    pub classes: Vec<String>,
    /// The colors of classes, where labels are colors.
    pub colors: ColorTable,
    /// Parts: "training", "validation" …, each with its images.
    pub parts: Vec<(String, Vec<LabelledImage>)>,
}

impl LabelSet {
    /// Finds out the layout of `root`; `colors` are those of labels that are stored as such. `None` for a layout that is not known.
    ///
    /// # Errors
    /// A folder or list that cannot be read; an image whose labels are not there.
    pub fn find(root: &Path, colors: Option<ColorTable>) -> Result<Option<Self>, ConvertError> {
        let found = match colors {
            Some(colors) => Some(layouts::colored(root, colors)?),
            None if root.join("SegmentationClass").is_dir() => Some(layouts::voc(root)?),
            None if root.join("gtFine").is_dir() => Some(layouts::cityscapes(root)?),
            None => layouts::panoptic(root)?.or(layouts::masks(root)?),
        };
        let Some(mut set) = found else { return Ok(None) };
        set.parts.retain(|(_, images)| !images.is_empty());
        match set.parts.is_empty() {
            true => Err(ConvertError::new(root, "no images with labels in it")),
            false => Ok(Some(set)),
        }
    }

    /// Writes `classes.txt`, images (linked where the file system allows it) and labels to `to`.
    ///
    /// # Errors
    /// A file that cannot be read or written, labels of another size or kind.
    pub fn write(&self, to: &Path) -> Result<(), ConvertError> {
        for (part, images) in &self.parts {
            for image in images {
                let labels = pixels::read(&image.labels, &self.colors)?;
                check_size(&image.image, &labels)?;
                let target = to.join("images").join(part).join(&image.name);
                let map = to.join("annotations").join(part).join(&image.name).with_extension("png");
                for folder in [&target, &map].into_iter().filter_map(|path| path.parent()) {
                    std::fs::create_dir_all(folder).map_err(ConvertError::of(folder))?;
                }
                if std::fs::hard_link(&image.image, &target).is_err() {
                    std::fs::copy(&image.image, &target).map_err(ConvertError::of(&image.image))?;
                }
                encode::save_png(&labels, &map).map_err(ConvertError::of(&map))?;
            }
        }
        let file = to.join("classes.txt");
        std::fs::write(&file, self.classes.join("\n") + "\n").map_err(ConvertError::of(&file))
    }
}

/// Whether labels have the size that their image is decoded to: upright, by its EXIF orientation.
fn check_size(image: &Path, labels: &image::GrayImage) -> Result<(), ConvertError> {
    let upright = image_size(image, ExifPolicy::Apply).map_err(|error| ConvertError::new(image, error))?;
    let found = labels.dimensions();
    if found == upright.dimensions() {
        return Ok(());
    }
    let as_stored = image_size(image, ExifPolicy::Ignore);
    let turned =
        (found.1, found.0) == upright.dimensions() && as_stored.is_ok_and(|size| size.dimensions() == found);
    let note = if turned { " once its EXIF orientation turns it; the labels are not turned" } else { "" };
    let reason = format!("its labels have {found:?} pixels, the image {:?}{note}", upright.dimensions());
    Err(ConvertError::new(image, reason))
}

#[cfg(test)]
mod tests;
