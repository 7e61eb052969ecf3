//! What `data` does for COCO folders.

use kat_images::shapes::Layout;

use crate::cli::data::{DataTools, MakeShapesArgs, check_coco_as};
use crate::task::TaskKind;

/// The tools of `detect data`.
pub const TOOLS: DataTools = DataTools { task: TaskKind::Detect, check: check_coco_as, make_shapes };

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
    use crate::cli::data::check_coco;
    use kat_images::survey::Survey;

    #[test]
    fn generated_images_are_surveyed_clean() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("shapes");
        let text = make_shapes(&MakeShapesArgs { dir: dir.clone(), images: 10, seed: 1 }).unwrap();
        assert!(text.contains("10 images") && text.contains("of 10 categories"), "{text}");
        let surveys = check_coco(&dir).unwrap();
        assert!(surveys.iter().all(Survey::is_clean));
        let counts: Vec<_> = surveys.iter().map(|s| (s.split.as_str(), s.images)).collect();
        assert_eq!(counts, [("train", 8), ("val", 2)]);
    }
}
