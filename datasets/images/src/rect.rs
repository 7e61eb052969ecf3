//! A part of an image.

use crate::Size;

/// A rectangle of whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    /// Left edge.
    pub x: u32,
    /// Top edge.
    pub y: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl Rect {
    /// All of an image of that size.
    pub fn whole(size: Size) -> Self {
        let (width, height) = size.dimensions();
        Self { x: 0, y: 0, width, height }
    }

    /// Its own size.
    pub fn size(self) -> Size {
        (self.width, self.height).into()
    }

    /// Its part inside an image of that size.
    pub fn within(self, size: Size) -> Self {
        let (width, height) = size.dimensions();
        let (x, y) = (self.x.min(width), self.y.min(height));
        Self { x, y, width: self.width.min(width - x), height: self.height.min(height - y) }
    }
}
