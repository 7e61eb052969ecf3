//! Reference boxes at every position of every pyramid level (Faster R-CNN, arXiv 1506.01497, section 3.1.1).
//!
//! # Shapes
//! A level of stride s over an image of (H, W) has (H/s, W/s) positions and A anchors at each, one an aspect ratio.
//! Anchor index: `(y * width + x) * A + a`, the order in which everything about anchors is listed. The RPN's
//! predictions come as maps (A, height, width) and (4 A, height, width): [`LevelLayout`] translates.

use serde::{Deserialize, Serialize};

use crate::error::{HeadError, same_length};
use kat_images::Boxes;

/// Sizes and shapes of the anchors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnchorConfig {
    /// Side in pixels of a square anchor, one a level, finest level first.
    pub sizes: Vec<f64>,
    /// Height over width of the anchors at a position; the area stays size².
    pub ratios: Vec<f64>,
    /// Stride in pixels of each level.
    pub strides: Vec<u32>,
    /// Where in its cell the first anchor has its centre, as a fraction of the stride, in [0, 1).
    pub offset: f32,
}

impl Default for AnchorConfig {
    /// Five levels p2 to p6, as in ViTDet's recipe.
    fn default() -> Self {
        Self {
            sizes: vec![32.0, 64.0, 128.0, 256.0, 512.0],
            ratios: vec![0.5, 1.0, 2.0],
            strides: vec![4, 8, 16, 32, 64],
            offset: 0.0,
        }
    }
}

/// Makes the anchors of a level from the size of its map.
#[derive(Debug, Clone, PartialEq)]
pub struct AnchorGenerator {
    config: AnchorConfig,
    /// For each level, the anchors around the origin.
    cells: Vec<Vec<[f32; 4]>>,
}

impl AnchorGenerator {
    /// Checks the configuration and works out the anchors around the origin.
    ///
    /// # Errors
    /// Numbers of sizes and strides that differ, a size, ratio or stride that is not positive, an offset outside
    /// [0, 1).
    pub fn new(config: AnchorConfig) -> Result<Self, HeadError> {
        same_length("anchor strides", config.strides.len(), config.sizes.len())?;
        let positive = |list: &[f64]| !list.is_empty() && list.iter().all(|&v| v.is_finite() && v > 0.0);
        if !positive(&config.sizes) {
            return Err(HeadError::value("anchor sizes", &config.sizes, "positive sizes, one a level"));
        }
        if !positive(&config.ratios) {
            return Err(HeadError::value("anchor ratios", &config.ratios, "positive ratios"));
        }
        if config.strides.contains(&0) {
            return Err(HeadError::value("anchor strides", &config.strides, "positive strides"));
        }
        if !(0.0..1.0).contains(&config.offset) {
            return Err(HeadError::value("anchor offset", config.offset, "a fraction in [0, 1)"));
        }
        let cells = config.sizes.iter().map(|&size| cell(size, &config.ratios)).collect();
        Ok(Self { config, cells })
    }

    /// Number of pyramid levels.
    pub fn levels(&self) -> usize {
        self.cells.len()
    }

    /// Anchors at a position.
    pub fn per_position(&self) -> usize {
        self.config.ratios.len()
    }

    /// The anchors of `level`, whose map has `height` by `width` positions.
    ///
    /// # Errors
    /// A level that the configuration does not have.
    pub fn level(&self, level: usize, height: usize, width: usize) -> Result<Boxes, HeadError> {
        let cell = self
            .cells
            .get(level)
            .ok_or_else(|| HeadError::value("anchor level", level, "a level of the anchor configuration"))?;
        let stride = self.config.strides[level] as f32;
        let at = |i: usize| (i as f32 + self.config.offset) * stride;
        let positions = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        Ok(positions
            .flat_map(|(x, y)| {
                let (x, y) = (at(x), at(y));
                cell.iter().map(move |&[x0, y0, x1, y1]| [x + x0, y + y0, x + x1, y + y1])
            })
            .collect())
    }
}

/// Anchors of one size around the origin, one a ratio; not rounded.
fn cell(size: f64, ratios: &[f64]) -> Vec<[f32; 4]> {
    ratios
        .iter()
        .map(|&ratio| {
            let w = (size * size / ratio).sqrt();
            let h = ratio * w;
            [-w / 2.0, -h / 2.0, w / 2.0, h / 2.0].map(|v| v as f32)
        })
        .collect()
}

/// Where the predictions of an anchor lie in the maps of its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelLayout {
    /// Rows of the map.
    pub height: usize,
    /// Columns of the map.
    pub width: usize,
    /// Anchors at a position.
    pub anchors: usize,
}

impl LevelLayout {
    /// Number of anchors of the level.
    pub const fn len(&self) -> usize {
        self.height * self.width * self.anchors
    }

    /// Whether the level has no position.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Index into an (A, height, width) map of anchor `k`'s logit.
    #[inline]
    pub const fn logit(&self, k: usize) -> usize {
        k % self.anchors * (self.height * self.width) + k / self.anchors
    }

    /// Index into a (4 A, height, width) map of anchor `k`'s delta `c` (0..4: dx, dy, dw, dh).
    #[inline]
    pub const fn delta(&self, k: usize, c: usize) -> usize {
        (k % self.anchors * 4 + c) * (self.height * self.width) + k / self.anchors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_by_hand() {
        let config = AnchorConfig { sizes: vec![32.0], strides: vec![4], ..AnchorConfig::default() };
        let anchors = AnchorGenerator::new(config).unwrap().level(0, 2, 3).unwrap();
        assert_eq!(anchors.len(), 18);
        // Ratio 1/2: width 32 √2 = 45.2548, height 22.6274; ratio 1: 32; ratio 2 the other way round.
        let (long, short) = (22.627_417, 11.313_708);
        let near = |a: [f32; 4], b: [f32; 4]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(near(anchors.as_slice()[0], [-long, -short, long, short]));
        assert_eq!(anchors.as_slice()[1], [-16., -16., 16., 16.]);
        assert!(near(anchors.as_slice()[2], [-short, -long, short, long]));
        // Position (x 2, y 1), square.
        assert_eq!(anchors.as_slice()[(3 + 2) * 3 + 1], [-8., -12., 24., 20.]);
        assert!((anchors.area(0) - 1024.0).abs() < 1e-3);
    }

    #[test]
    fn offset_moves_the_centre() {
        let config = AnchorConfig { offset: 0.5, ..AnchorConfig::default() };
        let anchors = AnchorGenerator::new(config).unwrap().level(4, 1, 1).unwrap();
        assert_eq!(anchors.as_slice()[1], [-224., -224., 288., 288.]);
    }

    #[test]
    fn layout_is_a_transposition() {
        let layout = LevelLayout { height: 2, width: 3, anchors: 3 };
        let mut seen = vec![false; layout.len()];
        for y in 0..2 {
            for x in 0..3 {
                for a in 0..3 {
                    let k = (y * 3 + x) * 3 + a;
                    assert_eq!(layout.logit(k), (a * 2 + y) * 3 + x);
                    assert_eq!(layout.delta(k, 2), ((a * 4 + 2) * 2 + y) * 3 + x);
                    seen[layout.logit(k)] = true;
                }
            }
        }
        assert!(seen.iter().all(|&s| s));
    }

    #[test]
    fn bad_configurations_are_refused() {
        let base = AnchorConfig::default;
        for config in [
            AnchorConfig { sizes: vec![32.0], ..base() },
            AnchorConfig { ratios: vec![], ..base() },
            AnchorConfig { ratios: vec![0.0], ..base() },
            AnchorConfig { strides: vec![0, 1, 2, 3, 4], ..base() },
            AnchorConfig { offset: 1.0, ..base() },
        ] {
            assert!(AnchorGenerator::new(config.clone()).is_err(), "{config:?}");
        }
        assert!(AnchorGenerator::new(base()).unwrap().level(5, 1, 1).is_err());
    }
}
