//! An image file before its pixels are decoded: the size is known first, so that a part can be chosen and no more
//! than that part decoded.

use image::{ImageFormat, RgbImage};

use super::jpeg::Jpeg;
use super::orientation::Orientation;
use super::other::Other;
use super::{DecodeError, DecodeOptions, ExifPolicy, check_short_side, crop};
use crate::{Rect, Size};

/// An image in memory whose header is read and whose pixels are not.
pub struct Encoded<'a> {
    stream: Stream<'a>,
    /// As stored.
    size: Size,
    orientation: Orientation,
}

enum Stream<'a> {
    Jpeg(Jpeg<'a>),
    Other(Other<'a>),
}

impl<'a> Encoded<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// Any [`DecodeError`] but those that name a file.
    pub fn open(bytes: &'a [u8], options: &DecodeOptions) -> Result<Self, DecodeError> {
        if bytes.is_empty() {
            return Err(DecodeError::Empty);
        }
        if super::foreign::name(bytes).is_some() {
            return Err(DecodeError::unknown(bytes));
        }
        let stream = match image::guess_format(bytes) {
            Ok(ImageFormat::Jpeg) => Stream::Jpeg(Jpeg::open(bytes, options)?),
            Ok(format) => Stream::Other(Other::open(bytes, format, options)?),
            Err(_) => return Err(DecodeError::unknown(bytes)),
        };
        let (size, orientation) = match &stream {
            Stream::Jpeg(jpeg) => (jpeg.size(), jpeg.orientation()),
            Stream::Other(other) => (other.size(), other.orientation()),
        };
        check_short_side(size, options.short_side).map_err(DecodeError::Strip)?;
        let orientation = match options.exif {
            ExifPolicy::Apply => orientation,
            ExifPolicy::Ignore => Orientation::UPRIGHT,
        };
        Ok(Self { stream, size, orientation })
    }

    /// Width and height of the image as it will be decoded.
    pub fn size(&self) -> Size {
        self.orientation.upright_size(self.size)
    }

    /// The whole image, with the pixels in the allocation of `buffer` where the format permits (upright JPEG). Give
    /// the buffer back with [`RgbImage::into_raw`] once the image is done with.
    ///
    /// # Errors
    /// Any [`DecodeError`] but those that name a file.
    pub fn decode(self, buffer: Vec<u8>) -> Result<RgbImage, DecodeError> {
        let whole = Rect::whole(self.size());
        self.decode_region(whole, buffer)
    }

    /// The part `region`, cut to the image: the same pixels as the whole image has there. Only a baseline JPEG is
    /// decoded in part, and not read below the region: damage or an end of file there goes unnoticed.
    ///
    /// # Errors
    /// [`DecodeError::NoPixels`] if nothing of the region lies in the image, else as [`Self::decode`].
    pub fn decode_region(self, region: Rect, buffer: Vec<u8>) -> Result<RgbImage, DecodeError> {
        self.decode_counting(region, buffer).map(|(image, _)| image)
    }

    /// The whole image, and what is odd about the file though it decodes: every reader gives these pixels, but they
    /// may not be the ones that were written.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_checked(self) -> Result<(RgbImage, Option<String>), DecodeError> {
        let whole = Rect::whole(self.size());
        let (image, left_over) = self.decode_counting(whole, Vec::new())?;
        let note = format!("damaged JPEG? {left_over} bytes belong to no pixel, as after a changed bit");
        Ok((image, (left_over > 0).then_some(note)))
    }

    /// A part, and the number of bytes that belong to none of its pixels.
    fn decode_counting(self, region: Rect, buffer: Vec<u8>) -> Result<(RgbImage, usize), DecodeError> {
        let region = region.within(self.size());
        if region.width == 0 || region.height == 0 {
            let (width, height) = (region.width.into(), region.height.into());
            return Err(DecodeError::NoPixels { width, height });
        }
        let stored = self.orientation.stored_rect(region, self.size);
        let (image, left_over) = match self.stream {
            Stream::Jpeg(jpeg) => jpeg.decode(stored, buffer)?,
            Stream::Other(other) => (crop(other.decode()?, stored)?, 0),
        };
        Ok((self.orientation.apply(image), left_over))
    }
}
