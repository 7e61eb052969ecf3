//! What `data` does for folders of images beside folders of label maps.

use std::path::Path;

use kat_ade20k::folder::IGNORE;
use kat_ade20k::tree::unsupported_images;
use kat_ade20k::{LabelError, LabelFolders, LabelScheme};
use kat_images::Size;
use kat_images::loader::Dataset as _;
use kat_images::shapes::Layout;
use kat_images::survey::{BrokenFile, ClassCount, Survey};
use rayon::prelude::*;

use crate::config::{DataPlan, TaskKind};
use crate::segment::data::{BACKGROUND, class_names, split_labelled};
use crate::segment::layout::{Part, parts, training};
use crate::shell::data::{DataTools, MakeShapesArgs, decoded_size};

/// The tools of `segment data`.
pub const TOOLS: DataTools =
    DataTools { task: TaskKind::Segment, check, make_shapes, convert: super::convert::convert };

/// Reads every image and label map of every part under DIR by the rule that training reads them by. A label
/// above the classes is said with the file, the place and what would be allowed.
fn check(dir: &Path, data: &DataPlan) -> anyhow::Result<Vec<Survey>> {
    let mut found = parts(dir, data)?;
    let train = training(dir, &found, data).ok().map(|part| part.name.clone());
    found.sort_by_key(|part| (Some(&part.name) != train.as_ref(), part.name.clone()));
    let classes = class_names(dir, data)?;
    let survey = |part: &Part| {
        let opened = split_labelled(dir, part, &classes, data)?;
        Ok(survey(&part.name, opened, &classes))
    };
    found.iter().map(survey).collect()
}

/// What one image adds to the survey.
struct Look {
    /// Values of its label map as stored.
    values: Vec<u16>,
    /// Its size, or what is wrong.
    size: Result<Size, String>,
}

fn survey(name: &str, (folders, missing): (LabelFolders, Vec<LabelError>), classes: &[String]) -> Survey {
    let look = |index: usize| -> Result<Look, String> {
        let values = folders.stored_values(index).map_err(|e| e.to_string())?.into_keys().collect();
        let size = || {
            let size = decoded_size(&folders.image_path(index), &folders.decode)?;
            let map = folders.label_map(index).map_err(|e| e.to_string())?;
            folders.same_size(index, size, Size::of(&map)).map_err(|e| e.to_string())?;
            Ok(size)
        };
        Ok(Look { values, size: size() })
    };
    let looks: Vec<_> = (0..folders.len()).into_par_iter().map(look).collect();
    let images = folders.len() + missing.len();
    let mut survey = Survey { split: name.to_owned(), images, labels: folders.len(), ..Survey::default() };
    survey.unlabelled = missing.len();
    let unsupported = unsupported_images(&folders.images).unwrap_or_default();
    if unsupported > 0 {
        let text = format!("{unsupported} images of kinds that are not decoded (AVIF, HEIC, JPEG 2000 …)");
        survey.problems.push(text);
    }
    for error in missing {
        let path = match &error {
            LabelError::Missing { image, .. } => image.clone(),
            _ => folders.images.clone(),
        };
        survey.broken.push(BrokenFile { path, reason: error.to_string() });
    }
    let mut counts = vec![0; classes.len()];
    for (index, look) in looks.into_iter().enumerate() {
        let mut broken = |reason| survey.broken.push(BrokenFile { path: folders.image_path(index), reason });
        let look = match look {
            Ok(look) => look,
            Err(reason) => {
                broken(reason);
                continue;
            }
        };
        match look.size {
            Ok(size) => survey.add_size(size),
            Err(reason) => broken(reason),
        }
        let mut any = false;
        for value in look.values {
            *survey.values.entry(value).or_default() += 1;
            let class = folders.scheme.class_of(value, folders.classes).filter(|class| *class != IGNORE);
            if let Some(count) = class.and_then(|class| counts.get_mut(usize::from(class))) {
                *count += 1;
                any = true;
            }
        }
        survey.unlabelled += usize::from(!any);
    }
    let none = |value: &u16| folders.scheme.class_of(*value, folders.classes).is_none();
    let no_class: Vec<String> =
        survey.values.iter().filter(|(v, _)| none(v)).map(|(v, n)| format!("{v} in {n} images")).collect();
    if !no_class.is_empty() {
        let allowed = folders.scheme.allowed(folders.classes);
        let text = format!("{}; {} classes allow {allowed}", no_class.join(", "), folders.classes);
        survey.problems.push(format!("labels that are no class: {text}"));
    }
    let pairs = classes.iter().cloned().zip(counts);
    survey.classes = pairs.map(|(name, count)| ClassCount { name, count }).collect();
    survey.judge_labels(folders.scheme == LabelScheme::ReduceZero);
    let background = classes.first().is_some_and(|name| name == BACKGROUND);
    let direct = folders.scheme == LabelScheme::Direct;
    // a table of names counts from label 1: where the last label is missing and 0 is there, labels may count from 0
    let last = folders.classes as u16 - u16::from(direct);
    if background && !direct && survey.values.contains_key(&0) {
        survey.notes.push(format!(
            "label 0 counts as no class and label 1 as {BACKGROUND:?}: if label 0 is {BACKGROUND:?}, check and train with \
             --set segment.reduce_zero_label=false"
        ));
    } else if background && direct && !survey.values.contains_key(&last) {
        survey.notes.push(format!(
            "label 0 is taken as {BACKGROUND:?}, since the table of names starts at label 1, but the last label {last} \
             never occurs: if label 0 is {:?}, list the names in classes.txt or data.classes",
            classes.get(1).map_or("", String::as_str)
        ));
    }
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

    fn unconfigured() -> DataPlan {
        DataPlan::unconfigured(TaskKind::Segment)
    }

    #[test]
    fn generated_scenes_are_surveyed_and_faults_are_named() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("shapes");
        let text = make_shapes(&MakeShapesArgs { dir: dir.clone(), images: 20, seed: 1 }).unwrap();
        assert!(text.contains("20 images") && text.contains("10 classes"), "{text}");
        let surveys = check(&dir, &unconfigured()).unwrap();
        let sizes: Vec<_> = surveys.iter().map(|s| (s.split.as_str(), s.images, s.classes.len())).collect();
        assert_eq!(sizes, [("training", 16, 10), ("validation", 4, 10)]);
        assert!(surveys.iter().all(Survey::is_clean) && surveys[0].width == Some([64, 64]));

        let labels = dir.join("annotations/validation");
        let label = |name: &str| labels.join(format!("SHAPES_val_0000000{name}.png"));
        image::GrayImage::from_pixel(64, 64, image::Luma([99])).save(label("1")).unwrap();
        image::GrayImage::from_pixel(63, 64, image::Luma([1])).save(label("2")).unwrap();
        std::fs::write(label("3"), b"no image").unwrap();
        let broken = &check(&dir, &unconfigured()).unwrap()[1].broken;
        let says = |text: &str| broken.iter().any(|b| b.reason.contains(text));
        assert!(broken.len() == 3 && says("label 99 at x 0, y 0") && says("63x64"), "{broken:?}");
        assert!(
            format!("{:#}", check(temp.path(), &unconfigured()).unwrap_err())
                .contains("expected images/SPLIT")
        );
    }

    /// Six images of 8 x 8 in each split, whose label maps have these values.
    fn labelled(classes: &str, values: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for split in ["Train", "Val"] {
            let [images, labels] = ["images", "annotations"].map(|part| dir.path().join(part).join(split));
            std::fs::create_dir_all(&images).unwrap();
            std::fs::create_dir_all(&labels).unwrap();
            for i in 0..6 {
                image::RgbImage::new(8, 8).save(images.join(format!("{i}.png"))).unwrap();
                let pixel = |x: u32, _| image::Luma([values[x as usize % values.len()]]);
                image::GrayImage::from_fn(8, 8, pixel).save(labels.join(format!("{i}.png"))).unwrap();
            }
        }
        std::fs::write(dir.path().join("classes.txt"), classes).unwrap();
        dir
    }

    #[test]
    fn labels_are_read_by_the_rule_of_training() {
        let dir = labelled("\u{feff}ground\r\nred\r\nblue\r\n", &[0, 1, 2]);
        let counts = |reduce| {
            let mut data = unconfigured();
            data.labels.scheme = if reduce { LabelScheme::ReduceZero } else { LabelScheme::Direct };
            let train = check(dir.path(), &data).unwrap().remove(0);
            assert!(train.is_clean() && train.split == "Train", "{train:?}");
            assert_eq!(train.values, [(0, 6), (1, 6), (2, 6)].into());
            let notes = train.notes.join(" ");
            let counts: Vec<_> = train.classes.into_iter().map(|c| (c.name, c.count)).collect();
            (counts, notes)
        };
        let of = |all: [(&str, usize); 3]| all.map(|(name, count)| (name.to_owned(), count)).to_vec();
        assert_eq!(counts(false), (of([("ground", 6), ("red", 6), ("blue", 6)]), String::new()));
        let (reduced, notes) = counts(true);
        assert_eq!(reduced, of([("ground", 6), ("red", 6), ("blue", 0)]));
        assert!(notes.contains("never occur: \"blue\""), "{notes}");
    }

    #[test]
    fn a_background_that_counts_as_no_class_is_told() {
        let dir = labelled("background\ncell\n", &[0, 1]);
        let mut data = unconfigured();
        for (scheme, told) in [(LabelScheme::ReduceZero, true), (LabelScheme::Direct, false)] {
            data.labels.scheme = scheme;
            let notes = check(dir.path(), &data).unwrap().remove(0).notes.join(" ");
            assert_eq!(notes.contains("segment.reduce_zero_label=false"), told, "{notes}");
        }
    }

    #[test]
    fn a_missing_label_does_not_end_the_check_and_a_mask_of_255_is_told() {
        let mut data = unconfigured();
        data.labels.scheme = LabelScheme::Direct;
        let dir = labelled("no\nyes\n", &[0, 255]);
        std::fs::remove_file(dir.path().join("annotations/Train/0.png")).unwrap();
        let train = check(dir.path(), &data).unwrap().remove(0);
        assert_eq!((train.images, train.labels, train.broken.len()), (6, 5, 1));
        assert!(train.broken[0].path.ends_with("0.png"), "{:?}", train.broken);
        assert!(train.problems[0].contains("the only labels are 0 and 255"), "{:?}", train.problems);
        assert!(train.notes[0].contains("\"yes\""), "{:?}", train.notes);
        std::fs::remove_file(dir.path().join("classes.txt")).unwrap();
        assert!(check(dir.path(), &data).unwrap_err().to_string().contains("no class names"));
    }
}
