//! What can be wrong with an image file.

use std::io;
use std::path::PathBuf;

/// Why an image could not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The file could not be read.
    #[error("cannot read image {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes of a file do not decode; `source` says why.
    #[error("image {}: {source}{}", path.display(), source.way_on())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with its bytes.
        source: Box<DecodeError>,
    },
    /// Zero bytes.
    #[error("the image is empty (0 bytes)")]
    Empty,
    /// None of the formats known.
    #[error(
        "not an image: the first bytes {head:02x?} are of no known format (JPEG, PNG, GIF, BMP, TIFF, WebP, PNM)"
    )]
    UnknownFormat {
        /// The first bytes, 8 at most.
        head: Vec<u8>,
    },
    /// More pixels than allowed; the limit guards against small files that unpack to gigabytes.
    #[error("the image is {width}x{height} pixels, more than the limit of {limit} pixels")]
    TooLarge {
        /// Width in the header.
        width: u64,
        /// Height in the header.
        height: u64,
        /// Pixels allowed.
        limit: u64,
    },
    /// More memory than allowed.
    #[error(
        "decoding needs {} MiB, more than the limit of {} MiB; --max-image-mb or data.max_image_mb raises it",
        needed.div_ceil(1 << 20), limit >> 20
    )]
    Memory {
        /// Bytes that decoding would take.
        needed: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A strip that grows beyond what memory is for once it is resized.
    #[error(transparent)]
    Strip(crate::transform::TransformError),
    /// A decoder of the image crate gave up where it should have given an error.
    #[error("broken or unsupported {format}: its decoder panicked: {reason}")]
    Panic {
        /// Name of the format.
        format: &'static str,
        /// Text of the panic.
        reason: String,
    },
    /// The header gives a width or height of zero, or a part outside the image was asked for.
    #[error("the image is {width}x{height} pixels: nothing to decode")]
    NoPixels {
        /// Width in the header.
        width: u64,
        /// Height in the header.
        height: u64,
    },
    /// A JPEG stream that ends before its last pixel.
    #[error("truncated JPEG: {length} bytes, data ends before the image does ({reason})")]
    TruncatedJpeg {
        /// Bytes found.
        length: usize,
        /// What the decoder missed.
        reason: String,
    },
    /// A JPEG stream that is broken otherwise.
    #[error("broken JPEG: {0}")]
    Jpeg(String),
    /// An image of a kind that is not decoded.
    #[error(
        "unsupported image: {0}, expected JPEG, PNG, GIF, BMP, TIFF, WebP or PNM. Convert it to PNG or JPEG"
    )]
    UnsupportedKind(&'static str),
    /// A sound file, for all that is known, of a kind that is not decoded.
    #[error("unsupported {format}: {what}. Convert the image to PNG or a usual JPEG")]
    Unsupported {
        /// Name of the format.
        format: &'static str,
        /// What the file needs.
        what: String,
    },
    /// A broken file of another format.
    #[error("broken {format}: {source}")]
    Other {
        /// Name of the format.
        format: &'static str,
        /// What its decoder said.
        source: image::ImageError,
    },
}

impl DecodeError {
    /// What can be done, where the error itself does not say.
    fn way_on(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "; --max-image-mb or data.max_image_mb raises it",
            _ => "",
        }
    }

    pub(super) fn unknown(bytes: &[u8]) -> Self {
        match super::foreign::name(bytes) {
            Some(name) => Self::UnsupportedKind(name),
            None => Self::UnknownFormat { head: bytes[..bytes.len().min(8)].to_vec() },
        }
    }
}
