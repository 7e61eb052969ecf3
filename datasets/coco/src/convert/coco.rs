//! COCO's JSON where tools put it: `annotations/*.json` (COCO, CVAT), `PART/_annotations.coco.json` beside the images (Roboflow),
//! `result.json` (Label Studio), or one file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use kat_images::files::write_atomic;
use kat_images::{Rle, Size, polygon};
use serde_json::{Value, json};

use super::images::{place, size_of};
use super::{AnnotatedImage, AnnotatedSet, ConvertError, Notes, Object, Outline, Part};
use crate::layout::ROBOFLOW;
use crate::{CocoFile, Segmentation};

/// The annotation files below `root`, each with the name of its part.
pub(super) fn files(root: &Path) -> Result<Vec<(String, PathBuf)>, ConvertError> {
    let list = |folder: &Path| -> Result<Vec<PathBuf>, ConvertError> {
        let entries = std::fs::read_dir(folder).map_err(ConvertError::of(folder))?;
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        Ok(paths)
    };
    let mut found = Vec::new();
    for path in list(root)? {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && path.join(ROBOFLOW).is_file() {
            found.push((part_name(&name), path.join(ROBOFLOW)));
        } else if path.is_file() && (name == ROBOFLOW || name == "result.json") {
            found.push(("train".to_owned(), path));
        }
    }
    let annotations = root.join("annotations");
    if found.is_empty() && annotations.is_dir() {
        for path in
            list(&annotations)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "json"))
        {
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            // captions, keypoints and panoptic segments are other tasks'
            if let Some(name) = stem.strip_prefix("instances_") {
                found.push((part_name(name), path));
            }
        }
    }
    Ok(found)
}

fn part_name(word: &str) -> String {
    match &word.to_lowercase()[..] {
        "valid" | "validation" => "val".to_owned(),
        // CVAT's name where there are no parts
        "default" => "train".to_owned(),
        _ => word.to_owned(),
    }
}

/// Reads a folder or one file.
pub(super) fn read(path: &Path) -> Result<AnnotatedSet, ConvertError> {
    let files = match path.is_file() {
        true => vec![("train".to_owned(), path.to_owned())],
        false => files(path)?,
    };
    let root = if path.is_file() { path.parent().unwrap_or(Path::new(".")) } else { path };
    let mut set = AnnotatedSet::default();
    for (name, file) in files {
        let images = images(root, &name, CocoFile::read(&file)?, &mut set)?;
        set.parts.push(Part { name, images });
    }
    Ok(set)
}

fn images(
    root: &Path,
    part: &str,
    mut file: CocoFile,
    set: &mut AnnotatedSet,
) -> Result<Vec<AnnotatedImage>, ConvertError> {
    let beside = file.path.parent().unwrap_or(root);
    let stem = file.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let split = stem.strip_prefix("instances_").unwrap_or(part);
    let folders = [
        beside.to_owned(),
        root.join(split),
        root.join("images").join(split),
        root.join("images"),
        root.to_owned(),
    ];
    for heading in file.drop_headings() {
        set.notes.add(format!("category {heading:?} is a heading of others and was left out"));
    }
    let categories: HashMap<u64, usize> =
        file.categories.iter().map(|category| (category.id, set.category(&category.name))).collect();
    let mut objects: HashMap<u64, Vec<Object>> = HashMap::new();
    for record in file.annotations.records() {
        let fail =
            |reason: &str| ConvertError::new(&file.path, format!("annotation {}: {reason}", record.id));
        let category =
            *categories.get(&record.category_id).ok_or_else(|| fail("no category has its category_id"))?;
        let outline = match file.annotations.segmentation(record) {
            Segmentation::None => Outline::None,
            Segmentation::Polygons(rings) => {
                Outline::Rings(rings.iter().filter(|ring| ring.len() >= 6).map(<[f64]>::to_vec).collect())
            }
            Segmentation::Runs { size: [h, w], counts } => {
                let size = Size::new(h as usize, w as usize);
                Outline::Mask(Rle::new(size, counts.to_vec()).map_err(|e| fail(&e.to_string()))?)
            }
            Segmentation::Text { size: [h, w], counts } => {
                let size = Size::new(h as usize, w as usize);
                Outline::Mask(Rle::from_text(size, counts).map_err(|e| fail(&e.to_string()))?)
            }
        };
        let object = match (record.bbox, &outline) {
            (Some(bbox), _) => Object { category, bbox, outline, crowd: record.crowd },
            (None, Outline::Rings(rings)) if !rings.is_empty() => {
                Object { crowd: record.crowd, ..Object::of_rings(category, rings.clone()) }
            }
            _ => return Err(fail("neither a bbox nor an outline")),
        };
        objects.entry(record.image_id).or_default().push(object);
    }
    let mut images = Vec::new();
    for info in &file.images {
        let file_name = info.file_name.replace('\\', "/");
        let base = Path::new(&file_name).file_name().map(|name| name.to_string_lossy().into_owned());
        let names = [Some(file_name.clone()), base].into_iter().flatten();
        let tried: Vec<PathBuf> =
            names.flat_map(|name| folders.iter().map(move |folder| folder.join(&name))).collect();
        let Some(source) = tried.into_iter().find(|path| path.is_file()) else {
            let reason =
                format!("image {file_name} is in none of its usual folders below {}", root.display());
            return Err(ConvertError::new(&file.path, reason));
        };
        let size = size_of(&source)?;
        if (info.width as usize, info.height as usize) != (size.width, size.height) {
            let (width, height) = (info.width, info.height);
            let reason =
                format!("annotated at {width} x {height} pixels, it has {} x {}", size.width, size.height);
            return Err(ConvertError::new(&source, reason));
        }
        // never out of the folder it is written to
        let name = super::images::relative(Path::new(&file_name), Path::new(""));
        images.push(AnnotatedImage {
            source,
            name,
            size,
            objects: objects.remove(&info.id).unwrap_or_default(),
        });
    }
    let lost: usize = objects.values().map(Vec::len).sum();
    (0..lost).for_each(|_| set.notes.add("annotations of images that are not in the file were left out"));
    Ok(images)
}

/// Writes `set` to `to`: `annotations/instances_PART.json` and `images/PART`.
///
/// # Errors
/// A file that cannot be read or written, or an outline that is none.
pub fn write(set: &AnnotatedSet, to: &Path) -> Result<Notes, ConvertError> {
    let folder = to.join("annotations");
    std::fs::create_dir_all(&folder).map_err(ConvertError::of(&folder))?;
    let categories: Vec<Value> =
        set.categories.iter().zip(1..).map(|(name, id)| json!({ "id": id, "name": name })).collect();
    for part in &set.parts {
        let (mut images, mut annotations) = (Vec::new(), Vec::new());
        for (image, id) in part.images.iter().zip(1..) {
            place(&image.source, &to.join("images").join(&part.name).join(&image.name))?;
            let (width, height) = (image.size.width, image.size.height);
            images.push(json!({ "id": id, "file_name": image.name, "width": width, "height": height }));
            for object in &image.objects {
                let (segmentation, area) =
                    outline(object, image.size).map_err(ConvertError::of(&image.source))?;
                let mut annotation = json!({
                    "id": annotations.len() + 1,
                    "image_id": id,
                    "category_id": object.category + 1,
                    "bbox": object.bbox,
                    "area": area,
                    "iscrowd": u8::from(object.crowd),
                });
                if let Some(segmentation) = segmentation {
                    annotation["segmentation"] = segmentation;
                }
                annotations.push(annotation);
            }
        }
        let file = folder.join(format!("instances_{}.json", part.name));
        let text = json!({ "images": images, "categories": categories, "annotations": annotations });
        write_atomic(&file, |out| {
            serde_json::to_writer(&mut *out, &text)?;
            out.write_all(b"\n")
        })
        .map_err(ConvertError::of(&file))?;
    }
    Ok(Notes::default())
}

/// The outline as COCO writes it, and its area in pixels.
fn outline(object: &Object, size: Size) -> Result<(Option<Value>, f64), kat_images::MaskError> {
    let [_, _, width, height] = object.bbox;
    Ok(match &object.outline {
        Outline::Rings(rings) if !rings.is_empty() => {
            let points = rings.iter().map(|ring| ring.chunks_exact(2).map(|p| (p[0], p[1])));
            (Some(json!(rings)), polygon::fill(points, size)?.area() as f64)
        }
        Outline::Mask(rle) => {
            let counts = json!({ "size": [rle.size().height, rle.size().width], "counts": rle.to_text() });
            (Some(counts), rle.area() as f64)
        }
        Outline::None | Outline::Rings(_) => (None, width * height),
    })
}
