//! A folder a class: `root/<class>/**/*.JPEG`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{ImageNetError, splits};
use crate::index::{Caching, Index};
use kat_images::Rect;
use kat_images::decode::{DecodeOptions, decode_file_region};
use kat_images::loader::{BoxError, Choose, Dataset};
use kat_images::sample::{Sample, Target};

/// Images and their classes; the paths are relative to the root.
#[derive(Debug, Clone)]
pub struct ImageFolder {
    /// Folder of the dataset.
    pub root: PathBuf,
    /// Class names in the order of their indices.
    pub classes: Vec<String>,
    /// Relative path and class of each image.
    pub items: Vec<(String, u32)>,
    /// How an image is read.
    pub decode: DecodeOptions,
    /// Files that end like images of a kind that is not decoded.
    pub unsupported: usize,
}

impl ImageFolder {
    /// Opens a folder of class folders. Class indices follow the sorted folder names, or the order of
    /// `known` (the classes of the training data) where given.
    ///
    /// # Errors
    /// A folder that cannot be read or holds no image, or one whose name is not in `known`.
    pub fn open(
        root: &Path,
        known: Option<&[String]>,
        caching: Caching,
        decode: DecodeOptions,
    ) -> Result<Self, ImageNetError> {
        let (index, origin) = Index::open(root, caching)?;
        splits::check_classes(root, &index)?;
        let mut images_of = vec![0usize; index.classes.len()];
        for folder in &index.folders {
            images_of[folder.class as usize] += folder.files.len();
        }
        // a folder without images is no class
        let present = || index.classes.iter().zip(&images_of).filter(|(_, n)| **n > 0).map(|(name, _)| name);
        let classes = known.map_or_else(|| present().cloned().collect(), <[String]>::to_vec);
        let number: HashMap<&str, u32> = present()
            .map(|name| {
                let found = classes.iter().position(|c| c == name);
                let number = found.ok_or_else(|| ImageNetError::unknown_class(root, name, &classes))?;
                Ok((name.as_str(), number as u32))
            })
            .collect::<Result<_, ImageNetError>>()?;
        let mut items = Vec::new();
        for folder in index.folders.iter().filter(|folder| !folder.files.is_empty()) {
            let class = number[index.classes[folder.class as usize].as_str()];
            items.extend(folder.files.iter().map(|f| (format!("{}/{f}", folder.path), class)));
        }
        let unsupported: usize = index.folders.iter().map(|folder| folder.unsupported).sum();
        if unsupported > 0 {
            let root = root.display();
            tracing::warn!(
                "{root}: {unsupported} images of kinds that are not decoded (AVIF, HEIC, JPEG 2000 …)"
            );
        }
        if items.is_empty() {
            let expected = "<class>/<image>, e.g. n01440764/n01440764_10026.JPEG";
            return Err(ImageNetError::Empty { path: root.to_owned(), expected });
        }
        for (name, _) in index.classes.iter().zip(&images_of).filter(|(_, n)| **n == 0) {
            tracing::warn!("{}: no images, no class", root.join(name).display());
        }
        tracing::debug!(images = items.len(), classes = classes.len(), ?origin, "{}", root.display());
        Ok(Self { root: root.to_owned(), classes, items, decode, unsupported })
    }
}

impl Dataset for ImageFolder {
    fn len(&self) -> usize {
        self.items.len()
    }
    fn name(&self, index: usize) -> String {
        self.root.join(&self.items[index].0).display().to_string()
    }
    fn get(&self, index: usize) -> Result<Sample, BoxError> {
        self.get_region(index, &mut Rect::whole)
    }
    fn get_region(&self, index: usize, choose: Choose<'_>) -> Result<Sample, BoxError> {
        let (path, class) = &self.items[index];
        let image = decode_file_region(&self.root.join(path), &self.decode, choose)?;
        Ok(Sample { image, target: Target::Class(*class), id: path.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kat_images::shapes::{Layout, ShapesConfig, write_shapes};
    use kat_images::transform::crop::crop_image;

    #[test]
    fn generated_folders_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let options = DecodeOptions::default();
        let config = ShapesConfig { train_images: 20, val_images: 10, ..Default::default() };
        write_shapes(dir.path(), Layout::ImageFolders, &config).unwrap();
        let train = ImageFolder::open(&dir.path().join("train"), None, Caching::On, options).unwrap();
        assert_eq!(train.items.len(), 20);
        assert_eq!(train.classes[..2], ["arrow", "circle"]);
        assert_eq!(train.items[2], ("circle/circle_000001.JPEG".into(), 1));
        let val =
            ImageFolder::open(&dir.path().join("val"), Some(&train.classes), Caching::Off, options).unwrap();
        let sample = val.get(9).unwrap();
        assert_eq!(sample.id, "triangle/triangle_000009.JPEG");
        assert!(matches!(sample.target, Target::Class(9)));
        assert_eq!(sample.image.dimensions(), (64, 64));
        let rect = Rect { x: 11, y: 20, width: 30, height: 7 };
        let part = val
            .get_region(9, &mut |size| {
                if size == kat_images::Size::square(64) { rect } else { Rect::whole(size) }
            })
            .unwrap();
        assert_eq!(part.image, crop_image(&sample.image, rect).unwrap());
        assert!(matches!(part.target, Target::Class(9)));

        let known = ["Arrow".to_owned()];
        let error =
            ImageFolder::open(&val.root, Some(&known), Caching::Off, options).unwrap_err().to_string();
        assert!(
            error.ends_with("\"arrow\" is not one of the 1 known classes (nearest: \"Arrow\")"),
            "{error}"
        );
        let empty = tempfile::tempdir().unwrap();
        let error = ImageFolder::open(empty.path(), None, Caching::Off, options).unwrap_err();
        assert!(matches!(error, ImageNetError::Empty { .. }));
    }
}
