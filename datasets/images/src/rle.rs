//! Masks as run lengths, the form COCO exchanges them in.
//!
//! Runs go down the columns, one column after the other, and alternate between outside and inside, outside first.

use image::GrayImage;

use crate::Size;

/// A malformed mask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// The runs do not cover the mask.
    #[error("RLE `counts` sum to {sum}, but `size` {}x{} has {} pixels", size.height, size.width, size.area())]
    Sum {
        /// Sum of the runs.
        sum: u64,
        /// Size of the mask.
        size: Size,
    },
    /// The compressed text is not COCO's.
    #[error("RLE `counts` text: {0}")]
    Text(String),
    /// Mask and image differ in size.
    #[error("RLE `size` is {}x{}, expected {}x{}", found.height, found.width, expected.height, expected.width)]
    Size {
        /// Size found.
        found: Size,
        /// Size expected.
        expected: Size,
    },
    /// More pixels than 32-bit runs can count.
    #[error("mask of {}x{} has more than 2^32 - 1 pixels", .0.height, .0.width)]
    TooLarge(Size),
    /// A bitmap of another length than its size has pixels.
    #[error("bitmap: found {found} entries, expected {expected}")]
    Bitmap {
        /// Pixels given.
        found: usize,
        /// Pixels of the size.
        expected: usize,
    },
    /// A polygon that encloses nothing.
    #[error("polygon {ring}: {reason}")]
    Polygon {
        /// Which of the object's rings, from 0.
        ring: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// A mask of an image's size as alternating run lengths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rle {
    size: Size,
    counts: Vec<u32>,
}

impl Rle {
    /// A mask from its run lengths, the first of them outside.
    ///
    /// # Errors
    /// Runs that do not add up to the number of pixels, or more pixels than they can count.
    pub fn new(size: Size, counts: Vec<u32>) -> Result<Self, MaskError> {
        let pixels = countable(size)?;
        let sum = counts.iter().map(|&c| u64::from(c)).sum();
        if sum != pixels {
            return Err(MaskError::Sum { sum, size });
        }
        Ok(Self { size, counts })
    }

    /// Encodes a row-major bitmap, one byte a pixel, anything but 0 being inside.
    ///
    /// # Errors
    /// A bitmap that is not height times width long, or has more pixels than runs can count.
    pub fn from_bitmap(size: Size, bitmap: &[u8]) -> Result<Self, MaskError> {
        countable(size)?;
        if bitmap.len() != size.area() {
            return Err(MaskError::Bitmap { found: bitmap.len(), expected: size.area() });
        }
        const STRIP: usize = 64;
        let (h, w) = (size.height, size.width);
        let mut runs = Runs::default();
        // Columns are transposed a strip at a time: a walk straight down a wide bitmap misses the cache each step.
        let mut strip = vec![0u8; STRIP * h];
        for left in (0..w).step_by(STRIP) {
            let n = STRIP.min(w - left);
            for y in 0..h {
                for (x, &v) in bitmap[y * w + left..][..n].iter().enumerate() {
                    strip[x * h + y] = u8::from(v != 0);
                }
            }
            for run in strip[..n * h].chunk_by(|a, b| a == b) {
                runs.push(run[0] != 0, run.len());
            }
        }
        Ok(runs.finish(size))
    }

    /// Size of the image.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The run lengths, outside first.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// Pixels inside.
    pub fn area(&self) -> u64 {
        self.counts.iter().skip(1).step_by(2).map(|&c| u64::from(c)).sum()
    }

    /// The row-major bitmap, one byte a pixel, 0 or 1.
    pub fn to_bitmap(&self) -> Vec<u8> {
        let (h, w) = (self.size.height, self.size.width);
        let columns = self.columns(0, w);
        let mut out = vec![0; h * w];
        for (y, row) in out.chunks_exact_mut(w.max(1)).enumerate() {
            for (x, v) in row.iter_mut().enumerate() {
                *v = columns[x * h + y];
            }
        }
        out
    }

    /// The mask's pixels, 0 or 255.
    pub fn to_image(&self) -> GrayImage {
        let pixels = self.to_bitmap().into_iter().map(|v| 255 * v).collect();
        GrayImage::from_vec(self.size.width as u32, self.size.height as u32, pixels).unwrap_or_default()
    }

    /// Columns `x0..x1` (within the width), column-major, one byte a pixel, 0 or 1.
    pub(crate) fn columns(&self, x0: usize, x1: usize) -> Vec<u8> {
        let h = self.size.height;
        let (first, end) = (x0 * h, x1 * h);
        let mut out = vec![0; end - first];
        let mut at = 0;
        for (i, &count) in self.counts.iter().enumerate() {
            let next = at + count as usize;
            if i % 2 == 1 && next > first && at < end {
                out[at.max(first) - first..next.min(end) - first].fill(1);
            }
            at = next;
        }
        out
    }

    /// COCO's compressed text: each count as the difference to the one two before, in 5-bit groups, low first.
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(self.counts.len() * 2);
        for (i, &count) in self.counts.iter().enumerate() {
            let mut rest = i64::from(count) - if i > 2 { i64::from(self.counts[i - 2]) } else { 0 };
            loop {
                let group = (rest & 0x1f) as u8;
                rest >>= 5;
                // The sign is that of the last group's top bit.
                let done = rest == if group & 0x10 != 0 { -1 } else { 0 };
                text.push(char::from(48 + group + if done { 0 } else { 0x20 }));
                if done {
                    break;
                }
            }
        }
        text
    }

    /// Reads COCO's compressed text.
    ///
    /// # Errors
    /// A character outside the code, a count that is negative or too long, or counts that do not fill the image.
    pub fn from_text(size: Size, text: &str) -> Result<Self, MaskError> {
        countable(size)?;
        let bad = || MaskError::Text(format!("found {text:?}, expected COCO's compressed counts"));
        let mut counts: Vec<u32> = Vec::new();
        let mut bytes = text.bytes();
        while let Some(mut byte) = bytes.next() {
            let (mut value, mut shift) = (0i64, 0);
            loop {
                let code = byte.checked_sub(48).filter(|&c| c < 64 && shift <= 35).ok_or_else(bad)?;
                value |= i64::from(code & 0x1f) << shift;
                shift += 5;
                if code & 0x20 == 0 {
                    if code & 0x10 != 0 {
                        value |= -1 << shift;
                    }
                    break;
                }
                byte = bytes.next().ok_or_else(bad)?;
            }
            if counts.len() > 2 {
                value += i64::from(counts[counts.len() - 2]);
            }
            counts.push(u32::try_from(value).map_err(|_| bad())?);
        }
        Self::new(size, counts)
    }
}

/// The number of pixels, if 32-bit runs can count them.
pub(crate) fn countable(size: Size) -> Result<u64, MaskError> {
    match (size.height as u64).checked_mul(size.width as u64) {
        Some(pixels) if pixels <= u64::from(u32::MAX) => Ok(pixels),
        _ => Err(MaskError::TooLarge(size)),
    }
}

/// Collects runs; neighbours of the same side join.
#[derive(Default)]
pub struct Runs(Vec<u32>);

impl Runs {
    /// Appends `length` pixels inside or outside.
    pub fn push(&mut self, inside: bool, length: usize) {
        let length = length as u32;
        if length == 0 {
            return;
        }
        if self.0.is_empty() && inside {
            self.0.push(0);
        }
        match self.0.len().is_multiple_of(2) {
            last_inside if last_inside == inside && !self.0.is_empty() => {
                if let Some(last) = self.0.last_mut() {
                    *last += length;
                }
            }
            _ => self.0.push(length),
        }
    }

    /// The mask; what is not yet said is outside.
    pub fn finish(mut self, size: Size) -> Rle {
        let said: u64 = self.0.iter().map(|&c| u64::from(c)).sum();
        self.push(false, (size.area() as u64).saturating_sub(said) as usize);
        Rle { size, counts: self.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size::new(3, 4);

    #[test]
    fn runs_go_down_the_columns() {
        // x: 0 1 2 3
        let bitmap = [0, 1, 0, 0, /**/ 0, 1, 1, 0, /**/ 0, 0, 1, 9];
        let rle = Rle::from_bitmap(SIZE, &bitmap).unwrap();
        assert_eq!(rle.counts(), [3, 2, 2, 2, 2, 1]);
        assert_eq!(rle.area(), 5);
        assert_eq!(rle.to_bitmap(), bitmap.map(|v| v.min(1)));
    }

    #[test]
    fn text_by_hand() {
        // 3, 2, 2, then 2-2=0, 2-2=0, 1-2=-1: one group each, 48 + value; -1 is 0x1f with its top bit set.
        let rle = Rle::new(SIZE, vec![3, 2, 2, 2, 2, 1]).unwrap();
        assert_eq!(rle.to_text(), "32200O");
        // 40 = 8 + 32*1: low group with the continuation bit (48 + 8 + 32 = 'X'), then 1.
        let long = Rle::new(Size::new(10, 5), vec![40, 10]).unwrap();
        assert_eq!(long.to_text(), "X1:");
    }

    #[test]
    fn text_round_trip() {
        let size = Size::new(1000, 1000);
        let counts = vec![0, 17, 31, 32, 1023, 1, 100_000, 898_896];
        let rle = Rle::new(size, counts).unwrap();
        assert_eq!(Rle::from_text(size, &rle.to_text()).unwrap(), rle);
    }

    #[test]
    fn empty_and_full() {
        assert_eq!(Rle::from_bitmap(SIZE, &[0; 12]).unwrap().counts(), [12]);
        assert_eq!(Rle::from_bitmap(SIZE, &[1; 12]).unwrap().counts(), [0, 12]);
        assert_eq!(Rle::from_bitmap(Size::new(0, 0), &[]).unwrap().area(), 0);
    }

    #[test]
    fn broken_text_is_an_error() {
        for text in ["~", "X", " ", "XXXXXXXXXXXX1", "O", "3"] {
            assert!(Rle::from_text(SIZE, text).is_err(), "{text}");
        }
        assert!(Rle::new(SIZE, vec![5]).is_err());
        assert!(Rle::from_bitmap(SIZE, &[0; 3]).is_err());
    }
}
