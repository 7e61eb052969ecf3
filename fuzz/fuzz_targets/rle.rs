//! COCO's compressed masks.
#![no_main]

use kat_images::{Rle, Size};
use libfuzzer_sys::fuzz_target;

// The first two bytes are the size.
fuzz_target!(|input: &[u8]| {
    let Some(([height, width], text)) = input.split_first_chunk::<2>() else { return };
    let size = Size::new(usize::from(*height), usize::from(*width));
    if let Ok(rle) = Rle::from_text(size, &String::from_utf8_lossy(text)) {
        assert_eq!(rle.to_bitmap().len(), size.area());
        assert_eq!(Rle::from_text(rle.size(), &rle.to_text()).ok().as_ref(), Some(&rle));
    }
});
