//! Position embedding resampling against timm's: every output tensor of pos_embed.safetensors, whatever its grid.

use kat_backbone::Size;
use kat_backbone::checkpoint::{HostTensor, pos_embed, safetensors};
use std::path::PathBuf;

fn golden(file: &str) -> PathBuf {
    let folder = std::env::var_os("KAT_GOLDEN_DIR").map(PathBuf::from);
    folder.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")).join(file)
}

/// The grid in a tensor name such as `up_20x24`.
fn grid(name: &str) -> Option<Size> {
    let (rows, columns) = name.rsplit('_').next()?.split_once('x')?;
    Some(Size::new(rows.parse().ok()?, columns.parse().ok()?))
}

/// ‖a − b‖ / ‖b‖
fn relative(a: &HostTensor, b: &HostTensor) -> f64 {
    let square = |v: f64| v * v;
    let difference: f64 = a.data.iter().zip(&b.data).map(|(&a, &b)| square(a as f64 - b as f64)).sum();
    (difference / b.data.iter().map(|&b| square(b as f64)).sum::<f64>()).sqrt()
}

#[test]
fn golden_pos_embed_resampling() {
    let path = golden("pos_embed.safetensors");
    let map = safetensors::load(&path).unwrap();
    let input = map.get("input").unwrap();
    // One class token; square unless the file's metadata says otherwise.
    let prefix = map.metadata.get("prefix_tokens").map_or(1, |p| p.parse().unwrap());
    let from = map.metadata.get("grid").and_then(|g| grid(g));
    let from = from.unwrap_or_else(|| pos_embed::square(input.shape[1] - prefix).unwrap());
    let mut compared = 0;
    for (name, expected) in &map.tensors {
        let Some(to) = grid(name) else { continue };
        let found = pos_embed::resample(input, prefix, from, to).unwrap();
        assert_eq!(found.shape, expected.shape, "{name}");
        let error = relative(&found, expected);
        println!("{name}: relative error {error:.2e}");
        assert!(error <= 1e-5, "{name}: {error:e}");
        compared += 1;
    }
    assert!(compared > 0, "{} holds no resampled grid", path.display());
}
