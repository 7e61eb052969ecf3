//! Which blocks of each component a part of the image needs.

use std::ops::Range;

use crate::Rect;

/// The part of the image that is wanted, in pixels.
pub(in crate::decode) struct Region {
    pub(in crate::decode) columns: Range<usize>,
    pub(in crate::decode) rows: Range<usize>,
}

impl Region {
    /// `None` if `rect` is empty or not inside the image of that width and height.
    pub(in crate::decode) fn new(rect: Rect, size: (usize, usize)) -> Option<Self> {
        let range = |start: u32, length: u32, size: usize| {
            let range = start as usize..start as usize + length as usize;
            (length > 0 && range.end <= size).then_some(range)
        };
        Some(Self { columns: range(rect.x, rect.width, size.0)?, rows: range(rect.y, rect.height, size.1)? })
    }

    /// The samples of a component that the region needs, where one sample stands for `(h, v)` pixels: upsampling
    /// looks one sample to each side.
    fn samples(&self, size: (usize, usize), (h, v): (usize, usize)) -> (Range<usize>, Range<usize>) {
        (covering(&self.columns, size.0, h), covering(&self.rows, size.1, v))
    }

    /// The blocks of 8 x 8 samples that hold these; `size` is the image's width and height.
    pub(in crate::decode) fn blocks(&self, size: (usize, usize), pixels: (usize, usize)) -> Blocks {
        let (columns, rows) = self.samples(size, pixels);
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
pub(in crate::decode) struct Blocks {
    pub(in crate::decode) columns: Range<usize>,
    pub(in crate::decode) rows: Range<usize>,
}

/// The samples of one component, or those of some of its blocks.
pub(in crate::decode) struct Plane {
    pub(in crate::decode) blocks: Blocks,
    samples: Vec<u8>,
    pub(in crate::decode) stride: usize,
}

impl Plane {
    pub(in crate::decode) fn new(blocks: Blocks) -> Self {
        let stride = blocks.columns.len() * 8;
        Self { samples: vec![0; stride * blocks.rows.len() * 8], stride, blocks }
    }

    /// From the first sample of a block on, if the plane holds it.
    #[inline(always)]
    pub(in crate::decode) fn block(&mut self, x: usize, y: usize) -> Option<&mut [u8]> {
        if !self.blocks.columns.contains(&x) || !self.blocks.rows.contains(&y) {
            return None;
        }
        let (x, y) = (x - self.blocks.columns.start, y - self.blocks.rows.start);
        Some(&mut self.samples[(y * self.stride + x) * 8..])
    }

    /// The samples `columns` of row `y`, counted from the corner of the image.
    pub(in crate::decode) fn row(&self, y: usize, columns: Range<usize>) -> &[u8] {
        let left = self.blocks.columns.start * 8;
        let row = &self.samples[(y - self.blocks.rows.start * 8) * self.stride..][..self.stride];
        &row[columns.start - left..columns.end - left]
    }
}
