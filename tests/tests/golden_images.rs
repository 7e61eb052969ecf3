//! Resizing and JPEG decoding against PIL's own pixels.

use std::path::PathBuf;

use image::RgbImage;
use kat_datasets::decode::{DecodeOptions, decode_file};
use kat_datasets::transform::crop::CenterCrop;
use kat_datasets::transform::resize::{Filter, resize};
use safetensors::SafeTensors;

fn folder() -> PathBuf {
    std::env::var_os("KAT_GOLDEN_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/golden")), PathBuf::from)
}

fn with_tensors(test: impl FnOnce(&SafeTensors<'_>)) {
    let path = folder().join("image_ops.safetensors");
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    test(&SafeTensors::deserialize(&bytes).unwrap());
}

/// A (H, W, 3) tensor of bytes.
fn image(tensors: &SafeTensors<'_>, name: &str) -> RgbImage {
    let tensor = tensors.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
    let &[height, width, 3] = tensor.shape() else { panic!("{name}: shape {:?}", tensor.shape()) };
    RgbImage::from_raw(width as u32, height as u32, tensor.data().to_vec()).unwrap()
}

fn assert_near(found: &RgbImage, expected: &RgbImage, levels: u8, name: &str) {
    assert_eq!(found.dimensions(), expected.dimensions(), "{name}");
    let worst = found.as_raw().iter().zip(expected.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst.unwrap_or(0) <= levels, "{name}: differs by {worst:?} levels, expected at most {levels}");
}

#[test]
fn golden_resizes() {
    with_tensors(|tensors| {
        let source = image(tensors, "source");
        let mut checked = 0;
        for name in tensors.names() {
            let filter = match name.split('_').next() {
                Some("bicubic") => Filter::Bicubic,
                Some("bilinear") => Filter::Bilinear,
                Some("nearest") => Filter::Nearest,
                _ => continue,
            };
            let expected = image(tensors, name);
            let found = resize(&source, expected.dimensions(), filter).unwrap();
            let levels = if filter == Filter::Nearest { 0 } else { 1 };
            assert_near(&found, &expected, levels, name);
            checked += 1;
        }
        assert!(checked >= 3, "only {checked} resizes in the file");
    });
}

#[test]
fn golden_center_crops() {
    with_tensors(|tensors| {
        let source = image(tensors, "source");
        let mut checked = 0;
        for name in tensors.names().into_iter().filter(|name| name.starts_with("eval_crop_")) {
            let expected = image(tensors, name);
            // timm's crop share of 0.875: 64 / 0.875 = 73.1
            let crop = CenterCrop { size: expected.width(), crop_pct: 0.875, filter: Filter::Bicubic };
            assert_near(&crop.apply(&source).unwrap(), &expected, 1, name);
            checked += 1;
        }
        assert!(checked >= 1, "no centre crop in the file");
    });
}

#[test]
fn golden_jpeg() {
    with_tensors(|tensors| {
        let found = decode_file(&folder().join("photo.jpg"), &DecodeOptions::default()).unwrap();
        assert_near(&found, &image(tensors, "jpeg_decoded"), 2, "jpeg_decoded");
    });
}
