//! What `data` does for folders of class folders.

use std::path::{Path, PathBuf};

use kat_imagenet::index::Caching;
use kat_imagenet::{LabelledImages, splits};
use kat_images::Size;
use kat_images::loader::Dataset as _;
use kat_images::shapes::Layout;
use kat_images::survey::{BrokenFile, ClassCount, Survey};
use rayon::prelude::*;

use crate::classify::data::{held_out, part, parts};
use crate::config::{DataPlan, TaskKind};
use crate::shell::Misuse;
use crate::shell::data::{DataTools, MakeShapesArgs, decoded_size};

/// The tools of `classify data`.
pub const TOOLS: DataTools =
    DataTools { task: TaskKind::Classify, check, make_shapes, convert: |_| Err(not_converted()) };

fn not_converted() -> anyhow::Error {
    let reason = "data convert is of detect and segment: classify reads folders of classes, lists and tar shards as they are";
    Misuse(reason.to_owned()).into()
}

/// Decodes every image of the parts that training would take, and of any other held-out part, or of DIR itself.
fn check(dir: &Path, data: &DataPlan) -> anyhow::Result<Vec<Survey>> {
    let (train, val) = parts(dir, data)?;
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut splits: Vec<PathBuf> = train.clone().into_iter().chain(val.clone()).collect();
    for other in splits::look(dir)?.held_out {
        if !splits.is_empty() && !splits.contains(&other) {
            splits.push(other);
        }
    }
    if splits.is_empty() {
        return Ok(vec![survey(".", &part(dir, dir, None, data, Caching::Off)?)]);
    }
    let classes = match (&train, &data.label_files.val) {
        // a list numbers its labels by the classes of the training part
        (Some(train), Some(_)) => Some(part(dir, train, None, data, Caching::Off)?.classes().to_vec()),
        _ => None,
    };
    let open = |path: &PathBuf| match Some(path) == val.as_ref() {
        true => held_out(dir, path, classes.as_deref(), data, Caching::Off),
        false => part(dir, path, None, data, Caching::Off),
    };
    splits.iter().map(|path| Ok(survey(&name(path), &open(path)?))).collect()
}

fn survey(split: &str, images: &LabelledImages) -> Survey {
    let mut survey =
        Survey { split: split.to_owned(), images: images.len(), labels: images.len(), ..Survey::default() };
    let mut counts = vec![0; images.classes().len()];
    (0..images.len()).for_each(|i| counts[images.class_of(i) as usize] += 1);
    let classes = images.classes().iter().cloned().zip(counts);
    survey.classes = classes.map(|(name, count)| ClassCount { name, count }).collect();
    if let LabelledImages::Files(folder) = images
        && folder.unsupported > 0
    {
        let count = folder.unsupported;
        survey
            .problems
            .push(format!("{count} images of kinds that are not decoded (AVIF, HEIC, JPEG 2000 …)"));
    }
    let size = |i: usize| match images {
        LabelledImages::Files(folder) => decoded_size(&folder.root.join(images.id(i)), &folder.decode),
        LabelledImages::Shards(shards) => match shards.get(i) {
            Ok(sample) => Ok(Size::of(&sample.image)),
            Err(error) => Err(error.to_string()),
        },
    };
    let sizes: Vec<_> = (0..images.len()).into_par_iter().map(size).collect();
    for (i, size) in sizes.into_iter().enumerate() {
        match size {
            Ok(size) => survey.add_size(size),
            Err(reason) => survey.broken.push(BrokenFile { path: images.name(i).into(), reason }),
        }
    }
    survey
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
