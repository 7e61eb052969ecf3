use std::path::Path;

use image::{GrayImage, Luma, Rgb, RgbImage};

use super::*;
use crate::label_png;

fn at(path: &Path) -> &Path {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    path
}

fn photo(path: &Path) {
    RgbImage::new(4, 2).save(at(path)).unwrap();
}

/// Column x has `values[x]`.
fn gray(path: &Path, values: [u8; 4]) {
    GrayImage::from_fn(4, 2, |x, _| Luma([values[x as usize]])).save(at(path)).unwrap();
}

fn colored(path: &Path, values: [[u8; 3]; 4]) {
    RgbImage::from_fn(4, 2, |x, _| Rgb(values[x as usize])).save(at(path)).unwrap();
}

/// The first row of labels that are written of `from`.
fn converted(from: &Path, colors: Option<&ColorTable>, map: &str) -> (LabelSet, Vec<u8>) {
    let to = tempfile::tempdir().unwrap();
    let set = LabelSet::find(from, colors.cloned()).unwrap().unwrap();
    set.write(to.path()).unwrap();
    let names = std::fs::read_to_string(to.path().join("classes.txt")).unwrap();
    assert_eq!(names.lines().count(), set.classes.len());
    let labels = label_png::read(&to.path().join("annotations").join(map)).unwrap();
    let image = to.path().join("images").join(map);
    assert!(image.is_file() || image.with_extension("jpg").is_file());
    (set, labels.into_raw()[..4].to_vec())
}

#[test]
fn voc_and_cityscapes() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    photo(&root.join("JPEGImages/a.jpg"));
    gray(&root.join("SegmentationClass/a.png"), [0, 20, 255, 3]);
    std::fs::write(at(&root.join("ImageSets/Segmentation/train.txt")), "a\n").unwrap();
    let (set, labels) = converted(root, None, "training/a.png");
    assert_eq!(
        (set.classes.len(), &set.classes[20][..], &labels[..]),
        (21, "tvmonitor", &[0, 20, 255, 3][..])
    );

    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    photo(&root.join("leftImg8bit/val/ulm/ulm_0_leftImg8bit.png"));
    gray(&root.join("gtFine/val/ulm/ulm_0_gtFine_labelIds.png"), [7, 33, 0, 26]);
    let (set, labels) = converted(root, None, "validation/ulm/ulm_0_leftImg8bit.png");
    assert_eq!((set.classes.len(), &labels[..]), (19, &[0, 18, 255, 13][..]));
}

#[test]
fn masks_colors_and_panoptic_segments() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    photo(&root.join("x/images/x.png"));
    gray(&root.join("x/masks/1.png"), [255, 0, 0, 0]);
    gray(&root.join("x/masks/2.png"), [0, 0, 255, 0]);
    assert_eq!(converted(root, None, "training/x.png").1, [1, 0, 1, 0]);

    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let table = root.join("colors.txt");
    std::fs::write(&table, "# roads\n0, 0, 0, void\n128 64 128 road side\n").unwrap();
    let colors = ColorTable::read(&table, &[]).unwrap();
    assert_eq!(colors.names()[1], "road side");
    photo(&root.join("images/val/a.png"));
    let (black, road) = ([0; 3], [128, 64, 128]);
    colored(&root.join("masks/val/a.png"), [black, road, road, black]);
    assert_eq!(converted(root, Some(&colors), "validation/a.png").1, [0, 1, 1, 0]);
    colored(&root.join("masks/val/a.png"), [black, road, [9, 9, 9], black]);
    let set = LabelSet::find(root, Some(colors)).unwrap().unwrap();
    let error = set.write(&root.join("to")).unwrap_err().to_string();
    assert!(error.contains("[9, 9, 9] at x 2, y 0"), "{error}");
    std::fs::write(&table, "1 2 3 a\n1 2 3 b\n").unwrap();
    assert!(ColorTable::read(&table, &[]).unwrap_err().to_string().contains("line 2"));

    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    photo(&root.join("val2017/a.jpg"));
    colored(&root.join("annotations/panoptic_val2017/a.png"), [[1, 1, 0], [5, 0, 0], [0, 0, 0], [0, 0, 1]]);
    let json = r#"{"images": [{"id": 3, "file_name": "a.jpg"}],
        "categories": [{"id": 1, "name": "person"}, {"id": 92, "name": "banner"}],
        "annotations": [{"image_id": 3, "file_name": "a.png", "segments_info": [
            {"id": 257, "category_id": 92}, {"id": 5, "category_id": 1}, {"id": 65536, "category_id": 92}]}]}"#;
    std::fs::write(root.join("annotations/panoptic_val2017.json"), json).unwrap();
    assert_eq!(converted(root, None, "validation/a.png").1, [1, 0, 255, 1]);
}

#[test]
fn what_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(LabelSet::find(dir.path(), None).unwrap(), None);
    gray(&dir.path().join("SegmentationClass/a.png"), [0; 4]);
    let error = LabelSet::find(dir.path(), None).unwrap_err().to_string();
    assert!(error.contains("a.jpg: the image of a label map is not there"), "{error}");
    RgbImage::new(3, 3).save(at(&dir.path().join("JPEGImages/a.png"))).unwrap();
    let set = LabelSet::find(dir.path(), None).unwrap().unwrap();
    let error = set.write(&dir.path().join("to")).unwrap_err().to_string();
    assert!(error.contains("(4, 2) pixels, the image (3, 3)"), "{error}");
}

/// A photo of 4 x 2 pixels that its EXIF orientation turns by a quarter.
fn turned(path: &Path) {
    let mut jpeg = Vec::new();
    let format = image::ImageFormat::Jpeg;
    RgbImage::new(4, 2).write_to(&mut std::io::Cursor::new(&mut jpeg), format).unwrap();
    // one entry of a TIFF directory: tag 0x112, a short, the value 6
    let exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let length = (exif.len() as u16 + 2).to_be_bytes();
    let head = [&jpeg[..2], &[0xff, 0xe1], &length, exif].concat();
    std::fs::write(at(path), [&head, &jpeg[2..]].concat()).unwrap();
}

#[test]
fn labels_of_a_turned_photo_are_as_it_stands_upright() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    turned(&root.join("JPEGImages/a.jpg"));
    GrayImage::new(2, 4).save(at(&root.join("SegmentationClass/a.png"))).unwrap();
    LabelSet::find(root, None).unwrap().unwrap().write(&root.join("to")).unwrap();
    gray(&root.join("SegmentationClass/a.png"), [0; 4]);
    let error = LabelSet::find(root, None).unwrap().unwrap().write(&root.join("to")).unwrap_err().to_string();
    assert!(
        error.contains("have (4, 2) pixels, the image (2, 4) once its EXIF orientation turns it"),
        "{error}"
    );
}
