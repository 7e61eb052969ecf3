//! Which blocks of each component a part of the image needs.

use std::ops::Range;

use super::header::Frame;
use crate::transform::resize::Rect;

/// The part of the image that is wanted, in pixels.
pub(super) struct Region {
    pub(super) columns: Range<usize>,
    pub(super) rows: Range<usize>,
}

impl Region {
    /// `None` if `rect` is empty or not inside the image.
    pub(super) fn new(rect: Rect, frame: &Frame<'_>) -> Option<Self> {
        let range = |start: u32, length: u32, size: usize| {
            let range = start as usize..start as usize + length as usize;
            (length > 0 && range.end <= size).then_some(range)
        };
        Some(Self {
            columns: range(rect.x, rect.width, frame.width)?,
            rows: range(rect.y, rect.height, frame.height)?,
        })
    }

    /// The samples of a component that the region needs, where one sample stands for `(h, v)` pixels: upsampling
    /// looks one sample to each side.
    fn samples(&self, frame: &Frame<'_>, (h, v): (usize, usize)) -> (Range<usize>, Range<usize>) {
        (covering(&self.columns, frame.width, h), covering(&self.rows, frame.height, v))
    }

    /// The blocks of 8 x 8 samples that hold these.
    pub(super) fn blocks(&self, frame: &Frame<'_>, pixels: (usize, usize)) -> Blocks {
        let (columns, rows) = self.samples(frame, pixels);
        let blocks = |samples: Range<usize>| samples.start / 8..samples.end.div_ceil(8);
        Blocks { columns: blocks(columns), rows: blocks(rows) }
    }
}

/// The samples along one axis that `pixels` of `size` need, of `each` pixels a sample.
fn covering(pixels: &Range<usize>, size: usize, each: usize) -> Range<usize> {
    let reach = each - 1;
    let (start, end) = (pixels.start / each, pixels.end.div_ceil(each));
    start.saturating_sub(reach)..(end + reach).min(size.div_ceil(each))
}

/// A rectangle of blocks.
pub(super) struct Blocks {
    pub(super) columns: Range<usize>,
    pub(super) rows: Range<usize>,
}

/// The samples of one component, or those of some of its blocks.
pub(super) struct Plane {
    pub(super) blocks: Blocks,
    samples: Vec<u8>,
    pub(super) stride: usize,
}

impl Plane {
    pub(super) fn new(blocks: Blocks) -> Self {
        let stride = blocks.columns.len() * 8;
        Self { samples: vec![0; stride * blocks.rows.len() * 8], stride, blocks }
    }

    /// From the first sample of a block on, if the plane holds it.
    #[inline(always)]
    pub(super) fn block(&mut self, x: usize, y: usize) -> Option<&mut [u8]> {
        if !self.blocks.columns.contains(&x) || !self.blocks.rows.contains(&y) {
            return None;
        }
        let (x, y) = (x - self.blocks.columns.start, y - self.blocks.rows.start);
        Some(&mut self.samples[(y * self.stride + x) * 8..])
    }

    /// The samples `columns` of row `y`, counted from the corner of the image.
    pub(super) fn row(&self, y: usize, columns: Range<usize>) -> &[u8] {
        let left = self.blocks.columns.start * 8;
        let row = &self.samples[(y - self.blocks.rows.start * 8) * self.stride..][..self.stride];
        &row[columns.start - left..columns.end - left]
    }
}
