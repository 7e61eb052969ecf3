//! JPEG to RGB. Gray, YCbCr, RGB, CMYK and YCCK; the four-component kinds are read as Adobe writes them,
//! inverted, which is how every common reader takes them.

use image::RgbImage;

use super::baseline::{self, Frame};
use super::general::General;
use super::orientation::Orientation;
use super::{DecodeError, DecodeOptions, check_memory, check_size};
use crate::{Rect, Size};

/// A JPEG stream whose header is read.
pub(super) enum Jpeg<'a> {
    /// Of the common kind, which can be decoded in part.
    Plain { frame: Box<Frame<'a>>, bytes: &'a [u8] },
    /// Any other.
    General(Box<General<'a>>),
}

impl<'a> Jpeg<'a> {
    pub(super) fn open(bytes: &'a [u8], options: &DecodeOptions) -> Result<Self, DecodeError> {
        let stream = match Frame::parse(bytes) {
            Some(frame) => Self::Plain { frame: Box::new(frame), bytes },
            None => Self::General(Box::new(General::open(bytes)?)),
        };
        let (width, height) = stream.size().dimensions();
        check_size(width, height, options.max_pixels)?;
        let pixels = u64::from(width) * u64::from(height);
        // three bytes of RGB, and the samples before they are upsampled: as many at most
        let beside = match &stream {
            Self::Plain { .. } => pixels * 3,
            Self::General(general) => {
                general.check_length()?;
                general.memory()
            }
        };
        check_memory(pixels * 3 + beside, options.max_memory)?;
        Ok(stream)
    }

    /// As stored.
    pub(super) fn size(&self) -> Size {
        match self {
            Self::Plain { frame, .. } => Size::new(frame.height as usize, frame.width as usize),
            Self::General(general) => general.size(),
        }
    }

    pub(super) fn orientation(&self) -> Orientation {
        Orientation::from_raw(match self {
            Self::Plain { frame, .. } => frame.exif,
            Self::General(general) => general.exif(),
        })
    }

    /// The part `region` of the image as stored, not empty and inside it, in the allocation of `buffer`; and the
    /// number of bytes of the stream that belong to nothing, where that is known.
    pub(super) fn decode(self, region: Rect, mut buffer: Vec<u8>) -> Result<(RgbImage, usize), DecodeError> {
        let size = self.size();
        let part = (region.width, region.height);
        let general = match self {
            Self::General(general) => general,
            Self::Plain { frame, bytes } => {
                if frame.may_hold(region) {
                    buffer.resize(region.width as usize * region.height as usize * 3, 0);
                    if let Some(left_over) = baseline::decode(&frame, region, &mut buffer) {
                        return Ok((to_image(part.into(), buffer)?, left_over));
                    }
                }
                Box::new(General::open(bytes)?)
            }
        };
        if general.size() != size {
            let (found, expected) = (general.size(), size);
            return Err(DecodeError::Jpeg(format!("two sizes in the header, {found:?} and {expected:?}")));
        }
        let left_over = general.decode(region, &mut buffer)?;
        Ok((to_image(part.into(), buffer)?, left_over))
    }
}

fn to_image(size: Size, pixels: Vec<u8>) -> Result<RgbImage, DecodeError> {
    let (width, height) = size.dimensions();
    RgbImage::from_raw(width, height, pixels)
        .ok_or_else(|| DecodeError::Jpeg("fewer bytes than pixels".to_owned()))
}
