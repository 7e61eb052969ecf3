//! LabelMe: a JSON file for each image, with its shapes. Shapes of one group are one object.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::images::{files_below, relative, size_of, text_of};
use super::{AnnotatedImage, AnnotatedSet, ConvertError, Object, Outline, Part};

/// Corners of a circle's outline.
const CORNERS: usize = 64;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    image_path: String,
    image_height: Option<f64>,
    image_width: Option<f64>,
    shapes: Vec<Shape>,
}

#[derive(Deserialize)]
struct Shape {
    label: String,
    points: Vec<[f64; 2]>,
    #[serde(default)]
    shape_type: Option<String>,
    #[serde(default)]
    group_id: Option<i64>,
}

/// Reads a folder; its folders train, val … are parts.
pub(super) fn read(root: &Path) -> Result<AnnotatedSet, ConvertError> {
    let mut set = AnnotatedSet::default();
    let mut read: Vec<(String, AnnotatedImage)> = Vec::new();
    for path in files_below(root)?.iter().filter(|path| path.extension().is_some_and(|e| e == "json")) {
        let text = text_of(path)?;
        let expected = "expected LabelMe's JSON, an object with `shapes`";
        let file: File =
            serde_json::from_str(&text).map_err(|e| ConvertError::new(path, format!("{e}: {expected}")))?;
        // Windows writes its own separators
        let named = file.image_path.replace('\\', "/");
        let here = path.parent().unwrap_or(root);
        let beside = Path::new(&named).file_name().map(|name| here.join(name));
        let source = [Some(here.join(&named)), beside].into_iter().flatten().find(|source| source.is_file());
        let Some(source) = source else {
            let reason = format!("its image {named:?} is not there (LabelMe's imageData is not read)");
            return Err(ConvertError::new(path, reason));
        };
        let size = size_of(&source)?;
        if let (Some(width), Some(height)) = (file.image_width, file.image_height)
            && (width as usize, height as usize) != (size.width, size.height)
        {
            let reason =
                format!("drawn on {width} x {height} pixels, the image has {} x {}", size.width, size.height);
            return Err(ConvertError::new(path, reason));
        }
        let objects = objects(path, file.shapes, &mut set)?;
        let below = relative(path, root);
        let part = below.split_once('/').map_or("train", |(folder, _)| folder).to_lowercase();
        let part = match &part[..] {
            "val" | "valid" | "validation" => "val",
            "test" => "test",
            _ => "train",
        };
        let name = relative(&source, if source.starts_with(here) { here } else { root });
        let prefix = below.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default();
        read.push((part.to_owned(), AnnotatedImage { source, name: prefix + &name, size, objects }));
    }
    let order: Vec<String> = set.categories.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
    let place: Vec<usize> =
        set.categories.iter().map(|name| order.iter().position(|other| other == name).unwrap_or(0)).collect();
    let mut parts: BTreeMap<String, Vec<AnnotatedImage>> = BTreeMap::new();
    for (part, mut image) in read {
        image.objects.iter_mut().for_each(|object| object.category = place[object.category]);
        parts.entry(part).or_default().push(image);
    }
    set.categories = order;
    set.parts = parts.into_iter().map(|(name, images)| Part { name, images }).collect();
    Ok(set)
}

fn objects(path: &Path, shapes: Vec<Shape>, set: &mut AnnotatedSet) -> Result<Vec<Object>, ConvertError> {
    let mut objects: Vec<Object> = Vec::new();
    let mut groups: BTreeMap<(String, i64), usize> = BTreeMap::new();
    for (index, shape) in shapes.into_iter().enumerate() {
        let fail = |reason: &str| ConvertError::new(path, format!("shapes[{index}]: {reason}"));
        if !shape.points.iter().flatten().all(|value| value.is_finite()) {
            return Err(fail("a point is no number"));
        }
        let kind = shape.shape_type.as_deref().unwrap_or("polygon");
        let ring: Vec<f64> = match (kind, &shape.points[..]) {
            ("polygon", points) if points.len() >= 3 => points.as_flattened().to_vec(),
            ("rectangle", [a, b]) => {
                let [x0, y0] = [a[0].min(b[0]), a[1].min(b[1])];
                let bbox = [x0, y0, (a[0] - b[0]).abs(), (a[1] - b[1]).abs()];
                let category = set.category(&shape.label);
                objects.push(Object { category, bbox, outline: Outline::None, crowd: false });
                continue;
            }
            ("circle", [center, edge]) => {
                let radius = (edge[0] - center[0]).hypot(edge[1] - center[1]);
                let corner = |i: usize| {
                    let angle = std::f64::consts::TAU * i as f64 / CORNERS as f64;
                    [center[0] + radius * angle.cos(), center[1] + radius * angle.sin()]
                };
                (0..CORNERS).flat_map(corner).collect()
            }
            ("polygon" | "rectangle" | "circle", points) => {
                return Err(fail(&format!("a {kind} of {} points", points.len())));
            }
            (other, _) => {
                set.notes.add(format!("shapes of kind {other:?} have no inside and were left out"));
                continue;
            }
        };
        let category = set.category(&shape.label);
        let object = Object::of_rings(category, vec![ring]);
        let Some(group) = shape.group_id else {
            objects.push(object);
            continue;
        };
        match groups.get(&(shape.label.clone(), group)) {
            Some(at) => {
                let (Outline::Rings(mut rings), Outline::Rings(more)) =
                    (objects[*at].outline.clone(), object.outline)
                else {
                    continue;
                };
                rings.extend(more);
                objects[*at] = Object::of_rings(category, rings);
            }
            None => {
                groups.insert((shape.label, group), objects.len());
                objects.push(object);
            }
        }
    }
    Ok(objects)
}
