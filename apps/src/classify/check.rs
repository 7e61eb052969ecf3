//! What `data` does for folders of class folders.

use std::path::{Path, PathBuf};

use kat_imagenet::ImageFolder;
use kat_imagenet::index::Caching;
use kat_imagenet::splits;
use kat_images::shapes::Layout;
use kat_images::survey::{BrokenFile, ClassCount, Survey};
use rayon::prelude::*;

use crate::classify::data::parts;
use crate::config::{DataPlan, TaskKind};
use crate::shell::data::{DataTools, MakeShapesArgs, decoded_size};

/// The tools of `classify data`.
pub const TOOLS: DataTools = DataTools { task: TaskKind::Classify, check, make_shapes };

/// Decodes every image of the parts that training would take, and of any other held-out part, or of DIR itself.
fn check(dir: &Path, data: &DataPlan) -> anyhow::Result<Vec<Survey>> {
    let (train, val) = parts(dir, data)?;
    let mut splits: Vec<PathBuf> = train.into_iter().chain(val).collect();
    for other in splits::look(dir)?.held_out {
        if !splits.is_empty() && !splits.contains(&other) {
            splits.push(other);
        }
    }
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match splits.is_empty() {
        true => Ok(vec![survey(dir, ".", data)?]),
        false => splits.iter().map(|split| survey(split, &name(split), data)).collect(),
    }
}

fn survey(root: &Path, split: &str, data: &DataPlan) -> anyhow::Result<Survey> {
    let folder = ImageFolder::open(root, None, Caching::Off, data.decode)?;
    let mut survey = Survey {
        split: split.to_owned(),
        images: folder.items.len(),
        labels: folder.items.len(),
        ..Survey::default()
    };
    let mut counts = vec![0; folder.classes.len()];
    folder.items.iter().for_each(|item| counts[item.1 as usize] += 1);
    let classes = folder.classes.iter().cloned().zip(counts);
    survey.classes = classes.map(|(name, count)| ClassCount { name, count }).collect();
    if folder.unsupported > 0 {
        let count = folder.unsupported;
        survey
            .problems
            .push(format!("{count} images of kinds that are not decoded (AVIF, HEIC, JPEG 2000 …)"));
    }
    let size = |i: usize| decoded_size(&root.join(&folder.items[i].0), &folder.decode);
    let sizes: Vec<_> = (0..folder.items.len()).into_par_iter().map(size).collect();
    for ((path, _), size) in folder.items.iter().zip(sizes) {
        match size {
            Ok(size) => survey.add_size(size),
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
        let surveys = check(&dir, &DataPlan::unconfigured(TaskKind::Classify)).unwrap();
        let sizes: Vec<_> = surveys.iter().map(|s| (s.split.as_str(), s.images, s.classes.len())).collect();
        assert_eq!(sizes, [("train", 40, 10), ("val", 10, 10)]);
        assert!(surveys.iter().all(Survey::is_clean) && surveys[0].width == Some([64, 64]));
        let class = dir.join("val").join(&surveys[1].classes[0].name);
        std::fs::write(class.join("broken.png"), b"no image").unwrap();
        let broken = &check(&dir, &DataPlan::unconfigured(TaskKind::Classify)).unwrap()[1].broken;
        assert!(broken.len() == 1 && broken[0].path.ends_with("broken.png"), "{broken:?}");
    }

    #[test]
    fn parts_by_the_usual_words_and_nothing_else_as_a_class() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            image::RgbImage::new(4, 4).save_with_format(path, image::ImageFormat::Png).unwrap();
        };
        ["Training/a/1.jpg", "Training/b/1.png", "Testing/a/1.jfif", "Testing/B/2.jpg"]
            .into_iter()
            .for_each(write);
        write("Training/__MACOSX/a/1.jpg");
        std::fs::create_dir_all(dir.path().join("Training/empty")).unwrap();
        std::fs::write(dir.path().join("Training/a/2.heic"), "x").unwrap();
        let mut surveys = check(dir.path(), &DataPlan::unconfigured(TaskKind::Classify)).unwrap();
        kat_images::survey::compare_classes(&mut surveys);
        let [train, test] = &surveys[..] else { panic!("{surveys:?}") };
        let names: Vec<_> = train.classes.iter().map(|c| (c.name.as_str(), c.count)).collect();
        assert_eq!((train.split.as_str(), names), ("Training", vec![("a", 1), ("b", 1)]));
        assert_eq!(train.problems.len(), 1);
        assert_eq!((test.split.as_str(), test.images), ("Testing", 2));
        assert!(test.problems[0].contains("upper and lower case"), "{:?}", test.problems);
    }
}
