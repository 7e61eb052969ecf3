//! `classify` on images that no class folder labels: tar shards, and ImageNet's flat validation folder with a list.

use std::fs::{self, File};
use std::path::Path;

use kat_tests::program::{Run, run};
use serde_json::Value;

const SMALL: [&str; 7] = [
    "model.image_size=32",
    "model.patch=8",
    "model.dim=16",
    "model.depth=1",
    "model.heads=2",
    "train.steps=3",
    "train.batch_size=8",
];

fn classify(dir: &Path, args: &[&str]) -> String {
    let done: Run = run("classify", args, dir);
    assert_eq!(done.status, 0, "{done:?}");
    done.stdout
}

fn train(dir: &Path, output: &str, changes: &[&str]) {
    let output = format!("output.dir={output}");
    let mut args = vec!["-q", "train", "--set", &output];
    SMALL.iter().chain(changes).for_each(|change| args.extend(["--set", change]));
    classify(dir, &args);
}

/// The images of class folders: class, and the file.
fn images(root: &Path) -> Vec<(usize, std::path::PathBuf)> {
    let sorted = |path: &Path| {
        let mut all: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        all.sort();
        all
    };
    let classes = sorted(root).into_iter().filter(|path| path.is_dir()).enumerate();
    classes.flat_map(|(class, folder)| sorted(&folder).into_iter().map(move |file| (class, file))).collect()
}

fn write_shard(path: &Path, samples: &[(usize, std::path::PathBuf)]) {
    let mut shard = tar::Builder::new(File::create(path).unwrap());
    for (number, (class, file)) in samples.iter().enumerate() {
        let end = file.extension().unwrap().to_str().unwrap();
        let class = class.to_string();
        for (end, bytes) in [("cls", class.as_bytes()), (end, &fs::read(file).unwrap())] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            shard.append_data(&mut header, format!("{number:04}.{end}"), bytes).unwrap();
        }
    }
    shard.finish().unwrap();
}

#[test]
fn shards_and_lists_are_trained_on_evaluated_and_checked_as_folders_are() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    classify(dir, &["data", "make-shapes", "shapes", "--images", "60"]);
    let (train_images, val_images) = (images(&dir.join("shapes/train")), images(&dir.join("shapes/val")));
    let mut names: Vec<String> = fs::read_dir(dir.join("shapes/train"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();

    fs::create_dir_all(dir.join("web")).unwrap();
    let (first, second) = train_images.split_at(25);
    write_shard(&dir.join("web/train-0.tar"), first);
    write_shard(&dir.join("web/train-1.tar"), second);
    write_shard(&dir.join("web/val-0.tar"), &val_images);
    fs::write(dir.join("web/names.txt"), names.join("\n")).unwrap();

    fs::create_dir_all(dir.join("flat/val")).unwrap();
    let mut list = String::new();
    for (number, (class, file)) in val_images.iter().enumerate() {
        let name = format!("{number:03}.{}", file.extension().unwrap().to_str().unwrap());
        fs::copy(file, dir.join("flat/val").join(&name)).unwrap();
        list += &format!("{name} {class}\n");
    }
    fs::write(dir.join("flat/val.txt"), &list).unwrap();

    // One model, whose held-out images are in a folder, in shards and in a list.
    train(dir, "folders", &["data.dir=shapes"]);
    let eval = |more: &[&str]| -> Value {
        let args = ["eval", "--checkpoint", "folders/last.safetensors", "--json", "--data"];
        serde_json::from_str(&classify(dir, &[&args[..], more].concat())).unwrap()
    };
    let folders = eval(&["shapes/val"]);
    assert_eq!(folders["samples"], 12);
    assert_eq!(eval(&["web/val-0.tar"]), folders);
    assert_eq!(eval(&["flat/val", "--labels", "flat/val.txt"]), folders);

    let shards =
        ["data.dir=web", "data.train=train-*.tar", "data.val=val-*.tar", "data.class_names=names.txt"];
    train(dir, "shards", &shards);
    let flat = ["data.dir=.", "data.train=shapes/train", "data.val=flat/val", "data.val_labels=flat/val.txt"];
    train(dir, "lists", &flat);

    for (data, changes) in [("web", &shards[1..]), (".", &flat[1..])] {
        let mut args = vec!["data", "check", data, "--json", "--strict"];
        changes.iter().for_each(|change| args.extend(["--set", change]));
        let surveys: Value = serde_json::from_str(&classify(dir, &args)).unwrap();
        let counts: Vec<_> = surveys.as_array().unwrap().iter().map(|s| s["images"].as_u64()).collect();
        assert_eq!(counts, [Some(48), Some(12)], "{data}");
    }

    // Without names, a shard's classes cannot be told.
    let done = run("classify", &["data", "check", "web"], dir);
    assert!(done.status == 2 && done.stderr.contains("data.class_names"), "{done:?}");
}
