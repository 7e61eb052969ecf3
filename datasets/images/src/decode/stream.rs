//! JPEG and PNG images one after another without anything between them, as `ffmpeg -f image2pipe` writes the frames of a
//! video. Where one ends is told by its own structure, not by what follows: an image is given as soon as its last byte is read,
//! and no more than one is held.

use std::io::{self, BufRead, Read as _};

use crate::files::MAX_IMAGE_BYTES;

const PNG: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// Why a stream gives no more images.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The system refused.
    #[error("cannot read the stream of images")]
    Read(#[from] io::Error),
    /// Something else where an image should begin.
    #[error(
        "byte {at} of the stream begins neither a JPEG nor a PNG (found {found:02x?}): let ffmpeg write -f image2pipe with \
             -c:v mjpeg or -c:v png"
    )]
    Unknown {
        /// Bytes before it.
        at: u64,
        /// The first bytes, 8 at most.
        found: Vec<u8>,
    },
    /// Bytes in an image that cannot be there; where it ends is then not known.
    #[error(
        "image {number} of the stream is damaged at byte {at} of the stream: {found:02x} where a marker was expected"
    )]
    Damaged {
        /// Which image, from 1 on.
        number: u64,
        /// Bytes before the fault.
        at: u64,
        /// The byte.
        found: u8,
    },
    /// The stream ended within an image.
    #[error("the stream ends within image {number}, after {length} bytes of it")]
    Cut {
        /// Which image, from 1 on.
        number: u64,
        /// Bytes that were there.
        length: u64,
    },
    /// An image without an end.
    #[error("image {number} of the stream is longer than the limit of {limit} bytes")]
    TooLong {
        /// Which image, from 1 on.
        number: u64,
        /// Bytes allowed.
        limit: u64,
    },
}

/// The images of a stream.
#[derive(Debug)]
pub struct ImageStream<R> {
    input: R,
    /// Bytes of the images before this one.
    before: u64,
    /// The image that is being read.
    image: Vec<u8>,
    number: u64,
    limit: u64,
}

impl<R: BufRead> ImageStream<R> {
    /// The images of `input`.
    pub fn new(input: R) -> Self {
        Self { input, before: 0, image: Vec::new(), number: 0, limit: MAX_IMAGE_BYTES }
    }

    /// The bytes of the next image, not decoded; none at the end of the stream.
    ///
    /// # Errors
    /// [`StreamError`]; where an image does not show its end, there is no way to the next one.
    pub fn next_image(&mut self) -> Result<Option<&[u8]>, StreamError> {
        self.before += self.image.len() as u64;
        self.image.clear();
        if self.input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        self.take(2)?;
        match self.image[..] {
            [0xff, 0xd8] => self.jpeg()?,
            [0x89, b'P'] => self.png()?,
            _ => return Err(self.unknown()),
        }
        Ok(Some(&self.image))
    }

    /// Chunks up to IEND.
    fn png(&mut self) -> Result<(), StreamError> {
        self.take(6)?;
        if self.image[..] != PNG {
            return Err(self.unknown());
        }
        loop {
            self.take(8)?;
            let [a, b, c, d, kind @ ..]: [u8; 8] = self.last();
            // its bytes and their checksum
            self.take(u64::from(u32::from_be_bytes([a, b, c, d])) + 4)?;
            if &kind == b"IEND" {
                return Ok(());
            }
        }
    }

    /// Segments and the data after each start of a scan, up to the end of the image.
    fn jpeg(&mut self) -> Result<(), StreamError> {
        let mut marker = self.marker()?;
        loop {
            marker = match marker {
                0xd9 => return Ok(()),
                // without a length: restarts and what is left of arithmetic coding
                0x01 | 0xd0..=0xd8 => self.marker()?,
                _ => {
                    self.take(2)?;
                    let length = u64::from(u16::from_be_bytes(self.last()));
                    self.take(length.saturating_sub(2))?;
                    if marker == 0xda { self.scan()? } else { self.marker()? }
                }
            }
        }
    }

    /// The code of the marker that comes next.
    fn marker(&mut self) -> Result<u8, StreamError> {
        self.take(1)?;
        let [found] = self.last();
        if found != 0xff {
            let at = self.before + self.image.len() as u64 - 1;
            return Err(StreamError::Damaged { number: self.number, at, found });
        }
        self.code()
    }

    /// What follows 0xff, which may be repeated.
    fn code(&mut self) -> Result<u8, StreamError> {
        loop {
            self.take(1)?;
            match self.last() {
                [0xff] => {}
                [code] => return Ok(code),
            }
        }
    }

    /// The data of a scan, up to and with the marker after it.
    fn scan(&mut self) -> Result<u8, StreamError> {
        loop {
            self.take_to(0xff)?;
            match self.code()? {
                0x00 | 0xd0..=0xd7 => {}
                code => return Ok(code),
            }
        }
    }

    /// The last bytes that were read; there are as many.
    fn last<const N: usize>(&self) -> [u8; N] {
        self.image.last_chunk().copied().unwrap_or([0; N])
    }

    /// Reads `count` bytes.
    fn take(&mut self, count: u64) -> Result<(), StreamError> {
        self.check(count)?;
        let got = self.input.by_ref().take(count).read_to_end(&mut self.image)? as u64;
        if got < count { Err(self.cut()) } else { Ok(()) }
    }

    /// Reads up to and with the byte `end`.
    fn take_to(&mut self, end: u8) -> Result<(), StreamError> {
        let most = self.limit.saturating_sub(self.image.len() as u64);
        self.input.by_ref().take(most).read_until(end, &mut self.image)?;
        match self.image.last() {
            Some(last) if *last == end => Ok(()),
            _ => {
                self.check(1)?;
                Err(self.cut())
            }
        }
    }

    fn check(&self, more: u64) -> Result<(), StreamError> {
        match self.image.len() as u64 + more > self.limit {
            true => Err(StreamError::TooLong { number: self.number, limit: self.limit }),
            false => Ok(()),
        }
    }

    fn cut(&self) -> StreamError {
        StreamError::Cut { number: self.number, length: self.image.len() as u64 }
    }

    fn unknown(&self) -> StreamError {
        StreamError::Unknown { at: self.before, found: self.image.iter().take(8).copied().collect() }
    }
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, RgbImage};

    use super::*;

    fn frame(i: u8, format: ImageFormat) -> Vec<u8> {
        let image =
            RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8 * 5, y as u8 * 7, i.wrapping_mul(31)]));
        let mut bytes = io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn all(bytes: &[u8]) -> (Vec<Vec<u8>>, Option<StreamError>) {
        // a buffer of a few bytes: every boundary lies somewhere in an image
        let mut stream = ImageStream::new(io::BufReader::with_capacity(7, bytes));
        stream.limit = 100_000;
        let mut images = Vec::new();
        loop {
            match stream.next_image() {
                Ok(Some(image)) => images.push(image.to_vec()),
                Ok(None) => return (images, None),
                Err(error) => return (images, Some(error)),
            }
        }
    }

    #[test]
    fn images_of_both_kinds_are_told_apart_by_their_own_ends() {
        let mut frames: Vec<Vec<u8>> =
            (0..6).map(|i| frame(i, if i % 3 == 0 { ImageFormat::Png } else { ImageFormat::Jpeg })).collect();
        // a whole JPEG in the metadata of another, fill bytes, restarts
        let inner = frames[1].clone();
        let length = (inner.len() as u16 + 2).to_be_bytes();
        frames[2].splice(2..2, [0xff, 0xff, 0xe1].into_iter().chain(length).chain(inner));
        let (found, error) = all(&frames.concat());
        assert!(error.is_none() && found == frames, "{error:?}");
        assert_eq!(all(b"").0.len(), 0);
    }

    #[test]
    fn faults_are_told_with_their_place_and_what_was_before_is_kept() {
        let (a, b) = (frame(1, ImageFormat::Jpeg), frame(2, ImageFormat::Png));
        for end in a.len() + 1..a.len() + b.len() {
            let (found, error) = all(&[&a[..], &b].concat()[..end]);
            assert_eq!(found.len(), 1);
            assert!(matches!(error, Some(StreamError::Cut { number: 2, .. })), "{end}: {error:?}");
        }
        let (_, error) = all(&[&a[..], b"GIF89a"].concat());
        let message = error.unwrap().to_string();
        assert!(
            message.contains(&format!("byte {} ", a.len())) && message.contains("image2pipe"),
            "{message}"
        );
        let mut broken = a.clone();
        broken[2] = 0;
        assert!(matches!(all(&broken).1, Some(StreamError::Damaged { number: 1, at: 2, found: 0 })));
        // an image that never ends is not held whole
        let endless = [&a[..a.len() - 2], &vec![7; 200_000]].concat();
        assert!(matches!(all(&endless).1, Some(StreamError::TooLong { number: 1, .. })));
        let mut long = b.clone();
        long[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(matches!(all(&long).1, Some(StreamError::TooLong { number: 1, .. })));
    }
}
