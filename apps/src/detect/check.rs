//! What `data` does for COCO folders.

use std::path::Path;

use kat_coco::survey;
use kat_images::shapes::Layout;
use kat_images::survey::Survey;

use super::data::{self, dataset};
use crate::config::{DataPlan, TaskKind};
use crate::shell::data::{DataTools, MakeShapesArgs, decoded_size};

/// The tools of `detect data`.
pub const TOOLS: DataTools =
    DataTools { task: TaskKind::Detect, check: check_coco, make_shapes, convert: super::convert::convert };

/// Surveys every split of a COCO folder, or an annotation file: decodes each image, checks each annotation.
///
/// # Errors
/// If there is no annotation file or one cannot be read.
pub fn check_coco(dir: &Path, data: &DataPlan) -> anyhow::Result<Vec<Survey>> {
    let mut splits = data::splits(dir)?;
    splits.sort_by_key(|split| !split.name.to_lowercase().starts_with("train"));
    let options = data.decode;
    let probe =
        |path: &Path| decoded_size(path, &options).map(|size| [size.width as u32, size.height as u32]);
    splits.iter().map(|split| Ok(survey::survey(&split.name, &dataset(split, data)?, &probe))).collect()
}

/// Side of a generated image in pixels.
const SIDE: u32 = 128;

fn make_shapes(args: &MakeShapesArgs) -> anyhow::Result<String> {
    let made = args.write(Layout::Coco, SIDE)?;
    Ok(format!(
        "{}: {} images with {} objects of {} categories in images/, annotations/instances_train.json and \
         instances_val.json",
        args.dir.display(),
        made.images,
        made.objects,
        made.classes.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_images_are_surveyed_clean() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("shapes");
        let text = make_shapes(&MakeShapesArgs { dir: dir.clone(), images: 10, seed: 1 }).unwrap();
        assert!(text.contains("10 images") && text.contains("of 10 categories"), "{text}");
        let surveys = check_coco(&dir, &DataPlan::unconfigured(TaskKind::Detect)).unwrap();
        assert!(surveys.iter().all(Survey::is_clean));
        let counts: Vec<_> = surveys.iter().map(|s| (s.split.as_str(), s.images)).collect();
        assert_eq!(counts, [("train", 8), ("val", 2)]);
    }
}
