//! A folder of images and a folder of label maps, matched by name.

use kat_images::Size;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use image::GrayImage;
use rayon::prelude::*;

use super::pixels::{read_indices, upright_size};
use super::tree::files;
use crate::LabelError;
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
    /// Ending of a label map: `.png`, `_gtFine_labelTrainIds.png`.
    pub label_suffix: String,
    /// Number of classes, 1..=255.
    pub classes: u32,
    /// Meaning of the values.
    pub scheme: LabelScheme,
    /// How an image is read.
    pub decode: DecodeOptions,
    pairs: Vec<Pair>,
}

/// An image and its label map, relative to their folders.
#[derive(Debug, Clone)]
struct Pair {
    image: String,
    label: String,
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
    /// One split of SceneParsing, `split` being `training` or `validation`.
    ///
    /// # Errors
    /// Those of [`LabelFolders::open`].
    pub fn scene_parsing(
        root: &Path,
        split: &str,
        classes: u32,
        decode: DecodeOptions,
    ) -> Result<Self, LabelError> {
        Self {
            images: root.join("images").join(split),
            labels: root.join("annotations").join(split),
            image_suffix: ".jpg".into(),
            label_suffix: ".png".into(),
            classes,
            scheme: LabelScheme::ReduceZero,
            decode,
            pairs: Vec::new(),
        }
        .open()
    }

    /// Folders `images` and `labels` with the suffixes of Cityscapes and 19 classes; change the fields, then
    /// [`LabelFolders::open`] it.
    pub fn cityscapes(images: &Path, labels: &Path, decode: DecodeOptions) -> Self {
        Self {
            images: images.to_owned(),
            labels: labels.to_owned(),
            image_suffix: "_leftImg8bit.png".into(),
            label_suffix: "_gtFine_labelTrainIds.png".into(),
            classes: 19,
            scheme: LabelScheme::Direct,
            decode,
            pairs: Vec::new(),
        }
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
        let mut images = files(&self.images)?;
        images.retain(|path| ends_with(path, &self.image_suffix));
        if images.is_empty() {
            return Err(LabelError::Empty { path: self.images, suffix: self.image_suffix });
        }
        // the endings may be written in another case than configured
        let mut labels: HashMap<String, String> = HashMap::new();
        for path in files(&self.labels)? {
            if ends_with(&path, &self.label_suffix) {
                let stem = path[..path.len() - self.label_suffix.len()].to_owned();
                if path.ends_with(&self.label_suffix) {
                    labels.insert(stem, path);
                } else {
                    labels.entry(stem).or_insert(path);
                }
            }
        }
        let mut missing = Vec::new();
        for image in images {
            let stem = &image[..image.len() - self.image_suffix.len()];
            match labels.get(stem) {
                Some(label) => self.pairs.push(Pair { label: label.clone(), image }),
                None => missing.push(LabelError::Missing {
                    label: self.labels.join(format!("{stem}{}", self.label_suffix)),
                    image: self.images.join(&image),
                }),
            }
        }
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

    /// How many pixels of a label map have each stored value.
    ///
    /// # Errors
    /// A file that cannot be decoded or is not one index a pixel.
    pub fn stored_values(&self, index: usize) -> Result<BTreeMap<u16, u64>, LabelError> {
        let (values, ..) = read_indices(&self.label_path(index))?;
        let mut counts = vec![0u64; 1 << 16];
        values.iter().for_each(|&value| counts[usize::from(value)] += 1);
        Ok((0..=u16::MAX).zip(counts).filter(|(_, count)| *count > 0).collect())
    }

    /// Reads a label map as class indices.
    ///
    /// # Errors
    /// A file that cannot be decoded, is not one index a pixel, or holds a value that is no class.
    pub fn label_map(&self, index: usize) -> Result<GrayImage, LabelError> {
        let path = self.label_path(index);
        let (values, width, height) = read_indices(&path)?;
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
                self.same_size(index, upright_size(&self.image_path(index))?, map.dimensions().into())?;
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

fn ends_with(name: &str, suffix: &str) -> bool {
    let start = name.len().checked_sub(suffix.len());
    start.and_then(|s| name.get(s..)).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use image::Luma;
    use kat_images::shapes::{Layout, ShapesConfig, write_shapes};

    #[test]
    fn generated_scenes_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let config = ShapesConfig { train_images: 12, val_images: 3, vary: 0.3, ..Default::default() };
        write_shapes(dir.path(), Layout::SceneParsing, &config).unwrap();
        let data = LabelFolders::scene_parsing(dir.path(), "training", 10, DecodeOptions::default()).unwrap();
        let scan = data.scan().unwrap();
        let mut pixels = 0;
        for i in 0..data.len() {
            let sample = data.get(i).unwrap();
            pixels += u64::from(sample.image.width() * sample.image.height());
        }
        assert_eq!(scan.pixels.iter().sum::<u64>() + scan.ignored, pixels);
        assert_eq!(data.get(0).unwrap().id, "SHAPES_train_00000001.jpg");

        let few = LabelFolders { classes: 2, ..data };
        let error = few.scan().unwrap_err().to_string();
        assert!(error.contains("2 classes allow 0 and 255 (ignored) and 1..=2, with reduce_zero"), "{error}");
        assert!(error.contains("SHAPES_train_"), "{error}");
    }

    fn pair(map: &GrayImage) -> (tempfile::TempDir, LabelFolders) {
        let dir = tempfile::tempdir().unwrap();
        let (images, labels) = (dir.path().join("img"), dir.path().join("gt"));
        fs::create_dir_all(images.join("city")).unwrap();
        fs::create_dir_all(labels.join("city")).unwrap();
        image::RgbImage::new(3, 2).save(images.join("city/a_leftImg8bit.png")).unwrap();
        map.save(labels.join("city/a_gtFine_labelTrainIds.png")).unwrap();
        let folders = LabelFolders::cityscapes(&images, &labels, DecodeOptions::default());
        (dir, folders)
    }

    #[test]
    fn suffixes_pair_files_and_values_are_checked() {
        let mut map = GrayImage::from_pixel(3, 2, Luma([18]));
        map.put_pixel(0, 0, Luma([255]));
        let (_dir, folders) = pair(&map);
        let data = folders.open().unwrap();
        assert_eq!(data.label_map(0).unwrap(), map);
        map.put_pixel(2, 1, Luma([19]));
        map.save(data.label_path(0)).unwrap();
        let error = data.scan().unwrap_err().to_string();
        assert!(
            error.ends_with(
                "label 19 at x 2, y 1; 19 classes allow 0..=18 and 255 (ignored), without reduce_zero_label"
            ),
            "{error}"
        );
        let rgb = image::RgbImage::new(3, 2);
        rgb.save(data.label_path(0)).unwrap();
        assert!(data.scan().unwrap_err().to_string().contains("this one is Rgb8"));
        fs::write(data.label_path(0), b"\x89PNG\r\n").unwrap();
        assert!(matches!(data.scan(), Err(LabelError::Decode { .. })));
        fs::remove_file(data.label_path(0)).unwrap();
        assert!(matches!(data.open(), Err(LabelError::Missing { .. })));
    }

    #[test]
    fn a_missing_label_is_told_and_the_rest_goes_on() {
        let (dir, folders) = pair(&GrayImage::from_pixel(3, 2, Luma([7])));
        image::RgbImage::new(3, 2).save(dir.path().join("img/city/b_leftImg8bit.png")).unwrap();
        let error = folders.clone().open().unwrap_err().to_string();
        assert!(error.contains("b_gtFine_labelTrainIds.png"), "{error}");
        let (data, missing) = folders.clone().open_labelled().unwrap();
        assert_eq!((data.len(), missing.len()), (1, 1));
        assert_eq!(data.stored_values(0).unwrap(), BTreeMap::from([(7, 6)]));
        // an ending in another case is the same ending
        let (from, to) = ("gt/city/a_gtFine_labelTrainIds.png", "gt/city/b_gtFine_labelTrainIds.PNG");
        fs::copy(dir.path().join(from), dir.path().join(to)).unwrap();
        assert!(folders.open().unwrap().label_path(1).ends_with("b_gtFine_labelTrainIds.PNG"));
    }

    #[test]
    fn two_sizes_name_both() {
        let (_dir, folders) = pair(&GrayImage::new(2, 3));
        let data = folders.open().unwrap();
        let error = data.get(0).unwrap_err().to_string();
        assert!(error.contains("2x3 pixels") && error.contains("3x2"), "{error}");
        assert_eq!(data.scan().unwrap_err().to_string(), error);
    }

    #[test]
    fn schemes() {
        let reduce = LabelScheme::ReduceZero;
        assert_eq!(
            [0, 1, 150, 151, 255].map(|v| reduce.class_of(v, 150)),
            [Some(255), Some(0), Some(149), None, Some(255)]
        );
        assert_eq!(LabelScheme::Direct.class_of(150, 150), None);
        assert_eq!(LabelScheme::Direct.class_of(0, 1), Some(0));
        let bad = LabelFolders {
            classes: 256,
            ..LabelFolders::cityscapes(Path::new("a"), Path::new("b"), DecodeOptions::default())
        };
        assert!(matches!(bad.open(), Err(LabelError::Classes(256))));
    }
}
