//! Any image file to 8-bit RGB, upright.
//!
//! The format is told by the first bytes, never by the file's extension. Gray becomes three equal channels, a
//! palette is looked up, 16 bits keep their high byte, alpha is dropped (as PIL's `convert("RGB")` does), CMYK is
//! taken as Adobe writes it. A JPEG that lacks pixels is an error; one with bad data inside is decoded as far as it
//! goes, as browsers do.

mod baseline;
mod encoded;
mod error;
mod jpeg;
mod orientation;
mod other;

use std::fs;
use std::path::Path;

use image::RgbImage;

pub use encoded::Encoded;
pub use error::DecodeError;

use crate::transform::resize::Rect;

/// The number of pixels PIL refuses to go beyond.
pub const MAX_PIXELS: u64 = 178_956_970;

/// What to do about a camera's EXIF orientation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExifPolicy {
    /// Turn the image upright.
    #[default]
    Apply,
    /// Keep pixels as stored, for annotations made on unturned images.
    Ignore,
}

/// How to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Images with more pixels are refused before any is decoded.
    pub max_pixels: u64,
    /// Camera orientation.
    pub exif: ExifPolicy,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { max_pixels: MAX_PIXELS, exif: ExifPolicy::Apply }
    }
}

/// Decodes the file at `path`.
///
/// # Errors
/// [`DecodeError::Read`] or [`DecodeError::File`], both naming the file.
pub fn decode_file(path: &Path, options: &DecodeOptions) -> Result<RgbImage, DecodeError> {
    decode_file_region(path, options, Rect::whole)
}

/// Decodes an image held in memory.
///
/// # Errors
/// Any [`DecodeError`] but those that name a file.
pub fn decode_bytes(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, DecodeError> {
    decode_bytes_region(bytes, options, Rect::whole)
}

/// The part of an image held in memory that `choose` names; see [`decode_file_region`].
///
/// # Errors
/// Any [`DecodeError`] but those that name a file.
pub fn decode_bytes_region(
    bytes: &[u8],
    options: &DecodeOptions,
    choose: impl FnOnce((u32, u32)) -> Rect,
) -> Result<RgbImage, DecodeError> {
    let image = Encoded::open(bytes, options)?;
    let region = choose(image.dimensions());
    image.decode_region(region, Vec::new())
}

/// The part of the file at `path` that `choose` names once it knows the upright image's width and height, cut to the
/// image. Below the part, a JPEG is not read: damage there goes unnoticed.
///
/// # Errors
/// [`DecodeError::Read`] or [`DecodeError::File`], both naming the file.
pub fn decode_file_region(
    path: &Path,
    options: &DecodeOptions,
    choose: impl FnOnce((u32, u32)) -> Rect,
) -> Result<RgbImage, DecodeError> {
    decode_bytes_region(&read(path)?, options, choose)
        .map_err(|source| DecodeError::File { path: path.to_owned(), source: Box::new(source) })
}

fn read(path: &Path) -> Result<Vec<u8>, DecodeError> {
    fs::read(path).map_err(|source| DecodeError::Read { path: path.to_owned(), source })
}

fn check_size(width: u32, height: u32, limit: u64) -> Result<(), DecodeError> {
    let (width, height) = (u64::from(width), u64::from(height));
    if width == 0 || height == 0 {
        return Err(DecodeError::NoPixels { width, height });
    }
    if width * height > limit {
        return Err(DecodeError::TooLarge { width, height, limit });
    }
    Ok(())
}

/// The part `rect` of `image`, which must hold it.
fn crop(image: RgbImage, rect: Rect) -> Result<RgbImage, DecodeError> {
    if rect == Rect::whole(image.dimensions()) {
        return Ok(image);
    }
    Ok(image::imageops::crop_imm(&image, rect.x, rect.y, rect.width, rect.height).to_image())
}

#[cfg(test)]
mod region_tests;
#[cfg(test)]
mod tests;
