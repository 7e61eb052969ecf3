//! Small images for the report, as `data:` addresses.

use base64::Engine;
use image::imageops::{FilterType, resize};
use image::{ImageResult, RgbImage};
use kat_images::encode;

/// The image as a `data:` address, at most `side` pixels a side; small ones are enlarged in whole steps so
/// that their pixels stay square.
///
/// # Errors
/// None for an image with pixels.
pub fn data_uri(image: &RgbImage, side: u32) -> ImageResult<String> {
    let (w, h) = image.dimensions();
    let longest = w.max(h).max(1);
    let scaled = if longest > side {
        let to = |s: u32| (u64::from(s) * u64::from(side) / u64::from(longest)).max(1) as u32;
        resize(image, to(w), to(h), FilterType::Triangle)
    } else {
        let factor = (side / longest).max(1);
        resize(image, w * factor, h * factor, FilterType::Nearest)
    };
    let bytes = encode::jpeg(&scaled, 88)?;
    Ok(format!("data:image/jpeg;base64,{}", base64::engine::general_purpose::STANDARD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_scaled_to_the_side() {
        for (w, h, expected) in
            [(32, 16, (128, 64)), (1000, 500, (128, 64)), (128, 1, (128, 1)), (5000, 1, (128, 1))]
        {
            let uri = data_uri(&RgbImage::new(w, h), 128).unwrap();
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(uri.strip_prefix("data:image/jpeg;base64,").unwrap())
                .unwrap();
            let decoded = image::load_from_memory(&bytes).unwrap();
            assert_eq!((decoded.width(), decoded.height()), expected);
        }
    }
}
