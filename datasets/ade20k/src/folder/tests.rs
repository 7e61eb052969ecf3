use std::fs;

use super::*;
use image::Luma;
use kat_images::shapes::{Layout, ShapesConfig, write_shapes};

#[test]
fn generated_scenes_are_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = ShapesConfig { train_images: 12, val_images: 3, vary: 0.3, ..Default::default() };
    write_shapes(dir.path(), Layout::SceneParsing, &config).unwrap();
    let data = LabelFolders::scene_parsing(
        dir.path(),
        "training",
        10,
        LabelScheme::ReduceZero,
        DecodeOptions::default(),
    );
    let data = data.unwrap().open().unwrap();
    let scan = data.scan().unwrap();
    let mut pixels = 0;
    for i in 0..data.len() {
        let sample = data.get(i).unwrap();
        pixels += u64::from(sample.image.width() * sample.image.height());
    }
    assert_eq!(scan.pixels.iter().sum::<u64>() + scan.ignored, pixels);
    assert_eq!(data.get(0).unwrap().id, "SHAPES_train_00000001.jpg");

    let few = LabelFolders { classes: 2, ..data };
    let error = few.scan().unwrap_err().to_string();
    assert!(error.contains("2 classes allow 0 and 255 (ignored) and 1..=2, with reduce_zero"), "{error}");
    assert!(error.contains("SHAPES_train_"), "{error}");
}

/// Names as Cityscapes has them.
fn cityscapes(images: &Path, labels: &Path) -> LabelFolders {
    LabelFolders {
        images: images.to_owned(),
        labels: labels.to_owned(),
        image_suffix: "_leftImg8bit.png".into(),
        label_suffix: "_gtFine_labelTrainIds.png".into(),
        classes: 19,
        scheme: LabelScheme::Direct,
        colors: None,
        decode: DecodeOptions::default(),
        pairs: Vec::new(),
    }
}

fn pair(map: &GrayImage) -> (tempfile::TempDir, LabelFolders) {
    let dir = tempfile::tempdir().unwrap();
    let (images, labels) = (dir.path().join("img"), dir.path().join("gt"));
    fs::create_dir_all(images.join("city")).unwrap();
    fs::create_dir_all(labels.join("city")).unwrap();
    image::RgbImage::new(3, 2).save(images.join("city/a_leftImg8bit.png")).unwrap();
    map.save(labels.join("city/a_gtFine_labelTrainIds.png")).unwrap();
    (dir, cityscapes(&images, &labels))
}

#[test]
fn suffixes_pair_files_and_values_are_checked() {
    let mut map = GrayImage::from_pixel(3, 2, Luma([18]));
    map.put_pixel(0, 0, Luma([255]));
    let (_dir, folders) = pair(&map);
    let data = folders.open().unwrap();
    assert_eq!(data.label_map(0).unwrap(), map);
    map.put_pixel(2, 1, Luma([19]));
    map.save(data.label_path(0)).unwrap();
    let error = data.scan().unwrap_err().to_string();
    assert!(
        error.ends_with(
            "label 19 at x 2, y 1; 19 classes allow 0..=18 and 255 (ignored), without reduce_zero_label"
        ),
        "{error}"
    );
    let rgb = image::RgbImage::new(3, 2);
    rgb.save(data.label_path(0)).unwrap();
    assert!(data.scan().unwrap_err().to_string().contains("this one is Rgb8"));
    fs::write(data.label_path(0), b"\x89PNG\r\n").unwrap();
    assert!(matches!(data.scan(), Err(LabelError::Decode { .. })));
    fs::remove_file(data.label_path(0)).unwrap();
    assert!(matches!(data.open(), Err(LabelError::Missing { .. })));
}

#[test]
fn a_missing_label_is_told_and_the_rest_goes_on() {
    let (dir, folders) = pair(&GrayImage::from_pixel(3, 2, Luma([7])));
    image::RgbImage::new(3, 2).save(dir.path().join("img/city/b_leftImg8bit.png")).unwrap();
    let error = folders.clone().open().unwrap_err().to_string();
    assert!(error.contains("b_gtFine_labelTrainIds.png"), "{error}");
    let (data, missing) = folders.clone().open_labelled().unwrap();
    assert_eq!((data.len(), missing.len()), (1, 1));
    assert_eq!(data.stored_values(0).unwrap(), BTreeMap::from([(7, 6)]));
    // an ending in another case is the same ending
    let (from, to) = ("gt/city/a_gtFine_labelTrainIds.png", "gt/city/b_gtFine_labelTrainIds.PNG");
    fs::copy(dir.path().join(from), dir.path().join(to)).unwrap();
    assert!(folders.open().unwrap().label_path(1).ends_with("b_gtFine_labelTrainIds.PNG"));
}

#[test]
fn two_sizes_name_both() {
    let (_dir, folders) = pair(&GrayImage::new(2, 3));
    let data = folders.open().unwrap();
    let error = data.get(0).unwrap_err().to_string();
    assert!(error.contains("2x3 pixels") && error.contains("3x2"), "{error}");
    assert_eq!(data.scan().unwrap_err().to_string(), error);
}

#[test]
fn schemes() {
    let reduce = LabelScheme::ReduceZero;
    assert_eq!(
        [0, 1, 150, 151, 255].map(|v| reduce.class_of(v, 150)),
        [Some(255), Some(0), Some(149), None, Some(255)]
    );
    assert_eq!(LabelScheme::Direct.class_of(150, 150), None);
    assert_eq!(LabelScheme::Direct.class_of(0, 1), Some(0));
    let bad = LabelFolders { classes: 256, ..cityscapes(Path::new("a"), Path::new("b")) };
    assert!(matches!(bad.open(), Err(LabelError::Classes(256))));
}

#[test]
fn pictures_of_colors_are_read_by_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let (images, labels) = (dir.path().join("images"), dir.path().join("labels"));
    fs::create_dir_all(&images).unwrap();
    fs::create_dir_all(&labels).unwrap();
    image::RgbImage::new(3, 2).save(images.join("a.png")).unwrap();
    let mut picture = RgbImage::from_pixel(3, 2, image::Rgb([9, 0, 0]));
    picture.put_pixel(2, 1, image::Rgb([0, 7, 0]));
    // as CamVid calls them
    picture.save(labels.join("a_L.png")).unwrap();
    let data =
        LabelFolders::beside(&images, &labels, 2, LabelScheme::Direct, DecodeOptions::default()).unwrap();
    let bare = data.clone().open().unwrap();
    assert!(bare.label_map(0).unwrap_err().to_string().contains("this one is Rgb8"));
    let names = ["road".to_owned(), "tree".to_owned()];
    let table = |colors: &[[u8; 3]]| Some(Arc::new(ColorTable::new(&names, colors)));
    let data = LabelFolders { colors: table(&[[0, 7, 0], [9, 0, 0]]), ..data }.open().unwrap();
    assert_eq!(data.label_map(0).unwrap().into_raw(), [1, 1, 1, 1, 1, 0]);
    assert_eq!(data.stored_values(0).unwrap(), BTreeMap::from([(0, 1), (1, 5)]));
    assert_eq!(data.scan().unwrap().pixels, [1, 5]);
    let data = LabelFolders { colors: table(&[[9, 0, 0], [1, 1, 1]]), ..data };
    let error = data.label_map(0).unwrap_err().to_string();
    assert!(error.contains("a_L.png: the color [0, 7, 0] at x 2, y 1"), "{error}");
    assert_eq!(data.subset(|index| index > 0).len(), 0);
}
