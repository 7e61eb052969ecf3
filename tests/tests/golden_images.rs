//! Resizing and JPEG decoding against PIL's own pixels.

use image::RgbImage;
use kat_images::Filter;
use kat_images::decode::{DecodeOptions, decode_file};
use kat_images::transform::crop::CenterCrop;
use kat_images::transform::resize::resize;
use kat_tests::golden::{self, Golden};

fn open() -> Golden {
    Golden::open("image_ops.safetensors")
}

/// A (H, W, 3) tensor of bytes.
fn image(golden: &Golden, name: &str) -> RgbImage {
    let values = golden.get(name);
    let &[height, width, 3] = values.shape.as_slice() else { panic!("{name}: {:?}", values.shape) };
    let bytes = values.data.iter().map(|&v| v as u8).collect();
    RgbImage::from_raw(width as u32, height as u32, bytes).expect("as many bytes as the shape says")
}

fn assert_near(found: &RgbImage, expected: &RgbImage, levels: u8, name: &str) {
    assert_eq!(found.dimensions(), expected.dimensions(), "{name}");
    let worst = found.as_raw().iter().zip(expected.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
    let worst = worst.unwrap_or(0);
    assert!(worst <= levels, "{name}: differs by {worst} levels, expected at most {levels}");
}

#[test]
fn golden_resizes() {
    let golden = open();
    let source = image(&golden, "source");
    let mut checked = 0;
    for name in golden.tensors.keys() {
        let filter = match name.split('_').next() {
            Some("bicubic") => Filter::Bicubic,
            Some("bilinear") => Filter::Bilinear,
            Some("nearest") => Filter::Nearest,
            _ => continue,
        };
        let expected = image(&golden, name);
        let found = resize(&source, expected.dimensions().into(), filter).unwrap();
        let levels = if filter == Filter::Nearest { 0 } else { 1 };
        assert_near(&found, &expected, levels, name);
        checked += 1;
    }
    assert!(checked >= 3, "only {checked} resizes in the file");
}

#[test]
fn golden_center_crops() {
    let golden = open();
    let source = image(&golden, "source");
    let mut checked = 0;
    for name in golden.tensors.keys().filter(|name| name.starts_with("eval_crop_")) {
        let expected = image(&golden, name);
        // timm's crop share of 0.875: 64 / 0.875 = 73.1
        let crop = CenterCrop { size: expected.width(), crop_pct: 0.875, filter: Filter::Bicubic };
        assert_near(&crop.apply(&source).unwrap(), &expected, 1, name);
        checked += 1;
    }
    assert!(checked >= 1, "no center crop in the file");
}

#[test]
fn golden_jpeg() {
    let golden = open();
    let found = decode_file(&golden::dir().join("photo.jpg"), &DecodeOptions::default()).unwrap();
    assert_near(&found, &image(&golden, "jpeg_decoded"), 2, "jpeg_decoded");
}
