//! Parts of an annotation file: some of its images, some of its categories.

use std::collections::HashSet;

use super::error::CocoError;
use super::json::{Category, CocoFile};

impl CocoFile {
    /// Takes the images for which `held` says so out into a file of their own, with their annotations. Annotations of no image
    /// of the file stay here, for the check to find.
    pub fn split_off(&mut self, held: &[bool]) -> Self {
        let is_held = |index: usize| held.get(index).copied().unwrap_or(false);
        let (images, taken): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.images).into_iter().enumerate().partition(|(index, _)| !is_held(*index));
        let bare = |images: Vec<(usize, _)>| images.into_iter().map(|(_, image)| image).collect();
        let mut other = Self { images: bare(taken), ..self.clone() };
        self.images = bare(images);
        let ids: HashSet<u64> = other.images.iter().map(|image| image.id).collect();
        other.retain_annotations(|record| ids.contains(&record.image_id));
        self.retain_annotations(|record| !ids.contains(&record.image_id));
        other
    }

    /// Keeps these categories, in this order, and their annotations; how many annotations of other categories were left out.
    pub fn keep_categories(&mut self, ids: &[u64]) -> usize {
        let before: HashSet<u64> = self.categories.iter().map(|category| category.id).collect();
        let kept: HashSet<u64> = ids.iter().copied().collect();
        let find = |id: &u64| self.categories.iter().find(|category| category.id == *id).cloned();
        self.categories = ids.iter().filter_map(find).collect();
        let all = self.annotations.len();
        // an annotation of a category that the file never had is a fault, which the check is to find
        self.retain_annotations(|record| {
            kept.contains(&record.category_id) || !before.contains(&record.category_id)
        });
        all - self.annotations.len()
    }

    /// The category called `name`; of several, one that annotations are of.
    ///
    /// # Errors
    /// There is none, with those that there are.
    pub fn category(&self, name: &str) -> Result<&Category, CocoError> {
        let called = || self.categories.iter().filter(|category| category.name == name);
        let used = |category: &&Category| {
            self.annotations.records().iter().any(|record| record.category_id == category.id)
        };
        let found = match called().nth(1) {
            Some(_) => called().find(used).or_else(|| called().next()),
            None => called().next(),
        };
        found.ok_or_else(|| CocoError::NoCategory {
            path: self.path.clone(),
            name: name.to_owned(),
            found: few(self.categories.iter().map(|category| &category.name[..])),
        })
    }

    /// Leaves out categories that are headings of others and that nothing belongs to, as Roboflow's files have one; their names.
    pub fn drop_headings(&mut self) -> Vec<String> {
        let used: HashSet<u64> = self.annotations.records().iter().map(|record| record.category_id).collect();
        let is_heading = |category: &Category| {
            let above = |other: &Category| other.supercategory == category.name && other.id != category.id;
            !used.contains(&category.id) && self.categories.iter().any(above)
        };
        let (headings, kept) =
            self.categories.clone().into_iter().partition::<Vec<_>, _>(|category| is_heading(category));
        self.categories = kept;
        headings.into_iter().map(|category| category.name).collect()
    }

    fn retain_annotations(&mut self, keep: impl Fn(&super::arena::Record) -> bool) {
        let all = self.annotations.records();
        let kept: Vec<usize> = (0..all.len()).filter(|position| keep(&all[*position])).collect();
        let renumbered = std::mem::take(&mut self.renumbered);
        let moved = renumbered.into_iter().filter_map(|(at, id)| Some((kept.binary_search(&at).ok()?, id)));
        self.renumbered = moved.collect();
        self.annotations.retain_indices(&kept);
    }
}

/// The first names of a list.
fn few<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = if names.len() > 8 { ", …" } else { "" };
    let shown: Vec<String> = names.take(8).map(|name| format!("{name:?}")).collect();
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") + more }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn file() -> CocoFile {
        let text = r#"{
          "images": [{"id": 7, "file_name": "a", "width": 6, "height": 4},
                     {"id": 5, "file_name": "b", "width": 6, "height": 4}],
          "categories": [{"id": 0, "name": "pets", "supercategory": "none"},
                         {"id": 1, "name": "cat", "supercategory": "pets"},
                         {"id": 2, "name": "dog", "supercategory": "pets"}],
          "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "bbox": [0, 0, 2, 2], "segmentation": [[0, 0, 2, 0, 2, 2]]},
            {"id": 2, "image_id": 5, "category_id": 2, "bbox": [1, 1, 2, 2], "segmentation": [[1, 1, 3, 1, 3, 3]]},
            {"id": 2, "image_id": 7, "category_id": 2, "bbox": [0, 0, 1, 1]},
            {"id": 4, "image_id": 9, "category_id": 8, "bbox": [0, 0, 1, 1]}]}"#;
        CocoFile::parse(Path::new("x.json"), text.as_bytes()).unwrap()
    }

    #[test]
    fn images_go_with_their_annotations() {
        let (whole, mut rest) = (file(), file());
        let taken = rest.split_off(&[false, true]);
        let ids = |file: &CocoFile| file.images.iter().map(|image| image.id).collect::<Vec<_>>();
        assert_eq!((ids(&rest), ids(&taken)), (vec![7], vec![5]));
        assert_eq!((rest.annotations.len(), taken.annotations.len()), (3, 1));
        let outline = |file: &CocoFile, at: usize| {
            format!("{:?}", file.annotations.segmentation(&file.annotations.records()[at]))
        };
        assert_eq!(outline(&taken, 0), outline(&whole, 1));
        // the annotation whose id stood twice keeps the note of it
        assert_eq!((whole.renumbered[0].0, rest.renumbered[0].0, taken.renumbered.len()), (2, 1, 0));
    }

    #[test]
    fn categories_by_name_and_without_headings() {
        let mut file = file();
        assert_eq!(file.drop_headings(), ["pets"]);
        let dog = file.category("dog").unwrap().id;
        let error = file.category("hen").unwrap_err().to_string();
        assert!(error.contains("\"hen\"") && error.contains("\"cat\", \"dog\""), "{error}");
        assert_eq!(file.keep_categories(&[dog]), 1);
        assert_eq!((file.categories.len(), file.annotations.len()), (1, 3));
    }
}
