//! Writing generated data in the layouts of the real datasets.

use std::fs;
use std::path::{Path, PathBuf};

use image::{GrayImage, ImageResult, RgbImage};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::{Layout, Outline, ShapesConfig, ShapesError, ShapesSummary, Split, render};
use crate::encode;

/// JPEG quality of every image.
const QUALITY: u8 = 92;

/// Writes both splits under `root`, which is made if need be and must be empty.
///
/// # Errors
/// [`ShapesError`] for a field out of range, a folder that is not empty, or a file that cannot be written.
pub fn write_shapes(
    root: &Path,
    layout: Layout,
    config: &ShapesConfig,
) -> Result<ShapesSummary, ShapesError> {
    write_shapes_while(root, layout, config, &|| true)
}

/// As [`write_shapes`]; after each image `go_on` is asked, on any thread, whether to go on.
///
/// # Errors
/// As [`write_shapes`], and [`ShapesError::Stopped`]. What was written so far stays.
pub fn write_shapes_while(
    root: &Path,
    layout: Layout,
    config: &ShapesConfig,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<ShapesSummary, ShapesError> {
    config.validate()?;
    make_folder(root)?;
    if fs::read_dir(root).map_err(io_error(root))?.next().is_some() {
        return Err(ShapesError::NotEmpty(root.to_owned()));
    }
    let classes: Vec<String> = config.shapes().iter().map(|s| s.name().to_owned()).collect();
    let mut objects = 0;
    let mut images_of_class = [vec![0usize; classes.len()], vec![0; classes.len()]];
    let mut pixels_of_class = vec![0u64; classes.len() + 1];
    for (at, (split, images)) in
        [(Split::Train, config.train_images), (Split::Val, config.val_images)].into_iter().enumerate()
    {
        let folders = Folders::make(root, layout, split, &classes)?;
        let entries: Vec<Entry> = (0..images)
            .into_par_iter()
            .map(|index| {
                let entry = folders.write_image(config, layout, split, index)?;
                if go_on() { Ok(entry) } else { Err(ShapesError::Stopped) }
            })
            .collect::<Result<_, _>>()?;
        for entry in &entries {
            objects += entry.objects.len();
            for (class, n) in entry.pixels.iter().enumerate() {
                pixels_of_class[class] += n;
                if class > 0 && *n > 0 {
                    images_of_class[at][class - 1] += 1;
                }
            }
        }
        if let Layout::Coco = layout {
            let name = match split {
                Split::Train => "instances_train.json",
                Split::Val => "instances_val.json",
            };
            write_json(&root.join("annotations").join(name), &instances(&entries, &classes))?;
        }
    }
    if let Layout::SceneParsing = layout {
        write_object_info(&root.join("objectInfo.txt"), &classes, &images_of_class, &pixels_of_class)?;
    }
    Ok(ShapesSummary { images: config.train_images + config.val_images, objects, classes })
}

/// What is remembered of a written image.
struct Entry {
    file_name: String,
    width: u32,
    height: u32,
    /// Class index and outline of each object.
    objects: Vec<(usize, Outline)>,
    /// Pixels of label 0 (other) and 1..=K.
    pixels: Vec<u64>,
}

/// Where the files of a split go.
struct Folders {
    images: PathBuf,
    labels: PathBuf,
    classes: Vec<String>,
}

impl Folders {
    fn make(root: &Path, layout: Layout, split: Split, classes: &[String]) -> Result<Self, ShapesError> {
        let (images, labels) = match (layout, split) {
            (Layout::ImageFolders, Split::Train) => ("train", "train"),
            (Layout::ImageFolders, Split::Val) => ("val", "val"),
            (Layout::Coco, Split::Train) => ("images/train", "annotations"),
            (Layout::Coco, Split::Val) => ("images/val", "annotations"),
            (Layout::SceneParsing, Split::Train) => ("images/training", "annotations/training"),
            (Layout::SceneParsing, Split::Val) => ("images/validation", "annotations/validation"),
        };
        let folders =
            Self { images: root.join(images), labels: root.join(labels), classes: classes.to_owned() };
        make_folder(&folders.images)?;
        make_folder(&folders.labels)?;
        if let Layout::ImageFolders = layout {
            for class in classes {
                make_folder(&folders.images.join(class))?;
            }
        }
        Ok(folders)
    }

    fn write_image(
        &self,
        config: &ShapesConfig,
        layout: Layout,
        split: Split,
        index: usize,
    ) -> Result<Entry, ShapesError> {
        let scene = config.scene(layout, split, index);
        let drawn = render(&scene);
        let (width, height) = drawn.image.dimensions();
        let mut pixels = vec![0u64; self.classes.len() + 1];
        let labels: Vec<u8> = drawn
            .owner
            .iter()
            .map(|&o| if o == 0 { 0 } else { scene.objects[o as usize - 1].class as u8 + 1 })
            .collect();
        labels.iter().for_each(|&l| pixels[l as usize] += 1);
        let objects: Vec<(usize, Outline)> = scene
            .objects
            .iter()
            .enumerate()
            .filter_map(|(i, o)| Some((o.class, Outline::of(&drawn.owner, width, height, i as u16 + 1)?)))
            .collect();
        let file_name = match layout {
            Layout::ImageFolders => {
                let class = &self.classes[index % self.classes.len()];
                let folder = self.images.join(class);
                write_jpeg(&folder.join(format!("{class}_{index:06}.JPEG")), &drawn.image)?;
                format!("{class}_{index:06}.JPEG")
            }
            Layout::Coco => {
                let name = format!("{:012}.jpg", index + 1);
                write_jpeg(&self.images.join(&name), &drawn.image)?;
                name
            }
            Layout::SceneParsing => {
                let stem = match split {
                    Split::Train => format!("SHAPES_train_{:08}", index + 1),
                    Split::Val => format!("SHAPES_val_{:08}", index + 1),
                };
                write_jpeg(&self.images.join(format!("{stem}.jpg")), &drawn.image)?;
                let path = self.labels.join(format!("{stem}.png"));
                let map = GrayImage::from_raw(width, height, labels).expect("a label for each pixel");
                write(&path, encode::png(&map))?;
                format!("{stem}.jpg")
            }
        };
        Ok(Entry { file_name, width, height, objects, pixels })
    }
}

/// The instances file of a split; image ids are `index + 1`, category ids `class + 1`.
fn instances(entries: &[Entry], classes: &[String]) -> Value {
    let mut annotations = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        for (class, outline) in &entry.objects {
            let [x0, y0, x1, y1] = outline.bbox;
            annotations.push(json!({
                "id": annotations.len() + 1,
                "image_id": index + 1,
                "category_id": class + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": outline.area,
                "segmentation": outline.segmentation(),
                "iscrowd": 0,
            }));
        }
    }
    let images: Vec<Value> = entries
        .iter()
        .enumerate()
        .map(|(i, e)| json!({"id": i + 1, "file_name": e.file_name, "width": e.width, "height": e.height}))
        .collect();
    let categories: Vec<Value> = classes
        .iter()
        .enumerate()
        .map(|(i, name)| json!({"id": i + 1, "name": name, "supercategory": "shape"}))
        .collect();
    json!({
        "info": {"description": "generated shapes"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": categories,
    })
}

/// The class table, in the columns of SceneParsing's objectInfo150.txt.
fn write_object_info(
    path: &Path,
    classes: &[String],
    images: &[Vec<usize>; 2],
    pixels: &[u64],
) -> Result<(), ShapesError> {
    let total = pixels.iter().sum::<u64>().max(1);
    let mut text = String::from("Idx\tRatio\tTrain\tVal\tStuff\tName\n");
    for (i, name) in classes.iter().enumerate() {
        let ratio = pixels[i + 1] as f64 / total as f64;
        text += &format!("{}\t{ratio:.4}\t{}\t{}\t0\t{name}\n", i + 1, images[0][i], images[1][i]);
    }
    fs::write(path, text).map_err(io_error(path))
}

fn write_jpeg(path: &Path, image: &RgbImage) -> Result<(), ShapesError> {
    write(path, encode::jpeg(image, QUALITY))
}

fn write(path: &Path, encoded: ImageResult<Vec<u8>>) -> Result<(), ShapesError> {
    let bytes = encoded.map_err(|source| ShapesError::Encode { path: path.to_owned(), source })?;
    fs::write(path, bytes).map_err(io_error(path))
}

fn write_json(path: &Path, value: &Value) -> Result<(), ShapesError> {
    fs::write(path, value.to_string()).map_err(io_error(path))
}

fn make_folder(path: &Path) -> Result<(), ShapesError> {
    fs::create_dir_all(path).map_err(io_error(path))
}

fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> ShapesError {
    let path = path.to_owned();
    move |source| ShapesError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(path).unwrap());
                }
            }
        }
        files
    }

    fn made(layout: Layout, config: &ShapesConfig, threads: usize) -> BTreeMap<PathBuf, Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| write_shapes(dir.path(), layout, config)).unwrap();
        tree(dir.path())
    }

    const LAYOUTS: [Layout; 3] = [Layout::ImageFolders, Layout::Coco, Layout::SceneParsing];

    #[test]
    fn same_seed_same_bytes_whatever_the_threads() {
        let config = ShapesConfig { train_images: 23, val_images: 11, vary: 0.3, ..Default::default() };
        for layout in LAYOUTS {
            let one = made(layout, &config, 1);
            for threads in [2, 5] {
                assert!(one == made(layout, &config, threads), "{layout:?} differs with {threads} threads");
            }
            let other = made(layout, &ShapesConfig { seed: 1, ..config.clone() }, 2);
            let shared = one.iter().filter(|(k, v)| other.get(*k) == Some(v)).count();
            assert_eq!(shared, 0, "{layout:?}: {shared} files are alike under another seed");
        }
    }

    #[test]
    fn more_images_do_not_change_the_first() {
        let few = made(
            Layout::ImageFolders,
            &ShapesConfig { train_images: 4, val_images: 2, ..Default::default() },
            2,
        );
        let many = made(
            Layout::ImageFolders,
            &ShapesConfig { train_images: 9, val_images: 5, ..Default::default() },
            2,
        );
        assert!(few.iter().all(|(k, v)| many.get(k) == Some(v)));
    }

    #[test]
    fn masks_boxes_and_labels_agree_with_the_drawn() {
        let config = ShapesConfig { width: 96, height: 64, vary: 0.4, ..Default::default() };
        let mut hidden = 0;
        for index in 0..60 {
            let scene = config.scene(Layout::Coco, Split::Train, index);
            let drawn = render(&scene);
            assert_eq!(drawn.image.dimensions(), (scene.width, scene.height));
            assert!(!scene.objects.is_empty());
            let mut visible = 0;
            for (i, object) in scene.objects.iter().enumerate() {
                let outline = Outline::of(&drawn.owner, scene.width, scene.height, i as u16 + 1).unwrap();
                assert!(outline.area >= 24);
                assert!(outline.area as usize <= object.coverage.pixels());
                hidden += ((outline.area as usize) < object.coverage.pixels()) as usize;
                visible += outline.area as usize;
            }
            assert_eq!(visible, drawn.owner.iter().filter(|&&o| o > 0).count());
        }
        assert!(hidden > 10, "hardly anything is occluded: {hidden}");
    }

    #[test]
    fn the_files_are_those_of_the_layouts() {
        let config = ShapesConfig { train_images: 10, val_images: 10, ..Default::default() };
        let folders = made(Layout::ImageFolders, &config, 2);
        assert_eq!(folders.len(), 20);
        assert!(folders.contains_key(Path::new("train/arrow/arrow_000000.JPEG")));
        assert!(folders.contains_key(Path::new("val/triangle/triangle_000009.JPEG")));

        let coco = made(Layout::Coco, &config, 2);
        assert_eq!(coco.len(), 22);
        let file: Value = serde_json::from_slice(&coco[Path::new("annotations/instances_val.json")]).unwrap();
        assert_eq!(file["images"].as_array().unwrap().len(), 10);
        assert_eq!(file["categories"][0], json!({"id": 1, "name": "arrow", "supercategory": "shape"}));
        for annotation in file["annotations"].as_array().unwrap() {
            let (area, b) = (annotation["area"].as_u64().unwrap(), annotation["bbox"].as_array().unwrap());
            assert!(area <= b[2].as_u64().unwrap() * b[3].as_u64().unwrap());
        }

        let scenes = made(Layout::SceneParsing, &config, 2);
        assert_eq!(scenes.len(), 41);
        let png = &scenes[Path::new("annotations/training/SHAPES_train_00000001.png")];
        let labels = image::load_from_memory(png).unwrap().into_luma8();
        assert!(labels.pixels().all(|p| p[0] <= 10) && labels.pixels().any(|p| p[0] > 0));
        assert!(String::from_utf8_lossy(&scenes[Path::new("objectInfo.txt")]).ends_with("triangle\n"));
    }

    #[test]
    fn bad_fields_and_full_folders_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let classes = ShapesConfig { classes: 13, ..Default::default() };
        let error = write_shapes(dir.path(), Layout::Coco, &classes).unwrap_err().to_string();
        assert_eq!(error, "shapes: classes is 13, expected 1..=12");
        let vary = ShapesConfig { vary: f32::NAN, ..Default::default() };
        assert!(matches!(vary.validate(), Err(ShapesError::Field { field: "vary", .. })));
        fs::write(dir.path().join("x"), "").unwrap();
        let full = write_shapes(dir.path(), Layout::Coco, &ShapesConfig::default());
        assert!(matches!(full, Err(ShapesError::NotEmpty(_))));
    }
}
