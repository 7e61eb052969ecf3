//! Every kind of Huffman-coded JPEG of 8 bits a sample: sequential and progressive, interleaved or one scan a
//! component, 1, 3 or 4 components, any whole sampling ratio. To the values of libjpeg's default settings, as the
//! faster decoder of the common kind next door, whose Huffman tables, inverse DCT and upsampling it uses.
//!
//! A stream that leaves a pixel undefined is an error. libjpeg would warn and invent the rest.

mod header;
mod output;
mod scan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use header::{Frame, Scan, Segments, broken};
use output::{Kind, Output};
use scan::{Coefficients, Stop};

use super::DecodeError;
use super::baseline::region::Region;
use crate::{Rect, Size};

/// More than any encoder writes: each coefficient of three components in a scan of its own.
const MAX_SCANS: usize = 200;

/// A stream of any kind whose header is read.
pub(super) struct General<'a> {
    segments: Segments<'a>,
    first: Scan<'a>,
    frame: Arc<Frame>,
}

impl<'a> General<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut segments = Segments::new(bytes)?;
        let first = segments.next_scan()?.ok_or_else(|| broken("the end marker comes before any scan"))?;
        let frame = segments.frame()?;
        Ok(Self { segments, first, frame })
    }

    /// Width and height as stored.
    pub(super) fn size(&self) -> Size {
        Size::new(self.frame.height as usize, self.frame.width as usize)
    }

    pub(super) fn exif(&self) -> Option<&'a [u8]> {
        self.segments.exif
    }

    /// A block takes two codes or, in a progressive stream's first scan, one: what has fewer bits than that is cut off,
    /// whatever its header claims. Checked before memory is asked for.
    pub(super) fn check_length(&self) -> Result<(), DecodeError> {
        let bits = scan::blocks_of(&self.frame, &self.first) * if self.frame.progressive { 1 } else { 2 };
        if bits.div_ceil(8) > self.first.data.len() {
            return Err(self.segments.truncated("fewer bytes than blocks"));
        }
        Ok(())
    }

    /// Bytes that decoding holds beside the file and the pixels.
    pub(super) fn memory(&self) -> u64 {
        // a coefficient of two bytes and a sample of one
        let samples = |c| {
            let (width, height) = self.frame.samples(c);
            (width as u64 + 31) * (height as u64 + 31)
        };
        (0..self.frame.components.len()).map(samples).sum::<u64>() * 3
    }

    /// The part `rect`, not empty and inside the image, in place of what `out` holds: 3 bytes a pixel. Returns the number of bytes in
    /// the stream that belong to nothing: none in a sound file, though some cameras leave a few.
    pub(super) fn decode(mut self, rect: Rect, out: &mut Vec<u8>) -> Result<usize, DecodeError> {
        let frame = &*self.frame;
        let region = Region::new(rect, (frame.width, frame.height))
            .ok_or_else(|| broken("a part outside the image"))?;
        self.check_length()?;
        out.resize(region.columns.len() * region.rows.len() * 3, 0);
        let mut coefficients = Coefficients::of(frame);
        let mut quant = vec![None; frame.components.len()];
        let only_one = !frame.progressive && self.first.components.len() == frame.components.len();
        let (mut next, mut scans, mut left_over) = (Some(self.first), 0, 0);
        while let Some(scan) = next {
            scans += 1;
            if scans > MAX_SCANS {
                return Err(broken("more than 200 scans"));
            }
            for component in &scan.components {
                // the tables of a component's first scan hold for all
                let which = frame.components[component.index].quant;
                let table = self.segments.tables.quant.get(which).copied().flatten();
                let table = table.ok_or_else(|| broken("a quantisation table is missing"))?;
                quant[component.index].get_or_insert(table);
            }
            let (rest, bytes) = scan::read(frame, &scan, &mut coefficients).map_err(|stop| match stop {
                Stop::EndOfFile => self.segments.truncated("the last scan is cut off"),
                Stop::Broken(reason) => broken(reason),
            })?;
            left_over += bytes;
            self.segments.go_on(rest);
            next = match self.segments.next_scan() {
                // nothing more is needed, so that nothing more is looked at
                _ if only_one => None,
                // a file without an end marker may still hold every pixel
                Err(DecodeError::TruncatedJpeg { .. }) if is_complete(&coefficients) => None,
                next => next?,
            };
        }
        if !is_complete(&coefficients) {
            return Err(broken("the scans leave coefficients that are never sent in full"));
        }
        let quant = quant.into_iter().flatten().collect();
        let kind = Kind::of(frame, self.segments.jfif, self.segments.adobe);
        pulp::Arch::new().dispatch(Output { frame, kind, coefficients, quant, region, out });
        Ok(left_over + self.segments.strays)
    }
}

/// Whether every coefficient came with its last bit.
fn is_complete(coefficients: &[Coefficients]) -> bool {
    coefficients.iter().all(|component| component.to_come.iter().all(|&bits| bits == Some(0)))
}
