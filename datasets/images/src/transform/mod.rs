//! What training and evaluation do to images, with boxes, masks and label maps carried along.
//!
//! One file a transform. Every random transform draws from the generator it is given and from nothing else, so a
//! seed decides the result.

use crate::Size;

pub mod affine;
pub mod blur;
pub mod category_crop;
pub mod color;
pub mod color_jitter;
pub mod crop;
pub mod flip;
pub mod hsv;
pub mod mixup;
pub mod normalize;
pub mod opencv;
pub mod photometric;
pub mod rand_augment;
mod rand_augment_spec;
pub mod random_erasing;
pub mod random_resized_crop;
pub mod random_scale;
mod resample;
pub mod resize;
pub mod scale_jitter;
pub mod shortest_edge;
pub mod target;
pub mod three_augment;

/// Why a transform cannot be made or applied.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TransformError {
    /// A setting out of its range.
    #[error("{field} is {found}, expected {expected}")]
    Config {
        /// Name of the setting.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// An image, region or result without a pixel.
    #[error("{what} is {width}x{height} pixels: no pixel in it")]
    Empty {
        /// What is empty.
        what: &'static str,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// A result that no memory should be asked for: a strip of one pixel across grows by its length.
    #[error(
        "{what} would be {width}x{height} pixels, more than the limit of {limit} pixels: the image is too long a strip"
    )]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Pixels allowed.
        limit: u64,
    },
    /// A label map or mask of another size than its image.
    #[error("the {what} is {:?} pixels, its image {:?}", found.dimensions(), image.dimensions())]
    SizeMismatch {
        /// Label map or mask.
        what: &'static str,
        /// Its size.
        found: Size,
        /// The image's size.
        image: Size,
    },
    /// An image larger than the canvas it is to be written to.
    #[error("an image of {:?} pixels does not fit a canvas of {:?}", image.dimensions(), canvas.dimensions())]
    DoesNotFit {
        /// Its size.
        image: Size,
        /// Its size.
        canvas: Size,
    },
    /// An output slice of the wrong length.
    #[error("the output slice holds {found} numbers, expected {expected}")]
    BufferLength {
        /// Length given.
        found: usize,
        /// Length needed.
        expected: usize,
    },
    /// A target of another task than the transform's.
    #[error("sample {id}: the target is {found}, expected {expected}")]
    Target {
        /// The sample.
        id: String,
        /// Kind of target found.
        found: &'static str,
        /// Kind of target expected.
        expected: &'static str,
    },
}

/// `Ok` if `holds`, else an error about `field`.
pub(crate) fn check(
    holds: bool,
    field: &'static str,
    found: impl std::fmt::Debug,
    expected: &'static str,
) -> Result<(), TransformError> {
    if holds { Ok(()) } else { Err(TransformError::Config { field, found: format!("{found:?}"), expected }) }
}

/// `Ok` if `value` is a probability.
pub(crate) fn check_probability(field: &'static str, value: f64) -> Result<(), TransformError> {
    check((0.0..=1.0).contains(&value), field, value, "a probability in [0, 1]")
}

/// Uniform in [low, high), `low` where the range is empty.
pub(crate) fn uniform(rng: &mut impl rand::Rng, low: f64, high: f64) -> f64 {
    use rand::RngExt;
    low + (high - low) * rng.random::<f64>()
}

/// Rounds half to even, as Python's `round` does.
pub(crate) fn round_half_even(value: f64) -> i64 {
    value.round_ties_even() as i64
}

#[cfg(test)]
pub(crate) mod testing {
    //! Images and generators shared by the tests.
    use image::{Rgb, RgbImage};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    pub(crate) fn rng(seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed)
    }

    /// FNV-1a, by which pixels are compared with those of another program.
    pub(crate) fn fnv(bytes: &[u8]) -> u64 {
        let step = |hash: u64, b: &u8| (hash ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3);
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
    }

    /// An image in which neighbours and channels differ.
    pub(crate) fn pattern(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            Rgb([(x * 7 + y * 3) as u8, (x * x + y) as u8, (x ^ (y * 5)) as u8])
        })
    }
}
