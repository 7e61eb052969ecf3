//! Boxes and outlines as other tools store them, and as COCO: YOLO, Pascal VOC, LabelMe, and the COCO files of Roboflow, CVAT and
//! Label Studio.
//!
//! A reader makes an [`AnnotatedSet`] of a folder, a writer a folder of one. What the one has and the other cannot hold is
//! counted in its notes.

mod coco;
mod images;
mod labelme;
mod voc;
mod yolo;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use kat_images::{Rle, Size};

pub use coco::write as write_coco;
pub use yolo::write as write_yolo;

/// Why annotations cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A file or folder is not as its format has it.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file or folder.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// A COCO file cannot be read.
    #[error(transparent)]
    Coco(#[from] crate::CocoError),
}

impl ConvertError {
    fn new(path: &Path, reason: impl fmt::Display) -> Self {
        Self::Format { path: path.to_owned(), reason: reason.to_string() }
    }

    fn of<E: fmt::Display>(path: &Path) -> impl Fn(E) -> Self + '_ {
        move |reason| Self::new(path, reason)
    }
}

/// The outline of an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Outline {
    /// Only its box is known.
    None,
    /// Rings of x, y, x, y … in pixels.
    Rings(Vec<Vec<f64>>),
    /// Its pixels.
    Mask(Rle),
}

/// An object of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Index of its category.
    pub category: usize,
    /// `[x, y, width, height]` in pixels.
    pub bbox: [f64; 4],
    /// Its outline.
    pub outline: Outline,
    /// A region of many objects, or one that does not count.
    pub crowd: bool,
}

impl Object {
    /// An object of one or more rings.
    pub fn of_rings(category: usize, rings: Vec<Vec<f64>>) -> Self {
        let range = |axis: usize| {
            let values = rings.iter().flat_map(move |ring| ring.iter().skip(axis).step_by(2).copied());
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
        };
        let ((x0, x1), (y0, y1)) = (range(0), range(1));
        Self { category, bbox: [x0, y0, x1 - x0, y1 - y0], outline: Outline::Rings(rings), crowd: false }
    }
}

/// An image and what is in it.
#[derive(Debug, Clone, PartialEq)]
pub struct AnnotatedImage {
    /// The file.
    pub source: PathBuf,
    /// Its name below the folder of its part.
    pub name: String,
    /// Its size, upright.
    pub size: Size,
    /// Its objects.
    pub objects: Vec<Object>,
}

/// A part of a dataset: train, val …
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its images.
    pub images: Vec<AnnotatedImage>,
}

/// A dataset in memory, without its pixels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AnnotatedSet {
    /// Names of categories in the order of their indices.
    pub categories: Vec<String>,
    /// Its parts, the one to train on first.
    pub parts: Vec<Part>,
    /// What was left out or changed, and how often.
    pub notes: Notes,
}

/// What was left out or changed, and how often.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes(BTreeMap<String, usize>);

impl Notes {
    /// Counts one more case of `what`.
    pub fn add(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// Each with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        self.0.iter().map(|(what, count)| (what.as_str(), *count))
    }
}

/// A way to store annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// COCO's JSON, in any of the usual places.
    Coco,
    /// Ultralytics' data.yaml with a text file for each image.
    Yolo,
    /// Pascal VOC's XML.
    Voc,
    /// A JSON file for each image.
    LabelMe,
}

impl Format {
    /// What `path`, a folder or file, is.
    ///
    /// # Errors
    /// Nothing that is known, or a folder that cannot be read.
    pub fn of(path: &Path) -> Result<Self, ConvertError> {
        let extension = |path: &Path| path.extension().map(|e| e.to_string_lossy().to_lowercase());
        if path.is_file() {
            return match extension(path).as_deref() {
                Some("yaml" | "yml") => Ok(Self::Yolo),
                Some("json") => Ok(Self::Coco),
                _ => Err(ConvertError::new(path, "expected a folder, a .yaml of YOLO or a .json of COCO")),
            };
        }
        if yolo::description(path)?.is_some() {
            return Ok(Self::Yolo);
        }
        if !coco::files(path)?.is_empty() {
            return Ok(Self::Coco);
        }
        let found = images::files_below(path)?;
        let any = |wanted: &str| found.iter().any(|file| extension(file).as_deref() == Some(wanted));
        match (any("xml"), any("json")) {
            (true, _) => Ok(Self::Voc),
            (false, true) => Ok(Self::LabelMe),
            (false, false) => {
                let expected = "data.yaml (YOLO), annotations/*.json or _annotations.coco.json (COCO), \
                                Annotations/*.xml (Pascal VOC) or a .json beside each image (LabelMe)";
                Err(ConvertError::new(path, format!("no annotations are known in it, expected {expected}")))
            }
        }
    }

    /// Reads `path`.
    ///
    /// # Errors
    /// A file that cannot be read or is not of this format.
    pub fn read(self, path: &Path) -> Result<AnnotatedSet, ConvertError> {
        let mut set = match self {
            Self::Coco => coco::read(path)?,
            Self::Yolo => yolo::read(path)?,
            Self::Voc => voc::read(path)?,
            Self::LabelMe => labelme::read(path)?,
        };
        set.parts.retain(|part| !part.images.is_empty());
        if set.parts.is_empty() {
            return Err(ConvertError::new(path, "no annotated images in it"));
        }
        set.parts.sort_by_key(|part| !part.name.starts_with("train"));
        Ok(set)
    }
}

impl AnnotatedSet {
    /// Moves a share of the only part, at least one image, to a part "val"; which, is decided by `seed` and the images' names.
    ///
    /// # Errors
    /// More parts than one, or too few images; the reason.
    pub fn hold_out(&mut self, share: f64, seed: u64) -> Result<(), String> {
        let [only] = &mut self.parts[..] else {
            let names: Vec<&str> = self.parts.iter().map(|part| &part.name[..]).collect();
            return Err(format!("there are parts already: {}", names.join(", ")));
        };
        let names: Vec<&str> = only.images.iter().map(|image| &image.name[..]).collect();
        let held = kat_images::hold_out(&names, share, seed).map_err(|error| error.to_string())?;
        only.name = "train".to_owned();
        let mut index = 0;
        let (val, train) = std::mem::take(&mut only.images).into_iter().partition(|_| {
            index += 1;
            held[index - 1]
        });
        only.images = train;
        self.parts.push(Part { name: "val".to_owned(), images: val });
        Ok(())
    }

    /// The index of a category, which is added where it is new.
    fn category(&mut self, name: &str) -> usize {
        let known = self.categories.iter().position(|category| category == name);
        known.unwrap_or_else(|| {
            self.categories.push(name.to_owned());
            self.categories.len() - 1
        })
    }
}

#[cfg(test)]
mod tests;
