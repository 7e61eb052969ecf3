//! What `data` does for folders of class folders.

use std::path::Path;

use kat_datasets::decode::DecodeOptions;
use kat_datasets::imagenet::ImageFolder;
use kat_datasets::imagenet::index::Caching;
use kat_datasets::loader::Dataset as _;
use kat_datasets::shapes::Layout;
use kat_datasets::survey::{BrokenFile, ClassCount, Survey};
use rayon::prelude::*;

use super::data::{DataTools, MakeShapesArgs};

/// The tools of `classify data`.
pub const TOOLS: DataTools = DataTools { check, make_shapes };

/// Decodes every image of DIR/train, DIR/val and the like, or of DIR itself.
fn check(dir: &Path) -> anyhow::Result<Vec<Survey>> {
    let parts = ["train", "val", "validation", "valid", "test"];
    let mut splits: Vec<&str> = parts.into_iter().filter(|name| dir.join(name).is_dir()).collect();
    if splits.is_empty() {
        splits.push(".");
    }
    splits.into_iter().map(|split| survey(&dir.join(split), split)).collect()
}

fn survey(root: &Path, split: &str) -> anyhow::Result<Survey> {
    let folder = ImageFolder::open(root, None, Caching::Off, DecodeOptions::default())?;
    let mut survey = Survey {
        split: split.to_owned(),
        images: folder.items.len(),
        labels: folder.items.len(),
        ..Survey::default()
    };
    for (class, name) in folder.classes.iter().enumerate() {
        let count = folder.items.iter().filter(|item| item.1 as usize == class).count();
        survey.classes.push(ClassCount { name: name.clone(), count });
    }
    let size = |i: usize| folder.get(i).map(|s| s.image.dimensions()).map_err(|e| e.to_string());
    let sizes: Vec<_> = (0..folder.items.len()).into_par_iter().map(size).collect();
    for ((path, _), size) in folder.items.iter().zip(sizes) {
        match size {
            Ok((width, height)) => survey.add_size(width, height),
            Err(reason) => survey.broken.push(BrokenFile { path: root.join(path), reason }),
        }
    }
    Ok(survey)
}

/// Side of a generated image in pixels.
const SIDE: u32 = 64;

fn make_shapes(args: &MakeShapesArgs) -> anyhow::Result<String> {
    let made = args.write(Layout::ImageFolders, SIDE)?;
    Ok(format!(
        "{}: {} images of {} classes in train/ and val/",
        args.dir.display(),
        made.images,
        made.classes.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_images_are_surveyed_and_a_broken_one_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("shapes");
        let text = make_shapes(&MakeShapesArgs { dir: dir.clone(), images: 50, seed: 1 }).unwrap();
        assert!(text.contains("50 images of 10 classes"), "{text}");
        let surveys = check(&dir).unwrap();
        let sizes: Vec<_> = surveys.iter().map(|s| (s.split.as_str(), s.images, s.classes.len())).collect();
        assert_eq!(sizes, [("train", 40, 10), ("val", 10, 10)]);
        assert!(surveys.iter().all(Survey::is_clean) && surveys[0].width == Some([64, 64]));
        let class = dir.join("val").join(&surveys[1].classes[0].name);
        std::fs::write(class.join("broken.png"), b"no image").unwrap();
        let broken = &check(&dir).unwrap()[1].broken;
        assert!(broken.len() == 1 && broken[0].path.ends_with("broken.png"), "{broken:?}");
    }
}
