//! Any image file to 8-bit RGB, upright.
//!
//! The format is told by the first bytes, never by the file's extension. Gray becomes three equal channels, a
//! palette is looked up, 16 bits keep their high byte, alpha is dropped (as PIL's `convert("RGB")` does), CMYK is
//! taken as Adobe writes it. A JPEG is decoded to the values of libjpeg; where its data is damaged or missing it is an
//! error, while libjpeg would warn and invent the rest.

mod baseline;
mod encoded;
mod error;
mod foreign;
mod general;
mod guard;
mod jpeg;
mod orientation;
mod other;
mod stream;

use std::path::Path;

use image::{DynamicImage, RgbImage};

pub use encoded::Encoded;
pub use error::DecodeError;
pub use stream::{ImageStream, StreamError};

use crate::files::{MAX_IMAGE_BYTES, read_regular};
use crate::transform::resize::check_short_side;
use crate::{Rect, Size};

/// The number of pixels PIL refuses to go beyond.
pub const MAX_PIXELS: u64 = 178_956_970;

/// Memory that decoding one image may take, unless said otherwise: 1 GiB.
pub const MAX_MEMORY: u64 = 1 << 30;

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
    /// Images that need more bytes than this to decode are refused before any is decoded: pixels, and what the
    /// decoder holds beside them.
    pub max_memory: u64,
    /// Images that would be too long a strip once resized to this short side are refused; 0 lets in all. See
    /// [`check_short_side`].
    pub short_side: u32,
    /// Camera orientation.
    pub exif: ExifPolicy,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { max_pixels: MAX_PIXELS, max_memory: MAX_MEMORY, short_side: 0, exif: ExifPolicy::Apply }
    }
}

impl DecodeOptions {
    /// The defaults with `mebibytes` of memory an image; more memory than usual lets in more pixels than usual too.
    pub fn with_memory(mebibytes: u64) -> Self {
        let max_memory = mebibytes.saturating_mul(1 << 20);
        Self { max_memory, max_pixels: MAX_PIXELS.max(max_memory / 6), ..Self::default() }
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
    choose: impl FnOnce(Size) -> Rect,
) -> Result<RgbImage, DecodeError> {
    let image = Encoded::open(bytes, options)?;
    let region = choose(image.size());
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
    choose: impl FnOnce(Size) -> Rect,
) -> Result<RgbImage, DecodeError> {
    decode_bytes_region(&read(path)?, options, choose)
        .map_err(|source| DecodeError::File { path: path.to_owned(), source: Box::new(source) })
}

/// The pixels of an image held in memory as they are stored, neither turned nor made RGB: what label files are read by.
///
/// # Errors
/// Any [`DecodeError`] but those that name a file.
pub fn decode_stored(bytes: &[u8]) -> Result<DynamicImage, DecodeError> {
    other::stored(bytes, MAX_MEMORY)
}

fn read(path: &Path) -> Result<Vec<u8>, DecodeError> {
    read_regular(path, MAX_IMAGE_BYTES).map_err(|source| DecodeError::Read { path: path.to_owned(), source })
}

/// The whole image of the file at `path`, and what is odd about it; see [`Encoded::decode_checked`].
///
/// # Errors
/// [`DecodeError::Read`] or [`DecodeError::File`], both naming the file.
pub fn check_file(path: &Path, options: &DecodeOptions) -> Result<(RgbImage, Option<String>), DecodeError> {
    let bytes = read(path)?;
    let checked = Encoded::open(&bytes, options).and_then(Encoded::decode_checked);
    checked.map_err(|source| DecodeError::File { path: path.to_owned(), source: Box::new(source) })
}

fn check_memory(needed: u64, limit: u64) -> Result<(), DecodeError> {
    if needed > limit { Err(DecodeError::Memory { needed, limit }) } else { Ok(()) }
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
    if rect == Rect::whole(Size::of(&image)) {
        return Ok(image);
    }
    Ok(image::imageops::crop_imm(&image, rect.x, rect.y, rect.width, rect.height).to_image())
}

#[cfg(test)]
mod region_tests;
#[cfg(test)]
mod tests;
