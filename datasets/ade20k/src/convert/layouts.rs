//! Which files of a dataset belong together.

use std::path::{Path, PathBuf};

use kat_images::files::read_text;
use serde::Deserialize;

use super::{ConvertError, IGNORED, LabelSet, LabelledImage, Source};
use crate::colors::ColorTable;

/// Pascal VOC's classes; 255 is the border between objects.
const VOC: [&str; 21] = [
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
];

/// Cityscapes' classes that are evaluated, with their numbers in `labelIds` (cityscapesScripts, labels.py).
const CITYSCAPES: [(&str, usize); 19] = [
    ("road", 7),
    ("sidewalk", 8),
    ("building", 11),
    ("wall", 12),
    ("fence", 13),
    ("pole", 17),
    ("traffic light", 19),
    ("traffic sign", 20),
    ("vegetation", 21),
    ("terrain", 22),
    ("sky", 23),
    ("person", 24),
    ("rider", 25),
    ("car", 26),
    ("truck", 27),
    ("bus", 28),
    ("train", 31),
    ("motorcycle", 32),
    ("bicycle", 33),
];

fn entries(folder: &Path) -> Result<Vec<PathBuf>, ConvertError> {
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(ConvertError::of(folder))? {
        found.push(entry.map_err(ConvertError::of(folder))?.path());
    }
    found.sort();
    Ok(found)
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What a part is called here.
fn part_name(word: &str) -> String {
    match &word.to_lowercase()[..] {
        "train" | "trainval" | "training" => "training".to_owned(),
        "val" | "valid" | "validation" => "validation".to_owned(),
        _ => word.to_owned(),
    }
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    matches!(extension.as_deref(), Some("jpg" | "jpeg" | "png" | "bmp" | "tif" | "tiff" | "webp"))
}

fn words(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// `SegmentationClass/X.png` beside `JPEGImages/X.jpg`, parts in `ImageSets/Segmentation`; class names in `classes.txt` or
/// `labels.txt`, else VOC's.
pub(super) fn voc(root: &Path) -> Result<LabelSet, ConvertError> {
    let lists = root.join("ImageSets/Segmentation");
    let there = |name: &str| lists.join(format!("{name}.txt")).is_file();
    let names: &[&str] = if there("train") { &["train", "val"] } else { &["trainval", "val"] };
    let mut parts = Vec::new();
    for name in names.iter().filter(|name| there(name)) {
        let path = lists.join(format!("{name}.txt"));
        let text = read_text(&path).map_err(ConvertError::of(&path))?;
        let stems = text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        parts.push((part_name(name), voc_images(root, &stems)?));
    }
    if parts.is_empty() {
        let maps = entries(&root.join("SegmentationClass"))?;
        let stems: Vec<String> =
            maps.iter().filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
        parts.push(("training".to_owned(), voc_images(root, &stems)?));
    }
    let file =
        ["classes.txt", "labels.txt"].map(|name| root.join(name)).into_iter().find(|file| file.is_file());
    let classes = match file {
        Some(file) => {
            let text = read_text(&file).map_err(ConvertError::of(&file))?;
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
        }
        None => words(&VOC),
    };
    Ok(LabelSet { classes, colors: ColorTable::default(), parts })
}

fn voc_images(root: &Path, stems: &[String]) -> Result<Vec<LabelledImage>, ConvertError> {
    let one = |stem: &String| {
        let tried =
            ["jpg", "jpeg", "png"].map(|ending| root.join("JPEGImages").join(format!("{stem}.{ending}")));
        let image = tried.iter().find(|path| path.is_file());
        let image =
            image.ok_or_else(|| ConvertError::new(&tried[0], "the image of a label map is not there"))?;
        let map = root.join("SegmentationClass").join(format!("{stem}.png"));
        Ok(LabelledImage { name: name_of(image), image: image.clone(), labels: Source::Classes(map) })
    };
    stems.iter().map(one).collect()
}

/// `leftImg8bit/PART/CITY/X_leftImg8bit.png` beside `gtFine/PART/CITY/X_gtFine_labelIds.png`.
pub(super) fn cityscapes(root: &Path) -> Result<LabelSet, ConvertError> {
    let mut numbers = vec![IGNORED; 34];
    CITYSCAPES.iter().zip(0..).for_each(|((_, number), class)| numbers[*number] = class);
    let mut parts = Vec::new();
    for folder in entries(&root.join("leftImg8bit"))?.into_iter().filter(|path| path.is_dir()) {
        let part = name_of(&folder);
        // the labels of the test part are not published
        let gt = root.join("gtFine").join(&part);
        if part == "test" || !gt.is_dir() {
            continue;
        }
        let mut images = Vec::new();
        for city in entries(&folder)?.into_iter().filter(|path| path.is_dir()) {
            for image in entries(&city)?.into_iter().filter(|path| is_image(path)) {
                let stem = name_of(&image).replace("_leftImg8bit.png", "");
                let map = gt.join(name_of(&city)).join(format!("{stem}_gtFine_labelIds.png"));
                if !map.is_file() {
                    return Err(ConvertError::new(&map, "the labels of an image are not there"));
                }
                let name = format!("{}/{}", name_of(&city), name_of(&image));
                images.push(LabelledImage { image, name, labels: Source::Numbers(map, numbers.clone()) });
            }
        }
        parts.push((part_name(&part), images));
    }
    Ok(LabelSet { classes: words(&CITYSCAPES.map(|(name, _)| name)), colors: ColorTable::default(), parts })
}

/// A folder for each image, with `images/*` and `masks/*` (DSB2018).
pub(super) fn masks(root: &Path) -> Result<Option<LabelSet>, ConvertError> {
    let mut images = Vec::new();
    for folder in entries(root)?.into_iter().filter(|path| path.join("masks").is_dir()) {
        let pictures: Vec<PathBuf> =
            entries(&folder.join("images"))?.into_iter().filter(|path| is_image(path)).collect();
        let [image] = &pictures[..] else {
            let reason = format!("{} images beside its masks, expected 1", pictures.len());
            return Err(ConvertError::new(&folder.join("images"), reason));
        };
        let masks = entries(&folder.join("masks"))?.into_iter().filter(|path| is_image(path)).collect();
        images.push(LabelledImage {
            name: name_of(image),
            image: image.clone(),
            labels: Source::Masks(masks),
        });
    }
    let set = LabelSet {
        classes: words(&["background", "object"]),
        colors: ColorTable::default(),
        parts: vec![("training".to_owned(), images)],
    };
    Ok(Some(set).filter(|set| !set.parts[0].1.is_empty()))
}

/// `images/[PART/]X` beside `annotations|labels|masks/[PART/]X.png`, whose colors are classes.
pub(super) fn colored(root: &Path, colors: ColorTable) -> Result<LabelSet, ConvertError> {
    let maps = ["annotations", "labels", "masks"].map(|name| root.join(name));
    let maps = maps.into_iter().find(|folder| folder.is_dir());
    let maps =
        maps.ok_or_else(|| ConvertError::new(root, "expected images beside annotations, labels or masks"))?;
    let found = entries(&root.join("images"))?;
    let mut folders: Vec<(String, PathBuf, PathBuf)> = found
        .iter()
        .filter(|path| path.is_dir())
        .map(|path| (part_name(&name_of(path)), path.clone(), maps.join(name_of(path))))
        .collect();
    if folders.is_empty() {
        folders.push(("training".to_owned(), root.join("images"), maps));
    }
    let mut parts = Vec::new();
    for (part, folder, maps) in folders {
        let mut images = Vec::new();
        for image in entries(&folder)?.into_iter().filter(|path| is_image(path)) {
            let map = maps.join(name_of(&image)).with_extension("png");
            if !map.is_file() {
                return Err(ConvertError::new(&map, "the labels of an image are not there"));
            }
            images.push(LabelledImage { name: name_of(&image), image, labels: Source::Colors(map) });
        }
        parts.push((part, images));
    }
    Ok(LabelSet { classes: colors.names().to_vec(), colors, parts })
}

#[derive(Deserialize)]
struct Panoptic {
    images: Vec<PanopticImage>,
    annotations: Vec<PanopticMap>,
    categories: Vec<PanopticCategory>,
}

#[derive(Deserialize)]
struct PanopticImage {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct PanopticMap {
    image_id: u64,
    file_name: String,
    segments_info: Vec<PanopticSegment>,
}

#[derive(Deserialize)]
struct PanopticSegment {
    id: u32,
    category_id: u64,
}

#[derive(Deserialize)]
struct PanopticCategory {
    id: u64,
    name: String,
}

/// `annotations/panoptic_PART.json` beside `annotations/panoptic_PART/X.png`, images in `PART` or `images/PART`.
pub(super) fn panoptic(root: &Path) -> Result<Option<LabelSet>, ConvertError> {
    let folder = root.join("annotations");
    if !folder.is_dir() {
        return Ok(None);
    }
    let mut set = LabelSet::default();
    for file in entries(&folder)? {
        let name = name_of(&file);
        let Some(part) = name.strip_prefix("panoptic_").and_then(|name| name.strip_suffix(".json")) else {
            continue;
        };
        let text = read_text(&file).map_err(ConvertError::of(&file))?;
        let data: Panoptic = serde_json::from_str(&text).map_err(ConvertError::of(&file))?;
        let classes: Vec<String> = data.categories.iter().map(|category| category.name.clone()).collect();
        if classes.len() > usize::from(IGNORED) || (!set.classes.is_empty() && set.classes != classes) {
            let reason =
                format!("{} categories, expected at most 255 and the same in all parts", classes.len());
            return Err(ConvertError::new(&file, reason));
        }
        set.classes = classes;
        let class = |id: u64| data.categories.iter().position(|category| category.id == id);
        let mut images = Vec::new();
        for map in data.annotations {
            let missing = |what: &str| ConvertError::new(&file, format!("{}: {what}", map.file_name));
            let image = data.images.iter().find(|image| image.id == map.image_id);
            let image = image.ok_or_else(|| missing("no image has its image_id"))?;
            let tried = [root.join(part), root.join("images").join(part), root.join("images")];
            let found = tried.iter().map(|folder| folder.join(&image.file_name)).find(|path| path.is_file());
            let found = found.ok_or_else(|| missing("its image is not there"))?;
            let segment = |segment: &PanopticSegment| {
                let class =
                    class(segment.category_id).ok_or_else(|| missing("no category has a segment's id"))?;
                Ok((segment.id, class as u8))
            };
            let segments = map.segments_info.iter().map(segment).collect::<Result<_, ConvertError>>()?;
            let below = format!("panoptic_{part}/{}", map.file_name);
            let maps = [folder.join(&below), root.join(&below)].into_iter().find(|path| path.is_file());
            let maps = maps.ok_or_else(|| missing("the file is not there"))?;
            images.push(LabelledImage {
                name: name_of(&found),
                image: found,
                labels: Source::Segments(maps, segments),
            });
        }
        let word = part.trim_end_matches(|letter: char| letter.is_ascii_digit());
        set.parts.push((part_name(word), images));
    }
    Ok(Some(set).filter(|set| !set.parts.is_empty()))
}
