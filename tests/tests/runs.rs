//! What a run refuses and what it survives: renamed data, damaged checkpoints, lost directories, failed starts.

#![cfg(unix)]

use std::time::Duration;

use kat_tests::place::{Place, ended, ok, refused, step_of, until};
use kat_tests::program::run;

#[test]
fn renamed_classes_and_images_are_refused_on_resume() {
    let place = Place::new(&[]);
    ok(place.train(&[]));
    let before = std::fs::read(place.path("run/last.safetensors")).unwrap();
    let config = std::fs::read(place.path("run/config.toml")).unwrap();
    let resume = ["--resume", "--set", "train.epochs=3"];
    for part in ["train", "val"] {
        std::fs::rename(
            place.path("shapes").join(part).join("star"),
            place.path("shapes").join(part).join("a"),
        )
        .unwrap();
    }
    refused(
        &place.train(&resume),
        &["last.safetensors", "only then \"star\"", "only now \"a\"", "model.init_from"],
    );
    for part in ["train", "val"] {
        std::fs::rename(
            place.path("shapes").join(part).join("a"),
            place.path("shapes").join(part).join("star"),
        )
        .unwrap();
    }
    let mut images = std::fs::read_dir(place.path("shapes/train/star")).unwrap();
    let image = images.next().unwrap().unwrap().path();
    std::fs::rename(&image, image.with_file_name("zzz.JPEG")).unwrap();
    refused(&place.train(&resume), &["the list of training images", "expected 60 crc32c:"]);
    assert!(std::fs::read(place.path("run/last.safetensors")).unwrap() == before);
    assert!(std::fs::read(place.path("run/config.toml")).unwrap() == config, "nothing is rewritten before");
    std::fs::rename(image.with_file_name("zzz.JPEG"), &image).unwrap();
    ok(place.train(&resume));
    assert_eq!(step_of(&place.path("run/last.safetensors")), 21);
}

#[test]
fn a_resumed_run_starts_from_its_own_configuration() {
    let place = Place::new(&[]);
    ok(place.train(&["--set", "optimizer.lr=0.002", "--set", "train.epochs=1", "-o", "mine"]));
    let lr = |name: &str| {
        let text = std::fs::read_to_string(place.path(name)).unwrap();
        text.lines().find(|line| line.starts_with("lr =")).unwrap().to_owned()
    };
    // Without any configuration, and with the file that the value was changed against.
    let resumed = ok(place.classify(&["train", "--resume", "-o", "mine", "--set", "train.epochs=2"]));
    assert!(resumed.stderr.contains("train.epochs: 1 -> 2"), "{resumed:?}");
    assert_eq!(
        (lr("mine/config.toml").as_str(), step_of(&place.path("mine/last.safetensors"))),
        ("lr = 0.002", 14)
    );
    let resumed = ok(place.train(&["--resume", "-o", "mine", "--set", "train.epochs=3"]));
    assert!(resumed.stderr.contains("c.toml: optimizer.lr: 0.001 -> 0.002"), "{resumed:?}");
    assert_eq!(
        (lr("mine/config.toml").as_str(), step_of(&place.path("mine/last.safetensors"))),
        ("lr = 0.002", 21)
    );
    // The run directory of an older version may have lost its configuration: the checkpoint has it too.
    std::fs::remove_file(place.path("mine/config.toml")).unwrap();
    ok(place.classify(&["train", "--resume", "-o", "mine", "--set", "train.epochs=4"]));
    assert_eq!(lr("mine/config.toml"), "lr = 0.002");
    refused(&place.classify(&["train", "--resume", "-o", "nowhere"]), &["nothing to resume in nowhere"]);
    assert!(!place.path("nowhere").exists());
}

#[test]
fn a_start_that_failed_does_not_block_the_corrected_one_and_an_overwrite_loses_nothing_before_it_begins() {
    let place = Place::new(&[]);
    refused(&place.train(&["--set", "model.init_from=missing.pth"]), &["missing.pth"]);
    std::fs::write(place.path("run/config.toml"), "[train]\n").unwrap();
    std::fs::write(place.path("run/metrics.jsonl"), "{\"step\":1}\n").unwrap();
    ok(place.train(&[]));
    refused(&place.train(&[]), &["already holds a run", "--resume", "--overwrite"]);
    let before = std::fs::read(place.path("run/last.safetensors")).unwrap();
    refused(&place.train(&["--overwrite", "--set", "model.init_from=missing.pth"]), &["missing.pth"]);
    assert!(std::fs::read(place.path("run/last.safetensors")).unwrap() == before);
    std::fs::write(place.path("run/.last.safetensors.4711.0.tmp"), "part").unwrap();
    ok(place.train(&["--overwrite", "--set", "train.epochs=1"]));
    assert_eq!(step_of(&place.path("run/last.safetensors")), 7);
    let hidden = std::fs::read_dir(place.path("run")).unwrap().map(|e| e.unwrap().file_name());
    assert_eq!(hidden.filter(|name| name.to_string_lossy().starts_with('.')).count(), 0);
}

#[test]
fn a_directory_removed_during_a_run_ends_it() {
    let place = Place::new(&[("epochs = 2", "epochs = 10000")]);
    let child = place.start(&[]);
    until("a checkpoint", || place.path("run/last.safetensors").is_file());
    std::fs::rename(place.path("run"), place.path("moved")).unwrap();
    let (status, said) = ended(child, Duration::from_secs(20));
    assert!(
        status == 1 && said.contains("run was removed or replaced while the run was under way"),
        "{said}"
    );
    assert!(!place.path("run").exists());
}

#[test]
fn damage_in_a_checkpoint_is_noticed_everywhere() {
    let place = Place::new(&[]);
    ok(place.train(&[]));
    let good = std::fs::read(place.path("run/last.safetensors")).unwrap();
    let header = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize + 8;
    for (i, at) in [header + 4, header + (good.len() - header) / 2, good.len() - 1].into_iter().enumerate() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (i * 3);
        std::fs::write(place.path("run/last.safetensors"), &bytes).unwrap();
        let parts = ["last.safetensors", "is damaged", "checksum"];
        refused(&place.train(&["--resume", "--set", "train.epochs=3"]), &parts);
        let checkpoint = ["--checkpoint", "run/last.safetensors"];
        refused(&place.classify(&[&["eval", "--data", "shapes"], &checkpoint[..]].concat()), &parts);
        refused(&place.classify(&[&["predict", "shapes/val/star"], &checkpoint[..]].concat()), &parts);
        refused(&place.classify(&[&["export"], &checkpoint[..], &["out.safetensors"]].concat()), &parts);
        refused(&place.train(&["-o", "other", "--set", "model.init_from=run/last.safetensors"]), &parts);
    }
}

const DETECT: &str = r#"
[model]
image_size = 96
patch = 8
dim = 32
depth = 4
heads = 2
[data]
dir = "coco"
[train]
steps = 2
batch_size = 2
[detect]
window = 0
rel_pos = true
pretrain_size = 96
channels = 16
rpn_convs = 1
box_head = "two_fc"
box_hidden = 16
anchor_sizes = [12.0, 24.0, 40.0, 64.0, 96.0]
rpn_samples = 16
roi_samples = 8
proposals_train = [50, 20]
proposals_eval = [50, 20]
max_detections = 10
[output]
dir = "run"
report = false
"#;

/// Faulty annotations of every kind that training leaves out are left out of evaluation too, and what evaluation could
/// not do without is refused before the first step.
#[test]
fn one_policy_holds_for_both_splits() {
    let place = Place::new(&[]);
    let dir = place.dir();
    ok(run("detect", &["data", "make-shapes", "coco", "--images", "10"], dir));
    std::fs::write(dir.join("c.toml"), DETECT).unwrap();
    let train = |more: &[&str]| run("detect", &[&["train", "--config", "c.toml"], more].concat(), dir);
    let edit = |change: &dyn Fn(&mut serde_json::Value)| {
        let path = dir.join("coco/annotations/instances_val.json");
        let mut file = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut file);
        std::fs::write(&path, file.to_string()).unwrap();
    };
    edit(&|file| {
        let all = file["annotations"].as_array_mut().unwrap();
        let first = all[0].clone();
        for (key, value) in [
            ("bbox", serde_json::Value::Null),
            ("bbox", serde_json::json!([0, 0, -3, 2])),
            ("category_id", serde_json::json!(77)),
            ("segmentation", serde_json::json!({"size": [3, 3], "counts": [9]})),
        ] {
            let mut faulty = first.clone();
            faulty["id"] = serde_json::json!(9000 + all.len());
            faulty[key] = value;
            all.push(faulty);
        }
    });
    let trained = ok(train(&[]));
    assert!(trained.stderr.contains("4 faulty annotations left out"), "{trained:?}");
    assert!(trained.stdout.contains("val/mask_AP "), "{trained:?}");
    edit(&|file| file["categories"][0]["name"] = serde_json::json!("unheard of"));
    let run = train(&["-o", "other"]);
    refused(&run, &["\"unheard of\"", "only in the training part", "only in the held-out part"]);
    assert!(!place.path("other/metrics.jsonl").exists());
}

#[test]
fn a_run_of_an_older_version_goes_on() {
    let place = Place::new(&[]);
    ok(place.train(&["--set", "train.epochs=1"]));
    let without = |text: &str| {
        text.lines()
            .filter(|l| !l.starts_with("ema_warmup") && !l.starts_with("ema_tau"))
            .fold(String::new(), |text, line| text + line + "\n")
    };
    for name in ["last", "best"] {
        let path = place.path(&format!("run/{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        let metadata = header["__metadata__"].as_object_mut().unwrap();
        metadata.remove("kat_checksum").unwrap();
        let mut state: serde_json::Value =
            serde_json::from_str(metadata["kat_train_state"].as_str().unwrap()).unwrap();
        for key in ["train_images", "held_out_images"] {
            state.as_object_mut().unwrap().remove(key).unwrap();
        }
        metadata["kat_train_state"] = state.to_string().into();
        metadata["kat_train_config"] = without(metadata["kat_train_config"].as_str().unwrap()).into();
        let header = header.to_string().into_bytes();
        let older = [&(header.len() as u64).to_le_bytes()[..], &header, &bytes[8 + length..]].concat();
        std::fs::write(&path, older).unwrap();
    }
    std::fs::remove_file(place.path("run/sessions.jsonl")).unwrap();
    let config = std::fs::read_to_string(place.path("run/config.toml")).unwrap();
    std::fs::write(place.path("run/config.toml"), without(&config)).unwrap();
    let eval = place.classify(&["eval", "--checkpoint", "run/last.safetensors", "--data", "shapes"]);
    assert!(ok(eval).stderr.contains("the file has no checksum"));
    let resumed = ok(place.train(&["--resume", "--set", "train.epochs=2"]));
    assert!(
        resumed.stderr.contains("no checksum") && resumed.stderr.contains("list of images"),
        "{resumed:?}"
    );
    let config = std::fs::read_to_string(place.path("run/config.toml")).unwrap();
    assert!(config.contains("ema_warmup = \"none\""), "the run goes on as it began: {config}");
    assert_eq!(step_of(&place.path("run/last.safetensors")), 14);
}
