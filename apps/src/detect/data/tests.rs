use serde_json::{Value, json};

use super::*;
use crate::config::{Override, TaskKind, load};
use crate::shell::status;

/// A plan for these data.
fn plan(dir: &Path, sets: &[&str]) -> Plan {
    let base = ["model.name=kat_tiny_patch16_224".to_owned(), "train.steps=1".to_owned()];
    let dir = format!("data.dir={}", dir.display());
    let all = base.into_iter().chain([dir]).chain(sets.iter().map(|set| (*set).to_owned()));
    let overrides: Vec<Override> = all.map(|set| Override::parse(&set).unwrap()).collect();
    Plan::new(load(None, &overrides, TaskKind::Detect).unwrap(), TaskKind::Detect).unwrap()
}

/// An annotation file of these images, with a cat and a dog in each, and the images beside it.
fn write(file: &Path, images: &[&str]) {
    let folder = file.parent().unwrap();
    std::fs::create_dir_all(folder).unwrap();
    let (mut infos, mut annotations) = (Vec::<Value>::new(), Vec::<Value>::new());
    for (index, name) in images.iter().enumerate() {
        image::RgbImage::new(6, 4).save_with_format(folder.join(name), image::ImageFormat::Png).unwrap();
        infos.push(json!({ "id": index, "file_name": name, "width": 6, "height": 4 }));
        for category in [4, 9] {
            let id = annotations.len() + 1;
            let bbox = [0, 0, 2, 2];
            annotations.push(
                json!({ "id": id, "image_id": index, "category_id": category, "bbox": bbox, "area": 4 }),
            );
        }
    }
    let categories = json!([{ "id": 9, "name": "cat" }, { "id": 4, "name": "dog" }]);
    let text = json!({ "images": infos, "annotations": annotations, "categories": categories });
    std::fs::write(file, text.to_string()).unwrap();
}

fn files(images: &CocoImages) -> Vec<&str> {
    images.0.file().images.iter().map(|image| &image.file_name[..]).collect()
}

fn names(images: &CocoImages) -> Vec<&str> {
    images.0.categories().names().collect()
}

#[test]
fn a_share_of_one_file_is_held_out() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("labels.json");
    // two images of one file, and copies that Roboflow made of one
    let copies = ["00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100"]
        .map(|hash| format!("k_jpg.rf.{hash}.jpg"));
    let mut all = vec!["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "j"];
    all.extend(copies.iter().map(String::as_str));
    write(&file, &all);
    for seed in 0..12 {
        let plan = plan(&file, &["data.val_fraction=0.2", &format!("data.val_seed={seed}")]);
        let splits = open(&plan).unwrap();
        let (train, val) = (files(&splits.train), files(&splits.val));
        assert_eq!(train.len() + val.len(), all.len());
        assert!((3..=4).contains(&val.len()), "{val:?}");
        assert!(val.iter().all(|name| !train.contains(name)), "{val:?}");
        let copies = copies.each_ref().map(|copy| val.contains(&&copy[..]));
        assert_eq!(copies[0], copies[1]);
        assert!((0..val.len()).all(|index| splits.val.get(index).is_ok()));
        // what evaluation looks at afterwards, here and in other data
        assert_eq!(files(&open_held_out(&file, None, &plan).unwrap()), val);
        let other = dir.path().join("other.json");
        write(&other, &["x", "y"]);
        assert_eq!(files(&open_held_out(&other, None, &plan).unwrap()), ["x", "y"]);
    }
    let error = open(&plan(&file, &["data.val_fraction=0"])).unwrap_err();
    assert!(error.to_string().contains("data.val_fraction") && status(&error) == 2, "{error}");
}

#[test]
fn parts_as_tools_write_them() {
    let dir = tempfile::tempdir().unwrap();
    for (part, images) in [("train", &["a", "b"][..]), ("valid", &["c"]), ("test", &["d"])] {
        write(&dir.path().join(part).join("_annotations.coco.json"), images);
    }
    let splits = open(&plan(dir.path(), &[])).unwrap();
    assert_eq!((files(&splits.train), files(&splits.val)), (vec!["a", "b"], vec!["c"]));
    let plan_of = |sets: &[&str]| plan(dir.path(), sets);
    assert_eq!(files(&open(&plan_of(&["data.val=test"])).unwrap().val), ["d"]);
    assert_eq!(files(&open_held_out(dir.path(), Some("train"), &plan_of(&[])).unwrap()), ["a", "b"]);
    let by_path = plan_of(&["data.train=valid/_annotations.coco.json", "data.val=test"]);
    assert_eq!(files(&open(&by_path).unwrap().train), ["c"]);
    let error = open(&plan_of(&["data.train=trains"])).unwrap_err();
    assert!(error.to_string().contains("no split trains among [\"test\", \"train\", \"valid\"]"), "{error}");
    std::fs::remove_dir_all(dir.path().join("train")).unwrap();
    let error = open(&plan_of(&[])).unwrap_err().to_string();
    assert!(error.contains("no split train…"), "{error}");
}

#[test]
fn the_configuration_names_the_categories_that_count() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("labels.json");
    write(&file, &["a", "b", "c"]);
    assert_eq!(names(&open(&plan(&file, &[])).unwrap().train), ["dog", "cat"]);
    let splits = open(&plan(&file, &["data.classes=[\"cat\", \"dog\"]"])).unwrap();
    assert_eq!((names(&splits.train), names(&splits.val)), (vec!["cat", "dog"], vec!["cat", "dog"]));
    let classes = splits.train.0.instances(0).unwrap().iter().map(|object| object.class).collect::<Vec<_>>();
    assert_eq!(classes, [1, 0]);
    let splits = open(&plan(&file, &["data.classes=[\"cat\"]"])).unwrap();
    assert_eq!((names(&splits.train), splits.train.0.instances(0).unwrap().len()), (vec!["cat"], 1));
    let error = open(&plan(&file, &["data.classes=[\"Cat\"]"])).unwrap_err().to_string();
    assert!(error.contains("no category is called \"Cat\"; there are \"cat\", \"dog\""), "{error}");
}
