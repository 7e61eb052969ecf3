//! Resizing for detection: the short side to a given length, the long side no longer than a limit (detectron2's
//! ResizeShortestEdge).

use crate::Size;
use serde::{Deserialize, Serialize};

use super::resize::{check_pixels, resize_sample};
use super::{TransformError, check};
use crate::Filter;
use crate::sample::Sample;

/// Settings, with ViTDet's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShortestEdge {
    /// Length of the short side.
    pub short: u32,
    /// Greatest length of the long side; where it decides, the short side is shorter.
    pub max: u32,
}

impl Default for ShortestEdge {
    fn default() -> Self {
        Self { short: 1024, max: 1024 }
    }
}

impl ShortestEdge {
    /// # Errors
    /// [`TransformError::Config`] for a length of 0.
    pub fn validate(&self) -> Result<(), TransformError> {
        check(self.short > 0, "short", self.short, "at least 1 pixel")?;
        check(self.max > 0, "max", self.max, "at least 1 pixel")
    }

    /// The size an image gets. The steps are detectron2's, one by one: in another order of the same products, sides that end
    /// on a half are rounded to the other side.
    pub fn size(&self, size: Size) -> Size {
        let (width, height) = size.dimensions();
        let (w, h) = (f64::from(width.max(1)), f64::from(height.max(1)));
        let (short, max) = (f64::from(self.short), f64::from(self.max));
        let scale = short / w.min(h);
        let (mut new_w, mut new_h) = if h < w { (scale * w, short) } else { (short, scale * h) };
        if new_w.max(new_h) > max {
            let scale = max / new_w.max(new_h);
            (new_w, new_h) = (new_w * scale, new_h * scale);
        }
        let side = |length: f64| ((length + 0.5) as u32).max(1);
        (side(new_w), side(new_h)).into()
    }

    /// Image and target at that size.
    ///
    /// # Errors
    /// [`TransformError::Empty`] or [`TransformError::SizeMismatch`] for a sample that is no image or whose masks do
    /// not fit.
    pub fn apply(&self, sample: Sample) -> Result<Sample, TransformError> {
        check_pixels("the image", Size::of(&sample.image))?;
        let size = self.size(Size::of(&sample.image));
        resize_sample(sample, size, Filter::Bilinear)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_by_hand() {
        let edge = ShortestEdge { short: 800, max: 1333 };
        assert_eq!(edge.size((640, 480).into()), (1067, 800).into());
        assert_eq!(edge.size((480, 640).into()), (800, 1067).into());
        assert_eq!(edge.size((1000, 250).into()), (1333, 333).into());
        // 427 rows at half the size, as detectron2 rounds them
        assert_eq!(ShortestEdge { short: 320, max: 320 }.size((640, 427).into()), (320, 213).into());
        assert_eq!(ShortestEdge::default().size((20_000, 10).into()), (1024, 1).into());
    }
}
