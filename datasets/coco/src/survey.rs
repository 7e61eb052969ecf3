//! Looks through a COCO split: classes, sizes, files that are missing or damaged, faulty annotations.

use std::path::Path;

use rayon::prelude::*;

use super::arena::Segmentation;
use super::check::fault_text;
use super::dataset::CocoDataset;
use kat_images::survey::{BrokenFile, ClassCount, Survey};

/// Surveys the split that is called `split`. `probe` decodes an image and gives its upright width and height, or says why it
/// cannot.
pub fn survey(
    split: &str,
    data: &CocoDataset,
    probe: &(dyn Fn(&Path) -> Result<[u32; 2], String> + Sync),
) -> Survey {
    let report = data.report();
    let mut survey = Survey {
        split: split.to_owned(),
        images: data.len(),
        labels: report.total,
        unlabelled: (0..data.len()).filter(|&i| data.annotations_of(i) == 0).count(),
        ..Survey::default()
    };
    let mut counts = vec![0; data.categories().len()];
    for record in data.usable() {
        if let Some(class) = data.categories().class_of(record.category_id) {
            counts[class as usize] += 1;
        }
    }
    let names = data.categories().names().map(str::to_string);
    survey.classes = names.zip(counts).map(|(name, count)| ClassCount { name, count }).collect();
    let faults = report.counts.iter();
    survey.faults = faults.map(|(f, n)| (fault_text(*f).to_string(), *n)).collect();
    survey.examples = report
        .examples
        .iter()
        .map(|p| {
            format!(
                "annotation {} (image {}), `{}`: {}: {}",
                p.annotation,
                p.image,
                p.fault.field(),
                fault_text(p.fault),
                p.found
            )
        })
        .collect();

    let outlined = data.usable().any(|r| data.file().annotations.segmentation(r) != Segmentation::None);
    if !outlined && data.usable().next().is_some() {
        survey.notes.push("no annotation has an outline: masks are neither trained nor evaluated".to_owned());
    }
    let probed: Vec<Result<[u32; 2], BrokenFile>> = (0..data.len())
        .into_par_iter()
        .filter_map(|i| {
            let path = data.path(i)?;
            let size = probe(&path).map_err(|reason| BrokenFile { path, reason });
            Some(size.and_then(|[w, h]| match data.check_size(i, [w, h]) {
                Ok(()) => Ok([w, h]),
                Err(error) => {
                    let path = data.path(i).unwrap_or_default();
                    Err(BrokenFile { path, reason: error.to_string() })
                }
            }))
        })
        .collect();
    for result in probed {
        match result {
            Ok([w, h]) => survey.add_size((w, h).into()),
            Err(broken) => survey.broken.push(broken),
        }
    }
    survey
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::OnProblem;

    #[test]
    fn a_split_with_faults() {
        let dir = tempfile::tempdir().unwrap();
        let annotations = dir.path().join("instances_val.json");
        let text = r#"{"images": [{"id": 1, "file_name": "a", "width": 6, "height": 4},
                {"id": 2, "file_name": "b", "width": 6, "height": 4},
                {"id": 3, "file_name": "c", "width": 6, "height": 4}],
            "categories": [{"id": 9, "name": "dog"}, {"id": 3, "name": "cat"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 9, "bbox": [0, 0, 2, 2]},
                {"id": 2, "image_id": 2, "category_id": 3, "bbox": [0, 0, 0, 2]}]}"#;
        std::fs::write(&annotations, text).unwrap();
        let data = CocoDataset::open(&annotations, Path::new("images"), OnProblem::Skip).unwrap();
        let probe = |path: &Path| match path.to_str() {
            Some("images/a") => Ok([6, 4]),
            Some("images/b") => Ok([4, 6]),
            _ => Err("missing".to_string()),
        };
        let survey = survey("val", &data, &probe);
        assert_eq!((survey.images, survey.labels, survey.unlabelled), (3, 2, 2));
        let classes: Vec<_> = survey.classes.iter().map(|c| (c.name.as_str(), c.count)).collect();
        assert_eq!(classes, [("cat", 0), ("dog", 1)]);
        assert_eq!((survey.width, survey.height), (Some([6, 6]), Some([4, 4])));
        assert!(survey.broken[0].reason.contains("EXIF"));
        assert_eq!(survey.broken[1].reason, "missing");
        assert_eq!(survey.faults["box without extent"], 1);
        assert!(survey.examples[0].contains("annotation 2 (image 2)") && !survey.is_clean());
    }
}
