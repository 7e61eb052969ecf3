//! From which pyramid level a region is pooled (FPN, arXiv 1612.03144, equation 1).

use serde::{Deserialize, Serialize};

/// Level k = floor(canonical_level + log2(√area / canonical_size)), kept within [min_level, max_level].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoiLevels {
    /// Finest level, as log2 of its stride.
    pub min_level: i32,
    /// Coarsest level.
    pub max_level: i32,
    /// Side in pixels of a box that belongs to the canonical level.
    pub canonical_size: f32,
    /// The level such a box belongs to.
    pub canonical_level: i32,
}

impl Default for RoiLevels {
    /// 224 pixels at p4, levels p2 to p5.
    fn default() -> Self {
        Self { min_level: 2, max_level: 5, canonical_size: 224.0, canonical_level: 4 }
    }
}

impl RoiLevels {
    /// Position of the box's level in the pyramid, 0 being the finest. A box without area, or with one that is not
    /// a number, belongs to the finest.
    pub fn position(&self, roi: [f32; 4]) -> usize {
        let side = kat_images::box_area(roi).sqrt();
        let level = (self.canonical_level as f32 + (side / self.canonical_size + 1e-8).log2()).floor();
        if level.is_nan() {
            return 0;
        }
        let last = (self.max_level - self.min_level).max(0);
        (level as i32).saturating_sub(self.min_level).clamp(0, last) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_by_hand() {
        let levels = RoiLevels::default();
        let square = |side: f32| levels.position([10., 10., 10. + side, 10. + side]);
        // 224 is p4 (position 2), half of it p3, less than half p2; twice p5; no level beyond.
        let sides = [1.0, 55.9, 111.9, 112.0, 223.9, 224.0, 447.9, 448.0, 1e6];
        assert_eq!(sides.map(square), [0, 0, 0, 1, 1, 2, 2, 3, 3]);
        // Only the area counts.
        assert_eq!(levels.position([0., 0., 448., 112.]), 2);
    }

    #[test]
    fn boxes_that_are_none() {
        let levels = RoiLevels::default();
        for b in [[0., 0., 0., 0.], [5., 5., 1., 9.], [f32::NAN; 4]] {
            assert_eq!(levels.position(b), 0);
        }
        assert_eq!(levels.position([0., 0., f32::INFINITY, 1.]), 3);
    }
}
