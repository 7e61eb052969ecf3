//! Images to PNG and JPEG. The image crate's writers are generic, and compiled anew by each crate that calls them, every
//! format of them: so all of the suite writes through here.

use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, GrayImage, ImageEncoder, ImageError, ImageResult, RgbImage};

/// 8-bit pixels.
#[derive(Debug, Clone, Copy)]
pub struct Pixels<'a> {
    bytes: &'a [u8],
    size: (u32, u32),
    color: ExtendedColorType,
}

impl<'a> From<&'a RgbImage> for Pixels<'a> {
    fn from(image: &'a RgbImage) -> Self {
        Self { bytes: image, size: image.dimensions(), color: ExtendedColorType::Rgb8 }
    }
}

impl<'a> From<&'a GrayImage> for Pixels<'a> {
    fn from(image: &'a GrayImage) -> Self {
        Self { bytes: image, size: image.dimensions(), color: ExtendedColorType::L8 }
    }
}

/// A PNG file's bytes.
///
/// # Errors
/// An image without pixels.
pub fn png<'a>(image: impl Into<Pixels<'a>>) -> ImageResult<Vec<u8>> {
    encode_png(image.into())
}

/// A JPEG file's bytes, of a quality from 1 to 100.
///
/// # Errors
/// An image without pixels, or with a side above 65,535.
pub fn jpeg<'a>(image: impl Into<Pixels<'a>>, quality: u8) -> ImageResult<Vec<u8>> {
    encode_jpeg(image.into(), quality)
}

/// Writes a PNG file.
///
/// # Errors
/// As [`png`], and a file that cannot be written.
pub fn save_png<'a>(image: impl Into<Pixels<'a>>, path: &Path) -> ImageResult<()> {
    let bytes = encode_png(image.into())?;
    std::fs::write(path, bytes).map_err(ImageError::IoError)
}

/// Writes a JPEG file of a quality from 1 to 100.
///
/// # Errors
/// As [`jpeg`], and a file that cannot be written.
pub fn save_jpeg<'a>(image: impl Into<Pixels<'a>>, quality: u8, path: &Path) -> ImageResult<()> {
    let bytes = encode_jpeg(image.into(), quality)?;
    std::fs::write(path, bytes).map_err(ImageError::IoError)
}

fn encode_png(pixels: Pixels) -> ImageResult<Vec<u8>> {
    let (mut bytes, (width, height)) = (Vec::new(), pixels.size);
    PngEncoder::new(&mut bytes).write_image(pixels.bytes, width, height, pixels.color)?;
    Ok(bytes)
}

fn encode_jpeg(pixels: Pixels, quality: u8) -> ImageResult<Vec<u8>> {
    let (mut bytes, (width, height)) = (Vec::new(), pixels.size);
    JpegEncoder::new_with_quality(&mut bytes, quality).write_image(
        pixels.bytes,
        width,
        height,
        pixels.color,
    )?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{DecodeOptions, decode_bytes, decode_file};

    #[test]
    fn what_is_written_is_read_again() {
        let color = RgbImage::from_fn(5, 3, |x, y| image::Rgb([x as u8 * 40, y as u8 * 90, 7]));
        let gray = GrayImage::from_pixel(4, 2, image::Luma([9]));
        let options = DecodeOptions::default();
        assert_eq!(decode_bytes(&png(&color).unwrap(), &options).unwrap(), color);
        assert_eq!(
            decode_bytes(&png(&gray).unwrap(), &options).unwrap(),
            RgbImage::from_pixel(4, 2, image::Rgb([9; 3]))
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jpg");
        save_jpeg(&gray, 90, &path).unwrap();
        assert_eq!(decode_file(&path, &options).unwrap().dimensions(), (4, 2));
        assert!(save_png(&gray, &dir.path().join("none/a.png")).is_err());
    }
}
