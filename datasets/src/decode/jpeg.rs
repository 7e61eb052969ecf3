//! JPEG to RGB. Gray, YCbCr, RGB, CMYK and YCCK; the four-component kinds are read as Adobe writes them,
//! inverted, which is how every common reader takes them.

use image::RgbImage;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use super::baseline::{self, Frame};
use super::orientation::Orientation;
use super::{DecodeError, check_size, crop};
use crate::transform::resize::Rect;

/// A JPEG stream whose header is read.
pub(super) enum Jpeg<'a> {
    /// Of the common kind, which can be decoded in part.
    Plain { frame: Box<Frame<'a>>, bytes: &'a [u8] },
    /// Any other.
    General(General<'a>),
}

impl<'a> Jpeg<'a> {
    pub(super) fn open(bytes: &'a [u8], max_pixels: u64) -> Result<Self, DecodeError> {
        let stream = match Frame::parse(bytes) {
            Some(frame) => Self::Plain { frame: Box::new(frame), bytes },
            None => Self::General(General::open(bytes)?),
        };
        let (width, height) = stream.size();
        check_size(width, height, max_pixels)?;
        Ok(stream)
    }

    /// As stored.
    pub(super) fn size(&self) -> (u32, u32) {
        match self {
            Self::Plain { frame, .. } => (frame.width as u32, frame.height as u32),
            Self::General(general) => general.size,
        }
    }

    pub(super) fn orientation(&self) -> Orientation {
        let exif = match self {
            Self::Plain { frame, .. } => frame.exif,
            Self::General(general) => general.decoder.exif().map(Vec::as_slice),
        };
        Orientation::from_raw(exif)
    }

    /// The part `region` of the image as stored, not empty and inside it, in the allocation of `buffer`.
    pub(super) fn decode(self, region: Rect, mut buffer: Vec<u8>) -> Result<RgbImage, DecodeError> {
        let size = self.size();
        let general = match self {
            Self::General(general) => general,
            Self::Plain { frame, bytes } => {
                buffer.resize(region.width as usize * region.height as usize * 3, 0);
                if baseline::decode(&frame, region, &mut buffer).is_some() {
                    return to_image((region.width, region.height), buffer);
                }
                General::open(bytes)?
            }
        };
        if general.size != size {
            let (found, expected) = (general.size, size);
            return Err(DecodeError::Jpeg(format!("two sizes in the header, {found:?} and {expected:?}")));
        }
        crop(general.decode(buffer)?, region)
    }
}

/// A stream of any kind, for the decoder that knows all and says what is wrong.
pub(super) struct General<'a> {
    decoder: Box<JpegDecoder<ZCursor<&'a [u8]>>>,
    length: usize,
    complete: bool,
    size: (u32, u32),
}

impl<'a> General<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        // A file without an end marker may still hold every pixel: only then must the decoder be strict, since its
        // strictness also refuses files with harmless oddities.
        let complete = has_end_marker(bytes);
        let options = DecoderOptions::new_fast()
            .set_max_width(usize::from(u16::MAX))
            .set_max_height(usize::from(u16::MAX))
            .set_strict_mode(!complete)
            .jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = Box::new(JpegDecoder::new_with_options(ZCursor::new(bytes), options));
        decoder.decode_headers().map_err(|error| broken(complete, bytes.len(), &error))?;
        let info = decoder.info().ok_or_else(|| DecodeError::Jpeg("no frame header".to_owned()))?;
        let size = (u32::from(info.width), u32::from(info.height));
        Ok(Self { decoder, length: bytes.len(), complete, size })
    }

    fn decode(mut self, mut buffer: Vec<u8>) -> Result<RgbImage, DecodeError> {
        let (width, height) = self.size;
        let size = width as usize * height as usize * 3;
        let wanted = self
            .decoder
            .output_buffer_size()
            .ok_or_else(|| DecodeError::Jpeg("no output size".to_owned()))?;
        if wanted != size {
            return Err(DecodeError::Jpeg(format!(
                "{wanted} output bytes for {width}x{height} RGB pixels, expected {size}"
            )));
        }
        buffer.resize(size, 0);
        self.decoder.decode_into(&mut buffer).map_err(|error| broken(self.complete, self.length, &error))?;
        to_image(self.size, buffer)
    }
}

fn to_image((width, height): (u32, u32), pixels: Vec<u8>) -> Result<RgbImage, DecodeError> {
    RgbImage::from_raw(width, height, pixels)
        .ok_or_else(|| DecodeError::Jpeg("fewer bytes than pixels".to_owned()))
}

fn broken(complete: bool, length: usize, error: &DecodeErrors) -> DecodeError {
    let reason = error.to_string();
    if complete { DecodeError::Jpeg(reason) } else { DecodeError::TruncatedJpeg { length, reason } }
}

/// Whether an end-of-image marker stands after the first scan starts.
///
/// Segments are walked by their lengths: a thumbnail inside EXIF has markers of its own.
fn has_end_marker(bytes: &[u8]) -> bool {
    let mut at = 2;
    loop {
        while bytes.get(at).is_some_and(|&b| b != 0xff) {
            at += 1;
        }
        while bytes.get(at) == Some(&0xff) {
            at += 1;
        }
        let Some(&marker) = bytes.get(at) else { return false };
        at += 1;
        match marker {
            0xd9 => return true,
            // stuffed byte, restart markers and TEM have no length
            0x00 | 0x01 | 0xd0..=0xd8 => {}
            _ => {
                let Some(length) = bytes.get(at..at + 2) else { return false };
                at += usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::has_end_marker;

    #[test]
    fn end_marker_is_looked_for_outside_segments() {
        // APP1 of 6 bytes holding a thumbnail's end marker, then a scan without end
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xe1, 0x00, 0x06, 0xff, 0xd9, 0, 0];
        bytes.extend([0xff, 0xda, 0x00, 0x02, 1, 2, 0xff, 0x00, 3]);
        assert!(!has_end_marker(&bytes));
        bytes.extend([0xff, 0xd9]);
        assert!(has_end_marker(&bytes));
        assert!(!has_end_marker(&[0xff, 0xd8]));
        assert!(!has_end_marker(&[0xff]));
    }
}
