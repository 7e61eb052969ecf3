//! Any image file to 8-bit RGB, upright.
//!
//! The format is told by the first bytes, never by the file's extension. Gray becomes three equal channels, a
//! palette is looked up, 16 bits keep their high byte, alpha is dropped (as PIL's `convert("RGB")` does), CMYK is
//! taken as Adobe writes it. A JPEG that lacks pixels is an error; one with bad data inside is decoded as far as it
//! goes, as browsers do.

mod baseline;
mod error;
mod jpeg;
mod orientation;

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};

pub use error::DecodeError;
use orientation::Orientation;

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
    let bytes = fs::read(path).map_err(|source| DecodeError::Read { path: path.to_owned(), source })?;
    decode_bytes(&bytes, options)
        .map_err(|source| DecodeError::File { path: path.to_owned(), source: Box::new(source) })
}

/// Decodes an image held in memory.
///
/// # Errors
/// Any [`DecodeError`] but those that name a file.
pub fn decode_bytes(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, DecodeError> {
    decode_reusing(bytes, options, Vec::new())
}

/// As [`decode_bytes`], with the pixels in the allocation of `buffer` where the format permits (JPEG). Give the
/// buffer back with [`RgbImage::into_raw`] once the image is done with.
///
/// # Errors
/// Any [`DecodeError`] but those that name a file.
pub fn decode_reusing(
    bytes: &[u8],
    options: &DecodeOptions,
    mut buffer: Vec<u8>,
) -> Result<RgbImage, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    let unknown = || DecodeError::UnknownFormat { head: bytes[..bytes.len().min(8)].to_vec() };
    let format = match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => {
            let (width, height, exif) = jpeg::decode(bytes, options.max_pixels, &mut buffer)?;
            let image = RgbImage::from_raw(width, height, buffer)
                .ok_or_else(|| DecodeError::Jpeg("fewer bytes than pixels".to_owned()))?;
            return Ok(match options.exif {
                ExifPolicy::Apply => Orientation::from_raw(exif).apply(image),
                ExifPolicy::Ignore => image,
            });
        }
        Ok(format) => format,
        Err(_) => return Err(unknown()),
    };
    let name = format_name(format).ok_or_else(unknown)?;
    let broken = |source| DecodeError::Other { format: name, source };
    let mut decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, options.max_pixels)?;
    let mut limits = image::Limits::no_limits();
    // 16 bytes a pixel (four f32) for the image and as much again for the decoder's own needs
    limits.max_alloc = Some(options.max_pixels.saturating_mul(32).max(1 << 20));
    decoder.set_limits(limits).map_err(broken)?;
    let image = to_rgb8(DynamicImage::from_decoder(decoder).map_err(broken)?);
    let has_exif = matches!(format, ImageFormat::Png | ImageFormat::Tiff | ImageFormat::WebP);
    Ok(match options.exif {
        ExifPolicy::Apply if has_exif => Orientation::from_container(bytes).apply(image),
        _ => image,
    })
}

fn format_name(format: ImageFormat) -> Option<&'static str> {
    Some(match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Tiff => "TIFF",
        ImageFormat::WebP => "WebP",
        ImageFormat::Pnm => "PNM",
        _ => return None,
    })
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

/// 16-bit channels keep the high byte, as PIL does; all else is the image crate's conversion, which drops alpha.
fn to_rgb8(image: DynamicImage) -> RgbImage {
    let high = |v: u16| (v >> 8) as u8;
    match image {
        DynamicImage::ImageRgb8(image) => image,
        DynamicImage::ImageLuma16(image) => RgbImage::from_fn(image.width(), image.height(), |x, y| {
            image::Rgb([high(image.get_pixel(x, y)[0]); 3])
        }),
        DynamicImage::ImageLumaA16(image) => RgbImage::from_fn(image.width(), image.height(), |x, y| {
            image::Rgb([high(image.get_pixel(x, y)[0]); 3])
        }),
        DynamicImage::ImageRgb16(image) => RgbImage::from_fn(image.width(), image.height(), |x, y| {
            image::Rgb(image.get_pixel(x, y).0.map(high))
        }),
        DynamicImage::ImageRgba16(image) => RgbImage::from_fn(image.width(), image.height(), |x, y| {
            let [r, g, b, _] = image.get_pixel(x, y).0;
            image::Rgb([high(r), high(g), high(b)])
        }),
        other => other.to_rgb8(),
    }
}

#[cfg(test)]
mod tests;
