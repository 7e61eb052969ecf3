//! YOLO: `data.yaml` names the classes and the folders of images; beside each folder `images` one `labels` with a text file for
//! each image, a line an object: its class, then the center and sides of its box, or the points of its outline, as shares of the
//! image's sides.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_norway::Value;

use super::images::{files_below, is_image, place, relative, size_of, text_of};
use super::{AnnotatedImage, AnnotatedSet, ConvertError, Notes, Object, Outline, Part};

/// Keys of data.yaml that name folders, and what the part is called.
const PARTS: [(&str, &str); 3] = [("train", "train"), ("val", "val"), ("test", "test")];

/// The description in `root`, with its text: a YAML file with `names`.
pub(super) fn description(root: &Path) -> Result<Option<PathBuf>, ConvertError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).map_err(ConvertError::of(root))? {
        let path = entry.map_err(ConvertError::of(root))?.path();
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
            && text_of(&path)?.lines().any(|line| line.trim_start().starts_with("names"))
        {
            found.push(path);
        }
    }
    found.sort_by_key(|path| (path.file_name().is_none_or(|name| name != "data.yaml"), path.clone()));
    Ok(found.into_iter().next())
}

/// Reads a folder with its data.yaml, or the file itself.
pub(super) fn read(path: &Path) -> Result<AnnotatedSet, ConvertError> {
    let file = match path.is_file() {
        true => path.to_owned(),
        false => {
            description(path)?.ok_or_else(|| ConvertError::new(path, "no data.yaml with `names` in it"))?
        }
    };
    let yaml: Value = serde_norway::from_str(&text_of(&file)?).map_err(ConvertError::of(&file))?;
    let mut set = AnnotatedSet { categories: names(&file, &yaml)?, ..AnnotatedSet::default() };
    let here = file.parent().unwrap_or(Path::new("."));
    let base =
        yaml.get("path").and_then(Value::as_str).map_or_else(|| here.to_owned(), |base| here.join(base));
    // a path of the machine where the file was made says nothing here
    let base = if base.is_dir() { base } else { here.to_owned() };
    for (key, name) in PARTS {
        let mut images = Vec::new();
        for listed in strings(yaml.get(key)) {
            // Roboflow writes ../train/images for what lies in train/images
            let inside = listed.trim_start_matches("../").to_owned();
            let candidates = [base.join(&listed), here.join(&listed), here.join(inside)];
            let Some(place) = candidates.into_iter().find(|place| place.exists()) else {
                return Err(ConvertError::new(&file, format!("{key}: {listed} is not there")));
            };
            let (files, root) = match place.is_file() {
                true => (listed_files(&place)?, here.to_owned()),
                false => (files_below(&place)?.into_iter().filter(|file| is_image(file)).collect(), place),
            };
            for source in files {
                images.push(image(source, &root, &set.categories)?);
            }
        }
        set.parts.push(Part { name: name.to_owned(), images });
    }
    Ok(set)
}

fn names(file: &Path, yaml: &Value) -> Result<Vec<String>, ConvertError> {
    let text = |value: &Value| match value {
        Value::String(name) => Some(name.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let found = match yaml.get("names") {
        Some(Value::Sequence(names)) => names.iter().map(text).collect(),
        Some(Value::Mapping(names)) => {
            let mut numbered: Vec<(u64, Option<String>)> =
                names.iter().filter_map(|(index, name)| Some((index.as_u64()?, text(name)))).collect();
            numbered.sort();
            let complete = numbered.iter().zip(0..).all(|((index, _), expected)| *index == expected);
            (complete && numbered.len() == names.len())
                .then(|| numbered.into_iter().map(|(_, name)| name).collect::<Option<Vec<_>>>())
                .flatten()
        }
        _ => None,
    };
    let expected = "names: expected a list of class names, or a map from 0, 1, 2 … to names";
    found.filter(|names: &Vec<String>| !names.is_empty()).ok_or_else(|| ConvertError::new(file, expected))
}

fn strings(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Sequence(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// The images that a text file lists, relative to it.
fn listed_files(list: &Path) -> Result<Vec<PathBuf>, ConvertError> {
    let here = list.parent().unwrap_or(Path::new("."));
    let text = text_of(list)?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| here.join(line)).collect())
}

/// Where the labels of an image are: `images` in its path, the last, becomes `labels`.
fn labels_of(image: &Path) -> PathBuf {
    let parts: Vec<_> = image.components().collect();
    let last = parts.iter().rposition(|part| part.as_os_str() == "images");
    let renamed = parts.iter().enumerate().map(|(i, part)| match Some(i) == last {
        true => std::ffi::OsStr::new("labels"),
        false => part.as_os_str(),
    });
    renamed.collect::<PathBuf>().with_extension("txt")
}

fn image(source: PathBuf, root: &Path, categories: &[String]) -> Result<AnnotatedImage, ConvertError> {
    let size = size_of(&source)?;
    let labels = labels_of(&source);
    let mut objects = Vec::new();
    // an image without a file of labels has no objects
    if labels.exists() {
        for (number, line) in
            text_of(&labels)?.lines().enumerate().filter(|(_, line)| !line.trim().is_empty())
        {
            let fail = |reason: String| ConvertError::new(&labels, format!("line {}: {reason}", number + 1));
            objects
                .push(object(line, [size.width as f64, size.height as f64], categories.len()).map_err(fail)?);
        }
    }
    Ok(AnnotatedImage { name: relative(&source, root), source, size, objects })
}

fn object(line: &str, [width, height]: [f64; 2], classes: usize) -> Result<Object, String> {
    let mut words = line.split_whitespace();
    let class = words.next().unwrap_or_default();
    // some tools write 3.0
    let category = class.parse::<f64>().ok().filter(|class| class.fract() == 0.0 && *class >= 0.0);
    let category = category.map(|class| class as usize).filter(|class| *class < classes);
    let category = category
        .ok_or_else(|| format!("class {class:?}, expected a number below {classes}, the number of names"))?;
    let values: Vec<f64> = words
        .map(|word| word.parse::<f64>().ok().filter(|value| value.is_finite()).ok_or(word))
        .collect::<Result<_, _>>()
        .map_err(|word| format!("{word:?}, expected a number"))?;
    match values[..] {
        [x, y, w, h] => {
            let bbox = [(x - w / 2.0) * width, (y - h / 2.0) * height, w * width, h * height];
            Ok(Object { category, bbox, outline: Outline::None, crowd: false })
        }
        _ if values.len() >= 6 && values.len().is_multiple_of(2) => {
            let ring =
                values.chunks_exact(2).flat_map(|point| [point[0] * width, point[1] * height]).collect();
            Ok(Object::of_rings(category, vec![ring]))
        }
        _ => Err(format!(
            "{} numbers after the class, expected 4 of a box or the points of an outline",
            values.len()
        )),
    }
}

/// Writes `set` to `to`: outlines where any object has one, else boxes.
///
/// # Errors
/// A file that cannot be read or written.
pub fn write(set: &AnnotatedSet, to: &Path) -> Result<Notes, ConvertError> {
    let mut notes = Notes::default();
    let outlines = set
        .parts
        .iter()
        .flat_map(|p| &p.images)
        .flat_map(|i| &i.objects)
        .any(|o| matches!(o.outline, Outline::Rings(_)));
    let mut yaml = String::from("path: .\n");
    for part in &set.parts {
        let images = to.join("images").join(&part.name);
        let _ = writeln!(yaml, "{}: images/{}", part.name, part.name);
        for image in &part.images {
            place(&image.source, &images.join(&image.name))?;
            let mut text = String::new();
            for object in &image.objects {
                let [width, height] = [image.size.width as f64, image.size.height as f64];
                let values = values_of(object, outlines, &mut notes);
                let _ = write!(text, "{}", object.category);
                for (i, value) in values.iter().enumerate() {
                    let _ = write!(text, " {}", value / if i % 2 == 0 { width } else { height });
                }
                text.push('\n');
            }
            let file = labels_of(&images.join(&image.name));
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder).map_err(ConvertError::of(folder))?;
            }
            std::fs::write(&file, text).map_err(ConvertError::of(&file))?;
        }
    }
    yaml.push_str("names:\n");
    for (index, name) in set.categories.iter().enumerate() {
        // JSON's strings are YAML's too
        let _ = writeln!(
            yaml,
            "  {index}: {}",
            Value::String(name.clone()).as_str().map(json).unwrap_or_default()
        );
    }
    let file = to.join("data.yaml");
    std::fs::write(&file, yaml).map_err(ConvertError::of(&file))?;
    Ok(notes)
}

fn json(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

/// A line's numbers in pixels.
fn values_of(object: &Object, outlines: bool, notes: &mut Notes) -> Vec<f64> {
    if object.crowd {
        notes.add("objects marked as crowds became ordinary ones: YOLO has no such mark");
    }
    let [x, y, w, h] = object.bbox;
    match &object.outline {
        Outline::Rings(rings) if rings.iter().any(|ring| ring.len() >= 6) => {
            let rings: Vec<&Vec<f64>> = rings.iter().filter(|ring| ring.len() >= 6).collect();
            if let [only] = rings[..] {
                return only.clone();
            }
            // from ring to ring and back over a bridge of no width
            notes.add("objects of several outlines were joined to one by lines of no width: YOLO holds one");
            let mut joined = Vec::new();
            for ring in &rings {
                joined.extend_from_slice(ring);
                joined.extend_from_slice(&ring[..2]);
            }
            for ring in rings.iter().rev().skip(1) {
                joined.extend_from_slice(&ring[..2]);
            }
            joined
        }
        outline if outlines => {
            match outline {
                Outline::Mask(_) => notes.add("masks of run lengths became boxes: YOLO holds outlines alone"),
                _ => notes.add("boxes became outlines of four corners, beside other objects' outlines"),
            }
            vec![x, y, x + w, y, x + w, y + h, x, y + h]
        }
        outline => {
            if matches!(outline, Outline::Mask(_)) {
                notes.add("masks of run lengths became boxes: YOLO holds outlines alone");
            }
            vec![x + w / 2.0, y + h / 2.0, w, h]
        }
    }
}

#[cfg(test)]
pub(super) fn values_for_tests(object: &Object) -> Vec<f64> {
    values_of(object, true, &mut Notes::default())
}
