//! A folder of images and a folder of label maps, matched by name.

use kat_images::Size;
use kat_images::decode::ExifPolicy;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::{GrayImage, RgbImage};
use rayon::prelude::*;

use crate::LabelError;
use crate::colors::{ColorTable, UnknownColor};
use crate::pairs::{Ending, Pair, image_suffix, pair};
use crate::pixels::{self, Stored, image_size};
use kat_images::decode::{DecodeOptions, decode_file};
use kat_images::loader::{BoxError, Dataset};
use kat_images::sample::{Sample, Target};

/// The label that does not count.
pub const IGNORE: u8 = 255;

/// How stored values become class indices; 255 is always ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelScheme {
    /// The value is the index, `0..classes`.
    Direct,
    /// SceneParsing's `reduce_zero_label`: 0 is ignored, the others are the index plus 1.
    ReduceZero,
}

impl LabelScheme {
    /// The class index of a stored value, [`IGNORE`] if it does not count; `None` for a value that is no class.
    pub fn class_of(self, value: u16, classes: u32) -> Option<u8> {
        match (self, value) {
            (_, 255) | (Self::ReduceZero, 0) => Some(IGNORE),
            (Self::Direct, v) if u32::from(v) < classes => Some(v as u8),
            (Self::ReduceZero, v) if u32::from(v) <= classes => Some((v - 1) as u8),
            _ => None,
        }
    }

    /// The values that may be stored, in words.
    pub fn allowed(self, classes: u32) -> String {
        match self {
            Self::Direct => format!("0..={} and 255 (ignored), without reduce_zero_label", classes - 1),
            Self::ReduceZero => format!("0 and 255 (ignored) and 1..={classes}, with reduce_zero_label"),
        }
    }
}

/// A pair of folders. An image `a/b<image_suffix>` has the label map `a/b<label_suffix>`.
#[derive(Debug, Clone)]
pub struct LabelFolders {
    /// Folder of the images; folders below are searched too.
    pub images: PathBuf,
    /// Folder of the label maps.
    pub labels: PathBuf,
    /// Ending of an image, any case: `.jpg`, `_leftImg8bit.png`.
    pub image_suffix: String,
    /// Ending of a label map: `.png`, `_gtFine_labelTrainIds.png`; found out where no label map ends so.
    pub label_suffix: String,
    /// Number of classes, 1..=255.
    pub classes: u32,
    /// Meaning of the values.
    pub scheme: LabelScheme,
    /// Classes of colors, of label maps that are pictures.
    pub colors: Option<Arc<ColorTable>>,
    /// How an image is read.
    pub decode: DecodeOptions,
    pairs: Vec<Pair>,
}

/// What a scan over all label maps found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Pixels of each class.
    pub pixels: Vec<u64>,
    /// Images in which a class occurs.
    pub images: Vec<u64>,
    /// Pixels that are ignored.
    pub ignored: u64,
}

impl LabelFolders {
    /// One split of a dataset laid out as ADE20K's SceneParsing: `root/images/SPLIT` beside `root/annotations/SPLIT`, the
    /// image's most frequent ending (others are said). Not yet listed: [`LabelFolders::open`] does that.
    ///
    /// # Errors
    /// A folder of images that cannot be read.
    pub fn scene_parsing(
        root: &Path,
        split: &str,
        classes: u32,
        scheme: LabelScheme,
        decode: DecodeOptions,
    ) -> Result<Self, LabelError> {
        Self::beside(
            &root.join("images").join(split),
            &root.join("annotations").join(split),
            classes,
            scheme,
            decode,
        )
    }

    /// As [`LabelFolders::scene_parsing`], of any two folders.
    ///
    /// # Errors
    /// A folder of images that cannot be read.
    pub fn beside(
        images: &Path,
        labels: &Path,
        classes: u32,
        scheme: LabelScheme,
        decode: DecodeOptions,
    ) -> Result<Self, LabelError> {
        Ok(Self {
            image_suffix: image_suffix(images)?,
            images: images.to_owned(),
            labels: labels.to_owned(),
            label_suffix: ".png".into(),
            classes,
            scheme,
            colors: None,
            decode,
            pairs: Vec::new(),
        })
    }

    /// The images at the indices that `keep` accepts, in the same order.
    #[must_use]
    pub fn subset(&self, keep: impl Fn(usize) -> bool) -> Self {
        let kept = self.pairs.iter().enumerate().filter(|(index, _)| keep(*index));
        Self { pairs: kept.map(|(_, pair)| pair.clone()).collect(), ..self.clone() }
    }

    /// The names of the images, relative to their folder.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|pair| &pair.image[..])
    }

    /// Lists the images and checks that each has a label file.
    ///
    /// # Errors
    /// A class count out of range, a folder that cannot be read or has no image, an image without label file.
    pub fn open(self) -> Result<Self, LabelError> {
        let (data, missing) = self.open_labelled()?;
        missing.into_iter().next().map_or(Ok(data), Err)
    }

    /// Lists the images that have a label file, and says which have none ([`LabelError::Missing`] each).
    ///
    /// # Errors
    /// A class count out of range, a folder that cannot be read or has no image.
    pub fn open_labelled(mut self) -> Result<(Self, Vec<LabelError>), LabelError> {
        if !(1..=255).contains(&self.classes) {
            return Err(LabelError::Classes(self.classes));
        }
        let images = Ending { folder: &self.images, suffix: &self.image_suffix };
        let labels = Ending { folder: &self.labels, suffix: &self.label_suffix };
        let (pairs, missing) = pair(images, labels)?;
        self.pairs = pairs;
        Ok((self, missing))
    }

    /// The image file of a sample.
    pub fn image_path(&self, index: usize) -> PathBuf {
        self.images.join(&self.pairs[index].image)
    }

    /// The label file of a sample.
    pub fn label_path(&self, index: usize) -> PathBuf {
        self.labels.join(&self.pairs[index].label)
    }

    /// How many pixels of a label map have each stored value; of one of colors, how many are of each class.
    ///
    /// # Errors
    /// A file that cannot be decoded, or that is neither one index a pixel nor a picture of the table's colors.
    pub fn stored_values(&self, index: usize) -> Result<BTreeMap<u16, u64>, LabelError> {
        let path = self.label_path(index);
        let values = match pixels::read(&path)? {
            Stored::Indices(values, _) => values,
            Stored::Picture(picture) => {
                self.classes_of(path, &picture)?.into_raw().into_iter().map(u16::from).collect()
            }
        };
        let mut counts = vec![0u64; 1 << 16];
        values.iter().for_each(|&value| counts[usize::from(value)] += 1);
        Ok((0..=u16::MAX).zip(counts).filter(|(_, count)| *count > 0).collect())
    }

    /// Reads a label map as class indices.
    ///
    /// # Errors
    /// A file that cannot be decoded, that is neither one index a pixel nor a picture of the table's colors, or that holds a value
    /// that is no class.
    pub fn label_map(&self, index: usize) -> Result<GrayImage, LabelError> {
        let path = self.label_path(index);
        let (values, size) = match pixels::read(&path)? {
            Stored::Indices(values, size) => (values, size),
            Stored::Picture(picture) => return self.classes_of(path, &picture),
        };
        let (width, height) = size.dimensions();
        let mut map = Vec::with_capacity(values.len());
        for (at, &value) in values.iter().enumerate() {
            let Some(class) = self.scheme.class_of(value, self.classes) else {
                let (x, y) = (at as u32 % width, at as u32 / width);
                let allowed = self.scheme.allowed(self.classes);
                return Err(LabelError::Label { path, value, x, y, classes: self.classes, allowed });
            };
            map.push(class);
        }
        Ok(GrayImage::from_raw(width, height, map).unwrap_or_default())
    }

    fn classes_of(&self, path: PathBuf, picture: &RgbImage) -> Result<GrayImage, LabelError> {
        let Some(table) = &self.colors else {
            return Err(LabelError::Kind { path, found: "Rgb8".to_owned() });
        };
        table.labels(picture).map_err(|UnknownColor { rgb, x, y }| LabelError::Color { path, rgb, x, y })
    }

    /// Reads every label map and the size of every image, on all threads.
    ///
    /// # Errors
    /// The first problem in the order of the files: those of [`LabelFolders::label_map`], or two sizes.
    pub fn scan(&self) -> Result<Scan, LabelError> {
        let empty = || Scan {
            pixels: vec![0; self.classes as usize],
            images: vec![0; self.classes as usize],
            ignored: 0,
        };
        let counts: Vec<Result<[u64; 256], LabelError>> = (0..self.pairs.len())
            .into_par_iter()
            .map(|index| {
                let map = self.label_map(index)?;
                self.same_size(
                    index,
                    image_size(&self.image_path(index), ExifPolicy::Apply)?,
                    map.dimensions().into(),
                )?;
                let mut counts = [0u64; 256];
                map.as_raw().iter().for_each(|&v| counts[v as usize] += 1);
                Ok(counts)
            })
            .collect();
        let mut scan = empty();
        for counts in counts {
            let counts = counts?;
            scan.ignored += counts[IGNORE as usize];
            for ((pixels, images), n) in scan.pixels.iter_mut().zip(&mut scan.images).zip(counts) {
                *pixels += n;
                *images += u64::from(n > 0);
            }
        }
        Ok(scan)
    }

    /// Whether an image and its label map, both as decoded, are of one size.
    ///
    /// # Errors
    /// [`LabelError::Size`] if they are not.
    pub fn same_size(&self, index: usize, image_size: Size, label_size: Size) -> Result<(), LabelError> {
        if image_size == label_size {
            return Ok(());
        }
        let (image, label) = (self.image_path(index), self.label_path(index));
        Err(LabelError::Size { label, label_size, image, image_size })
    }
}

impl Dataset for LabelFolders {
    fn len(&self) -> usize {
        self.pairs.len()
    }
    fn name(&self, index: usize) -> String {
        self.image_path(index).display().to_string()
    }
    fn get(&self, index: usize) -> Result<Sample, BoxError> {
        let image = decode_file(&self.image_path(index), &self.decode)?;
        let map = self.label_map(index)?;
        self.same_size(index, Size::of(&image), Size::of(&map))?;
        Ok(Sample { image, target: Target::LabelMap(map), id: self.pairs[index].image.clone() })
    }
}

#[cfg(test)]
mod tests;
