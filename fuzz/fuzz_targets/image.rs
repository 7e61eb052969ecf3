//! Images of every format: where the whole decodes, a part of it does, to the same pixels.
#![no_main]

use kat_images::Rect;
use kat_images::decode::{DecodeOptions, Encoded};
use libfuzzer_sys::fuzz_target;

// The first four bytes choose the part.
fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first_chunk::<4>() else { return };
    let options = DecodeOptions { max_pixels: 1 << 18, ..DecodeOptions::default() };
    let Ok(image) = Encoded::open(bytes, &options) else { return };
    let (width, height) = image.size().dimensions();
    let [x, y, w, h] = choice.map(u32::from);
    let part = Rect { x: x * width / 256, y: y * height / 256, width: 1 + w * width / 256, height: 1 + h * height / 256 };
    let part = part.within(image.size());
    let region = image.decode_region(part, Vec::new());
    if let Ok(region) = &region {
        assert_eq!(region.dimensions(), (part.width, part.height));
    }
    if let Ok(whole) = Encoded::open(bytes, &options).and_then(|image| image.decode(Vec::new())) {
        assert_eq!(whole.dimensions(), (width, height));
        let region = region.expect("the whole decodes, so a part does");
        for (x, y, pixel) in region.enumerate_pixels() {
            assert_eq!(pixel, whole.get_pixel(part.x + x, part.y + y), "at {x}, {y} of {part:?}");
        }
    }
});
