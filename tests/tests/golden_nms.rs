//! Non-maximum suppression against torchvision's.

use std::path::PathBuf;

use kat_backbone::ops::nms::Nms;
use safetensors::SafeTensors;

fn golden_file(name: &str) -> Vec<u8> {
    let folder = std::env::var_os("KAT_GOLDEN_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden"), PathBuf::from);
    let path = folder.join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn floats(file: &SafeTensors, name: &str) -> Vec<f32> {
    let bytes = file.tensor(name).unwrap().data();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn integers(file: &SafeTensors, name: &str) -> Vec<usize> {
    let bytes = file.tensor(name).unwrap().data();
    bytes
        .chunks_exact(8)
        .map(|b| usize::try_from(i64::from_le_bytes(b.try_into().unwrap())).unwrap())
        .collect()
}

/// Every `nms.keep_T` and `nms.keep_batched_T` in the file, T being the threshold.
#[test]
fn golden_nms() {
    let bytes = golden_file("dense_ops.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let boxes: Vec<[f32; 4]> =
        floats(&file, "nms.boxes").chunks_exact(4).map(|b| b.try_into().unwrap()).collect();
    let scores = floats(&file, "nms.scores");
    let classes: Vec<u32> = integers(&file, "nms.classes").iter().map(|&c| c as u32).collect();
    let mut compared = 0;
    for name in file.names() {
        let Some(rest) = name.strip_prefix("nms.keep_") else { continue };
        let (grouped, threshold) = match rest.strip_prefix("batched_") {
            Some(threshold) => (true, threshold),
            None => (false, rest),
        };
        let nms = Nms::new(threshold.parse().unwrap());
        let kept =
            if grouped { nms.run_grouped(&boxes, &scores, &classes) } else { nms.run(&boxes, &scores) };
        assert_eq!(kept.unwrap(), integers(&file, name), "{name}");
        compared += 1;
    }
    assert!(compared >= 2, "only {compared} suppression results in the file");
}
