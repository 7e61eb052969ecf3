//! What `data` does for folders of images beside folders of label maps.

use std::path::Path;

use anyhow::{Context, bail};
use kat_datasets::ade20k::{LabelFolders, LabelScheme};
use kat_datasets::loader::Dataset as _;
use kat_datasets::sample::Target;
use kat_datasets::shapes::Layout;
use kat_datasets::survey::{BrokenFile, ClassCount, Survey};
use rayon::prelude::*;

use crate::cli::data::{DataTools, MakeShapesArgs};
use crate::task::segment::data::{class_names, split};

/// The tools of `segment data`.
pub const TOOLS: DataTools = DataTools { check, make_shapes };

/// Reads every image and label map of every split under DIR/images. A label above the classes is said with the file,
/// the place and what would be allowed; label 0 may be "other".
fn check(dir: &Path) -> anyhow::Result<Vec<Survey>> {
    let expected = "expected images/SPLIT beside annotations/SPLIT";
    let entries =
        std::fs::read_dir(dir.join("images")).with_context(|| format!("{}: {expected}", dir.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    if names.is_empty() {
        bail!("{}: {expected}", dir.display());
    }
    names.sort();
    let classes = class_names(dir, LabelScheme::ReduceZero)?;
    let survey = |name: &String| {
        let folders = split(dir, name, classes.len(), LabelScheme::ReduceZero)?;
        Ok(survey(name, &folders, &classes))
    };
    names.iter().map(survey).collect()
}

/// What one image adds to the survey.
struct Look {
    size: (u32, u32),
    /// Which classes its label map has.
    present: [bool; 256],
}

fn survey(name: &str, folders: &LabelFolders, classes: &[String]) -> Survey {
    let look = |index: usize| -> Result<Look, String> {
        let sample = folders.get(index).map_err(|e| e.to_string())?;
        let mut present = [false; 256];
        if let Target::LabelMap(map) = &sample.target {
            map.as_raw().iter().for_each(|value| present[usize::from(*value)] = true);
        }
        Ok(Look { size: sample.image.dimensions(), present })
    };
    let looks: Vec<_> = (0..folders.len()).into_par_iter().map(look).collect();
    let mut survey =
        Survey { split: name.to_owned(), images: folders.len(), labels: folders.len(), ..Survey::default() };
    let mut counts = vec![0; classes.len()];
    for (index, look) in looks.into_iter().enumerate() {
        match look {
            Ok(look) => {
                survey.add_size(look.size.0, look.size.1);
                let mut any = false;
                for (count, present) in counts.iter_mut().zip(look.present) {
                    *count += usize::from(present);
                    any |= present;
                }
                survey.unlabelled += usize::from(!any);
            }
            Err(reason) => survey.broken.push(BrokenFile { path: folders.image_path(index), reason }),
        }
    }
    let pairs = classes.iter().cloned().zip(counts);
    survey.classes = pairs.map(|(name, count)| ClassCount { name, count }).collect();
    survey
}

/// Side of a generated image in pixels.
const SIDE: u32 = 64;

fn make_shapes(args: &MakeShapesArgs) -> anyhow::Result<String> {
    let made = args.write(Layout::SceneParsing, SIDE)?;
    Ok(format!(
        "{}: {} images with {} shapes of {} classes, in ADE20K's layout",
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
    fn generated_scenes_are_surveyed_and_faults_are_named() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("shapes");
        let text = make_shapes(&MakeShapesArgs { dir: dir.clone(), images: 20, seed: 1 }).unwrap();
        assert!(text.contains("20 images") && text.contains("10 classes"), "{text}");
        let surveys = check(&dir).unwrap();
        let sizes: Vec<_> = surveys.iter().map(|s| (s.split.as_str(), s.images, s.classes.len())).collect();
        assert_eq!(sizes, [("training", 16, 10), ("validation", 4, 10)]);
        assert!(surveys.iter().all(Survey::is_clean) && surveys[0].width == Some([64, 64]));

        let labels = dir.join("annotations/validation");
        let label = |name: &str| labels.join(format!("SHAPES_val_0000000{name}.png"));
        image::GrayImage::from_pixel(64, 64, image::Luma([99])).save(label("1")).unwrap();
        image::GrayImage::from_pixel(63, 64, image::Luma([1])).save(label("2")).unwrap();
        std::fs::write(label("3"), b"no image").unwrap();
        let broken = &check(&dir).unwrap()[1].broken;
        let says = |text: &str| broken.iter().any(|b| b.reason.contains(text));
        assert!(broken.len() == 3 && says("label 99 at x 0, y 0") && says("63x64"), "{broken:?}");
        assert!(format!("{:#}", check(temp.path()).unwrap_err()).contains("expected images/SPLIT"));
    }
}
