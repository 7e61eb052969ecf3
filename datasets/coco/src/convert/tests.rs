use std::path::Path;

use image::RgbImage;

use super::*;

fn picture(path: &Path, width: u32, height: u32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::new(width, height).save(path).unwrap();
}

fn text(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn open(path: &Path) -> AnnotatedSet {
    Format::of(path).unwrap().read(path).unwrap_or_else(|error| panic!("{error}"))
}

/// Objects of all images, in order; files aside.
fn objects(set: &AnnotatedSet) -> Vec<(String, String, Vec<Object>)> {
    let of = |part: &Part| {
        let name = part.name.clone();
        part.images
            .iter()
            .map(move |image| (name.clone(), image.name.clone(), image.objects.clone()))
            .collect::<Vec<_>>()
    };
    let mut all: Vec<_> = set.parts.iter().flat_map(of).collect();
    all.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    all
}

/// A YOLO folder of outlines and boxes in two parts.
fn yolo_folder(root: &Path) {
    picture(&root.join("images/train/a.png"), 20, 10);
    picture(&root.join("images/train/deep/b.png"), 8, 8);
    picture(&root.join("images/val/c.png"), 10, 10);
    text(&root.join("data.yaml"), "train: images/train\nval: images/val\nnames: {0: cat, 1: \"a: dog\"}\n");
    text(&root.join("labels/train/a.txt"), "1 0.25 0.5 0.5 0.5 0.25 1\n0 0.1 0.2 0.9 0.2 0.9 0.8 0.1 0.8\n");
    text(&root.join("labels/val/c.txt"), "0 0.5 0.5 0.2 0.4\n");
}

#[test]
fn yolo_to_coco_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let [from, coco, yolo] = ["from", "coco", "yolo"].map(|name| dir.path().join(name));
    yolo_folder(&from);
    let set = open(&from);
    assert_eq!(set.categories, ["cat", "a: dog"]);
    let found = objects(&set);
    let names: Vec<&str> = found.iter().map(|(_, name, _)| &name[..]).collect();
    assert_eq!(names, ["a.png", "deep/b.png", "c.png"]);
    assert_eq!(found[0].2[0].outline, Outline::Rings(vec![vec![5.0, 5.0, 10.0, 5.0, 5.0, 10.0]]));
    assert_eq!(found[2].2[0].bbox, [4.0, 3.0, 2.0, 4.0]);

    assert_eq!(write_coco(&set, &coco).unwrap(), Notes::default());
    let read = open(&coco);
    assert_eq!(read.categories, set.categories);
    assert_eq!(objects(&read), found);
    // as the detector reads it
    let file = crate::CocoFile::read(&coco.join("annotations/instances_train.json")).unwrap();
    let data =
        crate::CocoDataset::new(file, &coco.join("images/train"), crate::check::OnProblem::Skip).unwrap();
    assert_eq!((data.len(), data.report().skipped), (2, 0));

    // a box among outlines becomes an outline, and is said
    let notes = write_yolo(&read, &yolo).unwrap();
    let said: Vec<_> = notes.iter().collect();
    assert_eq!(said.len(), 1);
    assert!(said[0].0.contains("four corners") && said[0].1 == 1, "{said:?}");
    let again = objects(&open(&yolo));
    for ((_, name, back), (_, _, first)) in again.iter().zip(&found) {
        for (back, first) in back.iter().zip(first) {
            let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9);
            assert!(
                back.category == first.category && near(&back.bbox, &first.bbox),
                "{name}: {back:?} {first:?}"
            );
        }
    }
}

#[test]
fn boxes_alone_come_back_and_what_is_lost_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("a.png");
    picture(&source, 10, 10);
    let mask = Rle::from_bitmap(Size::new(10, 10), &[1; 100]).unwrap();
    let object = |outline, crowd| Object { category: 0, bbox: [1.0, 2.0, 3.0, 4.0], outline, crowd };
    let objects = vec![object(Outline::None, false), object(Outline::Mask(mask), true)];
    let image = AnnotatedImage { source, name: "a.png".into(), size: Size::new(10, 10), objects };
    let parts = vec![Part { name: "train".into(), images: vec![image] }];
    let set = AnnotatedSet { categories: vec!["x".into()], parts, notes: Notes::default() };
    let to = dir.path().join("yolo");
    let notes = write_yolo(&set, &to).unwrap();
    let words: Vec<&str> = notes.iter().map(|(what, _)| what).collect();
    assert!(
        words.iter().any(|what| what.contains("crowds"))
            && words.iter().any(|what| what.contains("run lengths"))
    );
    let back = open(&to);
    let bbox = back.parts[0].images[0].objects[0].bbox;
    assert!(bbox.iter().zip([1.0, 2.0, 3.0, 4.0]).all(|(a, b)| (a - b).abs() < 1e-9), "{bbox:?}");
    // masks and crowds stay in COCO
    let coco = dir.path().join("coco");
    write_coco(&set, &coco).unwrap();
    assert_eq!(open(&coco).parts[0].images[0].objects, set.parts[0].images[0].objects);
}

#[test]
fn several_outlines_of_an_object_keep_their_pixels_in_yolo() {
    let size = Size::new(20, 20);
    let square = |x: f64, y: f64| vec![x, y, x + 5.0, y, x + 5.0, y + 5.0, x, y + 5.0];
    let object = Object::of_rings(0, vec![square(1.0, 1.0), square(10.0, 12.0), square(2.0, 13.0)]);
    let joined = yolo::values_for_tests(&object);
    let area = |rings: &[Vec<f64>]| {
        let points = rings.iter().map(|ring| ring.chunks_exact(2).map(|p| (p[0], p[1])));
        kat_images::polygon::fill(points, size).unwrap().area()
    };
    let Outline::Rings(rings) = &object.outline else { panic!() };
    assert_eq!((area(&[joined]), area(rings)), (75, 75));
}

#[test]
fn voc_by_its_lists() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let xml = |name: &str, width: u32, difficult: u8| {
        format!(
            "<annotation><filename>{name}.jpg</filename><size><width>{width}</width><height>8</height></size>\
             <object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>1</xmin><ymin>3</ymin>\
             <xmax>10</xmax><ymax>8</ymax></bndbox></object></annotation>"
        )
    };
    for (name, difficult) in [("dog", 0), ("cat", 1), ("ant", 0)] {
        picture(&root.join(format!("JPEGImages/{name}.png")), 10, 8);
        text(&root.join(format!("Annotations/{name}.xml")), &xml(name, 10, difficult));
    }
    text(&root.join("ImageSets/Main/train.txt"), "dog\n");
    text(&root.join("ImageSets/Main/val.txt"), "cat  1\n");
    let set = open(root);
    assert_eq!(set.categories, ["ant", "cat", "dog"]);
    assert_eq!(set.parts.iter().map(|part| &part.name[..]).collect::<Vec<_>>(), ["train", "val"]);
    let dog = &set.parts[0].images[0].objects[0];
    assert_eq!((dog.category, dog.bbox, dog.crowd), (2, [0.0, 2.0, 10.0, 6.0], false));
    assert!(set.parts[1].images[0].objects[0].crowd);
    let notes: Vec<&str> = set.notes.iter().map(|(what, _)| what).collect();
    assert!(notes.iter().any(|what| what.contains("such as ant")), "{notes:?}");
    text(&root.join("Annotations/dog.xml"), &xml("dog", 11, 0));
    let error = Format::Voc.read(root).unwrap_err().to_string();
    assert!(error.contains("dog.xml: drawn on 11 x 8 pixels, the image has 10 x 8"), "{error}");
}

#[test]
fn labelme_shapes_and_groups() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    picture(&root.join("a.png"), 20, 20);
    let shape = |kind: &str, points: &str, group: &str| {
        format!(r#"{{"label": "{kind}", "points": {points}, "shape_type": "{kind}", "group_id": {group}}}"#)
    };
    let shapes = [
        shape("polygon", "[[0,0],[4,0],[0,4]]", "1"),
        shape("polygon", "[[9,9],[12,9],[9,12]]", "1"),
        shape("rectangle", "[[8,6],[2,3]]", "null"),
        shape("circle", "[[10,10],[10,15]]", "null"),
        shape("line", "[[1,1],[2,2]]", "null"),
    ];
    let json =
        |shapes: &str| format!(r#"{{"version": "5", "imagePath": "..\\a.png", "shapes": [{shapes}]}}"#);
    text(&root.join("a.json"), &json(&shapes.join(",")));
    let set = open(root);
    assert_eq!(set.categories, ["circle", "polygon", "rectangle"]);
    let objects = &set.parts[0].images[0].objects;
    assert_eq!(objects.len(), 3);
    assert_eq!((objects[0].bbox, objects[1].bbox), ([0.0, 0.0, 12.0, 12.0], [2.0, 3.0, 6.0, 3.0]));
    assert!((objects[2].bbox[2] - 10.0).abs() < 1e-9);
    assert_eq!(set.notes.iter().count(), 1);
    text(&root.join("a.json"), &json(&shape("rectangle", "[[1,1]]", "null")));
    let error = Format::LabelMe.read(root).unwrap_err().to_string();
    assert!(error.contains("shapes[0]: a rectangle of 1 points"), "{error}");
}

#[test]
fn roboflow_and_single_files() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let json = r#"{"images": [{"id": 0, "file_name": "a.png", "width": 6, "height": 4}],
        "categories": [{"id": 0, "name": "things", "supercategory": "none"}, {"id": 1, "name": "cat", "supercategory": "things"}],
        "annotations": [{"id": 0, "image_id": 0, "category_id": 1, "bbox": [0, 0, 2, 2], "area": 4, "segmentation": []}]}"#;
    for part in ["train", "valid"] {
        picture(&root.join(part).join("a.png"), 6, 4);
        text(&root.join(part).join("_annotations.coco.json"), json);
    }
    let set = open(root);
    assert_eq!(set.categories, ["cat"]);
    assert_eq!(set.parts.iter().map(|part| &part.name[..]).collect::<Vec<_>>(), ["train", "val"]);
    let mut single = open(&root.join("train/_annotations.coco.json"));
    assert!(single.hold_out(0.5, 1).unwrap_err().contains("too few"));
    let image = single.parts[0].images[0].clone();
    single.parts[0].images =
        (0..10).map(|i| AnnotatedImage { name: format!("{i}.png"), ..image.clone() }).collect();
    let held = |seed: u64| {
        let mut set = single.clone();
        set.hold_out(0.3, seed).unwrap();
        assert_eq!(set.parts[0].images.len(), 7);
        set.parts[1].images.iter().map(|image| image.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!((held(1), held(1).len()), (held(1), 3));
    assert!((2..9).any(|seed| held(seed) != held(1)));
}

#[test]
fn errors_name_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let error = Format::of(root).unwrap_err().to_string();
    assert!(error.contains("data.yaml (YOLO)"), "{error}");
    yolo_folder(root);
    for (line, part) in [
        ("7 0.5 0.5 0.2 0.4", "expected a number below 2"),
        ("0 0.5 0.5 0.2", "3 numbers after the class"),
        ("0 0.5 0.5 0.2 x", "\"x\", expected a number"),
    ] {
        text(&root.join("labels/val/c.txt"), &format!("0 0.5 0.5 0.2 0.4\n{line}\n"));
        let error = Format::Yolo.read(root).unwrap_err().to_string();
        assert!(error.contains("c.txt: line 2:") && error.contains(part), "{error}");
    }
}
