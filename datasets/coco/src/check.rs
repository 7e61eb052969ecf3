//! What becomes of faulty annotations.
//!
//! | fault | outcome |
//! |---|---|
//! | not a record: a missing id, a text where a number belongs, a negative run | error at reading, names record, id, field |
//! | image or category id twice | error at reading |
//! | annotation id twice | the later ones are given another id at reading, and counted |
//! | area NaN, infinite or negative | kept: only evaluation by size is wrong |
//! | no outline, while other annotations have one | kept as a box: masks cannot be evaluated |
//! | unknown image or category id | skipped |
//! | box missing, NaN, infinite, of no or negative extent, wholly outside | skipped |
//! | box reaching over the border by more than a pixel | clipped |
//! | ring of fewer than 3 points, of an odd number of coordinates, or not finite | ring dropped; skipped if none is left |
//! | RLE of another size than the image, runs that do not sum to it, malformed text | skipped |
//!
//! Whatever is skipped, clipped or dropped is counted by kind; [`OnProblem::Fail`] makes each an error instead.

use std::collections::{BTreeMap, HashMap, HashSet};

use rayon::prelude::*;
use serde::Serialize;

use super::arena::{Annotations, Record, Segmentation};
use super::error::CocoError;
use super::json::{CocoFile, ImageInfo};
use super::outline;

/// What a faulty annotation leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnProblem {
    /// It is skipped (or mended) and counted.
    #[default]
    Skip,
    /// The file is refused with an error naming the first one.
    Fail,
}

/// Kinds of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// An earlier annotation has the same id in the file.
    DuplicateId,
    /// `image_id` is not among the images.
    UnknownImage,
    /// `category_id` is not among the categories.
    UnknownCategory,
    /// There is no `bbox`.
    MissingBox,
    /// A coordinate of `bbox` is NaN or infinite.
    NonFiniteBox,
    /// Width or height of `bbox` is zero or negative.
    EmptyBox,
    /// `bbox` has no pixel in common with the image.
    OutsideBox,
    /// `bbox` reaches over the border by more than a pixel.
    BoxOverBorder,
    /// No ring of the outline encloses anything.
    BadPolygon,
    /// Some rings do, some do not.
    BadRing,
    /// Run lengths of another size than the image, that do not sum to it, or malformed.
    BadRle,
    /// `area` is negative or not finite.
    BadArea,
    /// There is no outline, while other annotations have one.
    MissingMask,
}

/// What was done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The annotation is not used.
    Skipped,
    /// Its box was clipped to the image.
    Clipped,
    /// The bad rings of its outline are not used.
    RingsDropped,
    /// It has another id now.
    Renumbered,
    /// It is used as it is.
    Kept,
}

impl Fault {
    /// What is done about it when it does not fail the file.
    pub fn outcome(self) -> Outcome {
        match self {
            Fault::BoxOverBorder => Outcome::Clipped,
            Fault::BadRing => Outcome::RingsDropped,
            Fault::DuplicateId => Outcome::Renumbered,
            Fault::BadArea | Fault::MissingMask => Outcome::Kept,
            _ => Outcome::Skipped,
        }
    }

    /// The field it is in.
    pub fn field(self) -> &'static str {
        match self {
            Fault::DuplicateId => "id",
            Fault::UnknownImage => "image_id",
            Fault::UnknownCategory => "category_id",
            Fault::BadPolygon | Fault::BadRing | Fault::BadRle | Fault::MissingMask => "segmentation",
            Fault::BadArea => "area",
            _ => "bbox",
        }
    }
}

/// One faulty annotation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Problem {
    /// Which fault.
    pub fault: Fault,
    /// Id of the annotation.
    pub annotation: u64,
    /// Id of its image.
    pub image: u64,
    /// What was found, and what was expected where that is not plain.
    pub found: String,
}

/// All faults of a file, counted, with a few of each kind as examples.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CheckReport {
    /// How many annotations have each fault.
    pub counts: BTreeMap<Fault, usize>,
    /// The first [`EXAMPLES`] of each kind.
    pub examples: Vec<Problem>,
    /// Annotations in the file.
    pub total: usize,
    /// Annotations not used.
    pub skipped: usize,
}

/// Examples kept of each kind of fault.
pub const EXAMPLES: usize = 5;

/// Judges every annotation of `file`: which to use, and a report of the faults.
///
/// # Errors
/// With [`OnProblem::Fail`], the first faulty annotation in file order.
pub fn check(file: &CocoFile, on_problem: OnProblem) -> Result<(Vec<bool>, CheckReport), CocoError> {
    let images: HashMap<u64, &ImageInfo> = file.images.iter().map(|i| (i.id, i)).collect();
    let categories: HashSet<u64> = file.categories.iter().map(|c| c.id).collect();
    let all = &file.annotations;
    let outlined = all.records().iter().any(|r| all.segmentation(r) != Segmentation::None);
    let mut problems: Vec<Option<(Fault, String)>> = all
        .records()
        .par_iter()
        .map(|record| match images.get(&record.image_id) {
            None => Some((Fault::UnknownImage, record.image_id.to_string())),
            Some(_) if !categories.contains(&record.category_id) => {
                Some((Fault::UnknownCategory, record.category_id.to_string()))
            }
            Some(image) => judge(all, record, image, outlined),
        })
        .collect();
    for &(at, id) in &file.renumbered {
        // a graver fault comes first
        let now = all.records()[at].id;
        problems[at].get_or_insert_with(|| (Fault::DuplicateId, format!("{id}, now {now}")));
    }
    let ids_in_file: HashMap<usize, u64> = file.renumbered.iter().copied().collect();
    let mut report = CheckReport { total: all.len(), ..CheckReport::default() };
    let mut keep = vec![true; all.len()];
    for (at, ((record, problem), keep)) in all.records().iter().zip(problems).zip(&mut keep).enumerate() {
        let Some((fault, found)) = problem else { continue };
        let annotation = ids_in_file.get(&at).copied().unwrap_or(record.id);
        if on_problem == OnProblem::Fail {
            return Err(CocoError::Annotation {
                path: file.path.clone(),
                annotation,
                image: record.image_id,
                field: fault.field(),
                reason: format!("{}: {found}", fault_text(fault)),
            });
        }
        *keep = fault.outcome() != Outcome::Skipped;
        report.skipped += usize::from(!*keep);
        let count = report.counts.entry(fault).or_default();
        *count += 1;
        if *count <= EXAMPLES {
            report.examples.push(Problem { fault, annotation, image: record.image_id, found });
        }
    }
    Ok((keep, report))
}

/// A fault in words, for messages.
pub fn fault_text(fault: Fault) -> &'static str {
    match fault {
        Fault::DuplicateId => "annotation id used before",
        Fault::UnknownImage => "no image has this id",
        Fault::UnknownCategory => "no category has this id",
        Fault::MissingBox => "no box",
        Fault::NonFiniteBox => "box not finite",
        Fault::EmptyBox => "box without extent",
        Fault::OutsideBox => "box outside of the image",
        Fault::BoxOverBorder => "box reaches over the border",
        Fault::BadPolygon => "polygon encloses nothing",
        Fault::BadRing => "some rings enclose nothing",
        Fault::BadRle => "run lengths do not fit the image",
        Fault::BadArea => "area negative or not finite",
        Fault::MissingMask => "no outline, so that masks are not evaluated",
    }
}

/// The gravest fault of one annotation whose image and category are known; `outlined` if any of the file has an
/// outline.
fn judge(all: &Annotations, record: &Record, image: &ImageInfo, outlined: bool) -> Option<(Fault, String)> {
    let Some(bbox) = record.bbox else {
        return Some((Fault::MissingBox, "null".to_string()));
    };
    let [x, y, w, h] = bbox;
    let (width, height) = (f64::from(image.width), f64::from(image.height));
    let found = || format!("{bbox:?} in an image of {}x{}", image.width, image.height);
    if bbox.iter().any(|v| !v.is_finite()) {
        return Some((Fault::NonFiniteBox, found()));
    }
    if w <= 0.0 || h <= 0.0 {
        return Some((Fault::EmptyBox, found()));
    }
    if x >= width || y >= height || x + w <= 0.0 || y + h <= 0.0 {
        return Some((Fault::OutsideBox, found()));
    }
    let outline = match all.segmentation(record) {
        Segmentation::None => None,
        Segmentation::Polygons(rings) => {
            let mut faults = rings.iter().filter_map(|ring| outline::check(ring).err());
            faults.next().map(|first| {
                let bad = 1 + faults.count();
                let fault = if bad == rings.len() { Fault::BadPolygon } else { Fault::BadRing };
                (fault, format!("{bad} of {} rings: {first}", rings.len()))
            })
        }
        runs => outline::to_rle(runs, outline::of([image.height, image.width]))
            .err()
            .map(|error| (Fault::BadRle, error.to_string())),
    };
    let over = x < -1.0 || y < -1.0 || x + w > width + 1.0 || y + h > height + 1.0;
    let missing = outlined && all.segmentation(record) == Segmentation::None;
    let area = record.area.filter(|area| !(0.0..f64::INFINITY).contains(area));
    outline
        .or_else(|| over.then(|| (Fault::BoxOverBorder, found())))
        .or_else(|| area.map(|area| (Fault::BadArea, area.to_string())))
        .or_else(|| missing.then(|| (Fault::MissingMask, "nothing".to_string())))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// One image of 10 × 8 with id 1, one category with id 3, and these annotations (without their braces).
    fn file(annotations: &[&str]) -> CocoFile {
        let list: Vec<String> = annotations.iter().map(|a| format!("{{{a}}}")).collect();
        let text = format!(
            r#"{{"images": [{{"id": 1, "file_name": "a.png", "width": 10, "height": 8}}],
                "categories": [{{"id": 3, "name": "cat"}}], "annotations": [{}]}}"#,
            list.join(",")
        );
        CocoFile::parse(Path::new("f.json"), text.as_bytes()).unwrap()
    }

    #[test]
    fn every_fault_has_its_outcome() {
        let good = r#""bbox": [1, 1, 4, 4]"#;
        let cases: [(&str, Option<Fault>); 17] = [
            (r#""bbox": [1, 1, 4, 4], "segmentation": [[1, 1, 5, 1, 5, 5]]"#, None),
            (r#""bbox": [-0.5, 0, 10.8, 8]"#, None),
            (r#""area": 3"#, Some(Fault::MissingBox)),
            (r#""bbox": [1, 1, 4, 4], "area": NaN"#, Some(Fault::BadArea)),
            (r#""bbox": [1, 1, 4, 4], "area": -16"#, Some(Fault::BadArea)),
            (r#""bbox": [1, 1, 4, 4], "area": null"#, None),
            (r#""bbox": [1, NaN, 4, 4]"#, Some(Fault::NonFiniteBox)),
            (r#""bbox": [1, 1, Infinity, 4]"#, Some(Fault::NonFiniteBox)),
            (r#""bbox": [1, 1, 4, -2]"#, Some(Fault::EmptyBox)),
            (r#""bbox": [1, 1, 0, 2]"#, Some(Fault::EmptyBox)),
            (r#""bbox": [10, 1, 2, 2]"#, Some(Fault::OutsideBox)),
            (r#""bbox": [-5, 1, 9, 2]"#, Some(Fault::BoxOverBorder)),
            (r#""bbox": [1, 1, 4, 4], "segmentation": [[1, 1, 5, 1]]"#, Some(Fault::BadPolygon)),
            (
                r#""bbox": [1, 1, 4, 4], "segmentation": [[1, 1, 5, 1, 5, 5], [1, 1, 5, NaN, 5, 5]]"#,
                Some(Fault::BadRing),
            ),
            (
                r#""bbox": [1, 1, 4, 4], "segmentation": {"size": [8, 10], "counts": [70, 9]}"#,
                Some(Fault::BadRle),
            ),
            (
                r#""bbox": [1, 1, 4, 4], "segmentation": {"size": [10, 8], "counts": [80]}"#,
                Some(Fault::BadRle),
            ),
            (
                r#""bbox": [1, 1, 4, 4], "segmentation": {"size": [8, 10], "counts": "~~"}"#,
                Some(Fault::BadRle),
            ),
        ];
        for (fields, expected) in cases {
            let one = file(&[&format!(r#""id": 7, "image_id": 1, "category_id": 3, {fields}"#)]);
            let (keep, report) = check(&one, OnProblem::Skip).unwrap();
            assert_eq!(report.counts.keys().next().copied(), expected, "{fields}");
            let kept = expected.is_none_or(|f| f.outcome() != Outcome::Skipped);
            assert_eq!((keep[0], report.skipped), (kept, usize::from(!kept)), "{fields}");
            match (check(&one, OnProblem::Fail), expected) {
                (Ok(_), None) => {}
                (Err(error), Some(fault)) => {
                    let text = error.to_string();
                    assert!(text.contains("annotation 7") && text.contains(fault.field()), "{text}");
                }
                (other, _) => panic!("{fields}: {other:?}"),
            }
        }
        let several = file(&[
            &format!(r#""id": 7, "image_id": 1, "category_id": 3, {good}"#),
            &format!(r#""id": 7, "image_id": 1, "category_id": 3, {good}"#),
            &format!(r#""id": 8, "image_id": 2, "category_id": 3, {good}"#),
            &format!(r#""id": 9, "image_id": 1, "category_id": 4, {good}"#),
        ]);
        let (keep, report) = check(&several, OnProblem::Skip).unwrap();
        assert_eq!(keep, [true, true, false, false]);
        let ids: Vec<u64> = several.annotations.records().iter().map(|r| r.id).collect();
        assert_eq!(ids, [7, 1, 8, 9]);
        assert!(report.examples.iter().any(|p| p.found == "7, now 1"));
        let faults: Vec<_> = report.examples.iter().map(|p| (p.fault, p.annotation)).collect();
        assert_eq!(faults, [(Fault::DuplicateId, 7), (Fault::UnknownImage, 8), (Fault::UnknownCategory, 9)]);
    }

    #[test]
    fn one_without_an_outline_among_others_is_told() {
        let fields = r#""image_id": 1, "category_id": 3, "bbox": [1, 1, 4, 4]"#;
        let two = file(&[
            &format!(r#""id": 1, {fields}, "segmentation": [[1, 1, 5, 1, 5, 5]]"#),
            &format!(r#""id": 2, {fields}"#),
        ]);
        let (keep, report) = check(&two, OnProblem::Skip).unwrap();
        assert_eq!((keep, report.skipped), (vec![true, true], 0));
        assert_eq!((report.examples[0].fault, report.examples[0].annotation), (Fault::MissingMask, 2));
    }
}
