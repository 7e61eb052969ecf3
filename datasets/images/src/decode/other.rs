//! All formats but JPEG, by the image crate.

use crate::Size;
use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};

use super::guard::guarded;
use super::orientation::Orientation;
use super::{DecodeError, DecodeOptions, check_memory, check_size};

/// A file whose header is read.
pub(super) struct Other<'a> {
    bytes: &'a [u8],
    format: ImageFormat,
    name: &'static str,
    decoder: Box<dyn ImageDecoder + 'a>,
}

impl<'a> Other<'a> {
    pub(super) fn open(
        bytes: &'a [u8],
        format: ImageFormat,
        options: &DecodeOptions,
    ) -> Result<Self, DecodeError> {
        let name = format_name(format).ok_or_else(|| DecodeError::unknown(bytes))?;
        if let Some(what) = unsupported(bytes, format) {
            return Err(DecodeError::Unsupported { format: name, what: what.to_owned() });
        }
        let broken = |source| DecodeError::Other { format: name, source };
        let open = || -> Result<Box<dyn ImageDecoder + 'a>, DecodeError> {
            let reader = ImageReader::with_format(Cursor::new(bytes), format);
            let mut decoder = reader.into_decoder().map_err(broken)?;
            let (width, height) = decoder.dimensions();
            check_size(width, height, options.max_pixels)?;
            // the decoder's pixels, and RGB of 8 bits beside them where they are of another kind
            let rgb = match decoder.color_type() {
                image::ColorType::Rgb8 => 0,
                _ => u64::from(width) * u64::from(height) * 3,
            };
            check_memory(decoder.total_bytes().saturating_add(rgb), options.max_memory)?;
            let mut limits = image::Limits::no_limits();
            limits.max_alloc = Some(options.max_memory);
            decoder.set_limits(limits).map_err(broken)?;
            Ok(Box::new(decoder))
        };
        let decoder = guarded(open).map_err(|reason| DecodeError::Panic { format: name, reason })??;
        Ok(Self { bytes, format, name, decoder })
    }

    /// As stored.
    pub(super) fn size(&self) -> Size {
        self.decoder.dimensions().into()
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
        let format = self.name;
        guarded(|| DynamicImage::from_decoder(self.decoder).map(to_rgb8))
            .map_err(|reason| DecodeError::Panic { format, reason })?
            .map_err(|source| match source {
                image::ImageError::Unsupported(what) => {
                    DecodeError::Unsupported { format, what: what.to_string() }
                }
                source => DecodeError::Other { format, source },
            })
    }
}

/// The pixels of any format as they are stored, not turned: gray or color, of 8 or 16 bits.
pub(super) fn stored(bytes: &[u8], max_memory: u64) -> Result<DynamicImage, DecodeError> {
    let format = image::guess_format(bytes).map_err(|_| DecodeError::unknown(bytes))?;
    let name = match format {
        ImageFormat::Jpeg => "JPEG",
        format => format_name(format).ok_or_else(|| DecodeError::unknown(bytes))?,
    };
    let load = || {
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        let mut limits = image::Limits::no_limits();
        limits.max_alloc = Some(max_memory);
        reader.limits(limits);
        reader.decode()
    };
    guarded(load)
        .map_err(|reason| DecodeError::Panic { format: name, reason })?
        .map_err(|source| DecodeError::Other { format: name, source })
}

/// What a sound file of this kind needs that the decoder does not have, and would misread or call broken.
fn unsupported(bytes: &[u8], format: ImageFormat) -> Option<&'static str> {
    if format != ImageFormat::Tiff {
        return None;
    }
    let little = bytes.starts_with(b"II");
    let short = |at: usize| {
        let pair = bytes.get(at..)?.first_chunk::<2>()?;
        Some(if little { u16::from_le_bytes(*pair) } else { u16::from_be_bytes(*pair) })
    };
    let long = |at: usize| {
        let four = bytes.get(at..)?.first_chunk::<4>()?;
        Some(if little { u32::from_le_bytes(*four) } else { u32::from_be_bytes(*four) } as usize)
    };
    // the value of a tag of the first image: TIFF 6.0, section 2
    let directory = long(4)?;
    let tag = |wanted: u16| {
        (0..usize::from(short(directory)?)).find_map(|i| {
            let entry = directory.checked_add(2 + 12 * i)?;
            (short(entry)? == wanted).then(|| short(entry + 8)).flatten()
        })
    };
    let planes = tag(284) == Some(2);
    match tag(262) {
        Some(3) => Some("palette TIFF"),
        _ if planes && tag(322).is_some() => Some("TIFF of tiles in separate planes"),
        _ => None,
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
