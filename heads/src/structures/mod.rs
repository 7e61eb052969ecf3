//! What detection passes between its steps: boxes, masks, proposals, targets, detections.
//!
//! Coordinates are pixels, x to the right, y down, (0, 0) the outer corner of the first pixel; a box is
//! `[x0, y0, x1, y1]` with x1, y1 exclusive. Names say whose a value is: `gt_` the annotation's, `pred_` the model's.

mod boxes;
mod detections;
mod masks;
mod polygons;
mod proposals;
mod rle;
mod targets;

pub use boxes::{BoxColumns, Boxes, IouMatrix};
pub(crate) use boxes::{area as box_area, clip as clip_box};
pub use detections::{Detections, ImageResult, MaskGrids};
pub use masks::InstanceMask;
pub use polygons::Polygons;
pub use proposals::Proposals;
pub use rle::Rle;
pub(crate) use rle::Runs;
pub use targets::Targets;

/// Height and width of an image in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ImageSize {
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
}

impl ImageSize {
    /// A size from rows and columns.
    pub const fn new(height: u32, width: u32) -> Self {
        Self { height, width }
    }

    /// Number of pixels.
    pub const fn pixels(self) -> usize {
        self.height as usize * self.width as usize
    }
}
