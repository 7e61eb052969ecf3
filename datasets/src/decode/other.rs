//! All formats but JPEG, by the image crate.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};

use super::orientation::Orientation;
use super::{DecodeError, check_size};

/// A file whose header is read.
pub(super) struct Other<'a> {
    bytes: &'a [u8],
    format: ImageFormat,
    name: &'static str,
    decoder: Box<dyn ImageDecoder + 'a>,
}

impl<'a> Other<'a> {
    pub(super) fn open(bytes: &'a [u8], format: ImageFormat, max_pixels: u64) -> Result<Self, DecodeError> {
        let name = format_name(format).ok_or_else(|| DecodeError::unknown(bytes))?;
        let broken = |source| DecodeError::Other { format: name, source };
        let mut decoder: Box<dyn ImageDecoder + 'a> =
            Box::new(ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(broken)?);
        let (width, height) = decoder.dimensions();
        check_size(width, height, max_pixels)?;
        let mut limits = image::Limits::no_limits();
        // 16 bytes a pixel (four f32) for the image and as much again for the decoder's own needs
        limits.max_alloc = Some(max_pixels.saturating_mul(32).max(1 << 20));
        decoder.set_limits(limits).map_err(broken)?;
        Ok(Self { bytes, format, name, decoder })
    }

    /// As stored.
    pub(super) fn size(&self) -> (u32, u32) {
        self.decoder.dimensions()
    }

    pub(super) fn orientation(&self) -> Orientation {
        match self.format {
            ImageFormat::Png | ImageFormat::Tiff | ImageFormat::WebP => {
                Orientation::from_container(self.bytes)
            }
            _ => Orientation::UPRIGHT,
        }
    }

    /// The whole image as stored.
    pub(super) fn decode(self) -> Result<RgbImage, DecodeError> {
        let broken = |source| DecodeError::Other { format: self.name, source };
        DynamicImage::from_decoder(self.decoder).map(to_rgb8).map_err(broken)
    }
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
