//! A folder of images with its annotation file, as samples.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use image::RgbImage;

use super::arena::{Record, Segmentation};
use super::check::{CheckReport, OnProblem, check};
use super::error::CocoError;
use super::json::{Category, CocoFile, ImageInfo};
use super::outline;
use kat_images::sample::{Instance, Sample, Target};
use kat_images::{Mask, Polygon};

/// COCO's sparse category ids, in rising order, as classes 0, 1, 2 …
#[derive(Debug, Clone, PartialEq)]
pub struct CategoryMap {
    categories: Vec<Category>,
    class_of: HashMap<u64, u32>,
}

impl CategoryMap {
    /// A map of these categories; their ids must be unique, as those of a parsed file are.
    pub fn new(categories: &[Category]) -> Self {
        let mut categories = categories.to_vec();
        categories.sort_by_key(|c| c.id);
        Self::in_order(categories)
    }

    /// The same with the categories as classes in the order in which they stand.
    pub fn in_order(categories: Vec<Category>) -> Self {
        let class_of = categories.iter().zip(0..).map(|(c, class)| (c.id, class)).collect();
        CategoryMap { categories, class_of }
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.categories.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.categories.is_empty()
    }

    /// The class of a category id.
    pub fn class_of(&self, id: u64) -> Option<u32> {
        self.class_of.get(&id).copied()
    }

    /// The category of a class.
    pub fn category(&self, class: u32) -> Option<&Category> {
        self.categories.get(class as usize)
    }

    /// Names in order of class.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.categories.iter().map(|c| c.name.as_str())
    }
}

/// Images in file order, with their usable annotations.
#[derive(Debug, Clone)]
pub struct CocoDataset {
    file: CocoFile,
    images_dir: PathBuf,
    categories: CategoryMap,
    report: CheckReport,
    /// Indices of usable annotations, grouped by image.
    members: Vec<u32>,
    /// End of each image's group in `members`.
    ends: Vec<usize>,
}

impl CocoDataset {
    /// Reads and checks an annotation file whose images are in `images_dir`.
    ///
    /// # Errors
    /// A file that cannot be read; with [`OnProblem::Fail`] also the first faulty annotation.
    pub fn open(annotations: &Path, images_dir: &Path, on_problem: OnProblem) -> Result<Self, CocoError> {
        Self::new(CocoFile::read(annotations)?, images_dir, on_problem)
    }

    /// The same from a parsed file.
    ///
    /// # Errors
    /// With [`OnProblem::Fail`], the first faulty annotation.
    pub fn new(file: CocoFile, images_dir: &Path, on_problem: OnProblem) -> Result<Self, CocoError> {
        let (keep, report) = check(&file, on_problem)?;
        let index: HashMap<u64, usize> =
            file.images.iter().enumerate().map(|(i, image)| (image.id, i)).collect();
        let image_of = |i: &u32| index.get(&file.annotations.records()[*i as usize].image_id);
        let mut members: Vec<u32> = (0..).zip(&keep).filter(|(_, keep)| **keep).map(|(i, _)| i).collect();
        // Stable: annotations of an image stay in file order.
        members.sort_by_key(|i| image_of(i).copied());
        let mut ends = vec![0; file.images.len()];
        members.iter().filter_map(image_of).for_each(|&i| ends[i] += 1);
        let mut total = 0;
        for end in &mut ends {
            total += *end;
            *end = total;
        }
        let categories = CategoryMap::new(&file.categories);
        let images_dir = images_dir.to_owned();
        Ok(CocoDataset { file, images_dir, categories, report, members, ends })
    }

    /// Its categories as classes in the order in which the file has them, rather than in that of their ids.
    #[must_use]
    pub fn in_file_order(mut self) -> Self {
        self.categories = CategoryMap::in_order(self.file.categories.clone());
        self
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.file.images.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.file.images.is_empty()
    }

    /// What the annotation file says, faulty annotations included.
    pub fn file(&self) -> &CocoFile {
        &self.file
    }

    /// Category ids as classes.
    pub fn categories(&self) -> &CategoryMap {
        &self.categories
    }

    /// Faults found in the annotation file.
    pub fn report(&self) -> &CheckReport {
        &self.report
    }

    /// The image at `index` in `[0, len)`, as the file describes it.
    pub fn image(&self, index: usize) -> Option<&ImageInfo> {
        self.file.images.get(index)
    }

    /// Where the image at `index` is on disk.
    pub fn path(&self, index: usize) -> Option<PathBuf> {
        self.image(index).map(|i| self.images_dir.join(&i.file_name))
    }

    /// Number of usable annotations of the image at `index`, crowds included; 0 beyond the end.
    pub fn annotations_of(&self, index: usize) -> usize {
        self.group(index).len()
    }

    /// The image at `index`, decoded and upright, with its objects; `None` beyond the end.
    ///
    /// # Errors
    /// If the decoded size is not the annotation file's, which would put every box in the wrong place.
    pub fn sample(&self, index: usize, image: RgbImage) -> Option<Result<Sample, CocoError>> {
        let info = self.image(index)?;
        if let Err(error) = self.check_size(index, image.dimensions().into()) {
            return Some(Err(error));
        }
        let instances = self.instances(index);
        Some(instances.map(|instances| Sample {
            image,
            target: Target::Instances(instances),
            id: info.id.to_string(),
        }))
    }

    /// Whether an image decoded to `[width, height]` is the one that was annotated.
    ///
    /// # Errors
    /// If the size is another; the message tells an exchange of width and height apart.
    pub fn check_size(&self, index: usize, found: [u32; 2]) -> Result<(), CocoError> {
        let [found_width, found_height] = found;
        match self.image(index) {
            Some(info) if [info.width, info.height] != found => Err(CocoError::ImageSize {
                path: self.images_dir.join(&info.file_name),
                image: info.id,
                width: info.width,
                height: info.height,
                found_width,
                found_height,
                rotated: [info.height, info.width] == found,
            }),
            _ => Ok(()),
        }
    }

    /// The usable annotations, by image.
    pub fn usable(&self) -> impl Iterator<Item = &Record> {
        self.members.iter().map(|&i| &self.file.annotations.records()[i as usize])
    }

    /// The usable objects of the image at `index`: boxes clipped to it, bad rings left out.
    ///
    /// # Errors
    /// None for a file that was checked; kept for run lengths that cannot be decoded.
    pub fn instances(&self, index: usize) -> Result<Vec<Instance>, CocoError> {
        let Some(info) = self.image(index) else { return Ok(Vec::new()) };
        let all = &self.file.annotations;
        let mut instances = Vec::with_capacity(self.group(index).len());
        for &i in self.group(index) {
            let record = &all.records()[i as usize];
            let (Some(class), Some([x, y, w, h])) =
                (self.categories.class_of(record.category_id), record.bbox)
            else {
                continue;
            };
            let clip = |v: f64, size: u32| v.clamp(0.0, f64::from(size)) as f32;
            let bbox = [
                clip(x, info.width),
                clip(y, info.height),
                clip(x + w, info.width),
                clip(y + h, info.height),
            ];
            let mask = match all.segmentation(record) {
                Segmentation::None => None,
                Segmentation::Polygons(rings) => {
                    let good = rings.iter().filter(|ring| outline::check(ring).is_ok());
                    Some(Mask::Polygon(Polygon::from_usable(good.map(points))))
                }
                runs => outline::to_rle(runs, outline::of([info.height, info.width]))?
                    .map(|rle| Mask::Bitmap(rle.to_image())),
            };
            instances.push(Instance { class, bbox, mask, crowd: record.crowd });
        }
        Ok(instances)
    }

    fn group(&self, index: usize) -> &[u32] {
        let Some(&end) = self.ends.get(index) else { return &[] };
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.members[start..end]
    }
}

fn points(ring: &[f64]) -> Vec<[f32; 2]> {
    ring.chunks_exact(2).map(|p| [p[0] as f32, p[1] as f32]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{
      "images": [{"id": 40, "file_name": "b.png", "width": 6, "height": 4},
                 {"id": 10, "file_name": "a.png", "width": 6, "height": 4}],
      "categories": [{"id": 9, "name": "dog"}, {"id": 3, "name": "cat"}],
      "annotations": [
        {"id": 1, "image_id": 10, "category_id": 9, "bbox": [1, 1, 9, 2], "segmentation": [[1,1,5,1,5,3],[0,0]]},
        {"id": 2, "image_id": 40, "category_id": 3, "bbox": [0, 0, 1, 4], "iscrowd": 1,
         "segmentation": {"size": [4, 6], "counts": [0, 4, 20]}},
        {"id": 3, "image_id": 10, "category_id": 3, "bbox": [0, 0, 2, 2]},
        {"id": 4, "image_id": 10, "category_id": 5, "bbox": [0, 0, 2, 2]}]}"#;

    fn dataset() -> CocoDataset {
        let file = CocoFile::parse(Path::new("x.json"), TEXT.as_bytes()).unwrap();
        CocoDataset::new(file, Path::new("images"), OnProblem::Skip).unwrap()
    }

    #[test]
    fn objects_come_with_their_image_and_contiguous_classes() {
        let data = dataset();
        assert_eq!(data.categories().names().collect::<Vec<_>>(), ["cat", "dog"]);
        assert_eq!(data.categories().category(1).unwrap().id, 9);
        assert_eq!(data.path(1).unwrap(), Path::new("images/a.png"));
        assert_eq!((data.annotations_of(0), data.annotations_of(1)), (1, 2));
        assert_eq!((data.annotations_of(2), data.report().skipped), (0, 1));
        let sample = data.sample(1, RgbImage::new(6, 4)).unwrap().unwrap();
        let Target::Instances(objects) = sample.target else { panic!("instances expected") };
        assert_eq!((sample.id.as_str(), objects[0].class, objects[1].class), ("10", 1, 0));
        assert_eq!(objects[0].bbox, [1.0, 1.0, 6.0, 3.0]);
        assert_eq!(
            objects[0].mask,
            Some(Mask::Polygon(Polygon::from_usable([vec![[1.0, 1.0], [5.0, 1.0], [5.0, 3.0]]])))
        );
        let crowd = &data.instances(0).unwrap()[0];
        let Some(Mask::Bitmap(bitmap)) = &crowd.mask else { panic!("bitmap expected") };
        assert!(crowd.crowd && bitmap.enumerate_pixels().all(|(x, _, p)| (p.0[0] == 255) == (x == 0)));
    }

    #[test]
    fn a_rotated_image_is_told() {
        let data = dataset();
        let error = data.sample(0, RgbImage::new(4, 6)).unwrap().unwrap_err().to_string();
        assert!(error.contains("b.png") && error.contains("EXIF"), "{error}");
        let error = data.sample(0, RgbImage::new(5, 5)).unwrap().unwrap_err().to_string();
        assert!(error.contains("5x5") && !error.contains("EXIF"), "{error}");
        assert!(data.sample(2, RgbImage::new(1, 1)).is_none());
    }
}
