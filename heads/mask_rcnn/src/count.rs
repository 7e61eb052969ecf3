//! Floating-point operations of the detector's matrix products and convolutions, by stage, a multiply-add being two.

use kat_backbone::count::count;
use kat_backbone::{Result, Size};

use crate::roi_heads::box_head::BOX_BINS;
use crate::roi_heads::mask_head::MASK_BINS;
use crate::{BoxHeadKind, BoxRegression, LEVELS, MaskRcnnConfig};

/// Operations for one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operations {
    /// Patches and blocks.
    pub backbone: usize,
    /// The feature pyramid.
    pub pyramid: usize,
    /// The RPN's head.
    pub rpn: usize,
    /// The box head for all proposals.
    pub boxes: usize,
    /// The mask head for all detections.
    pub masks: usize,
}

impl Operations {
    /// Of one image that fills the canvas, with so many proposals and detections.
    ///
    /// # Errors
    /// A backbone that cannot be.
    pub fn of(config: &MaskRcnnConfig, proposals: usize, detections: usize) -> Result<Self> {
        let canvas = config.backbone.image_size;
        let (c, e, k) = (config.channels, config.backbone.dim, config.classes);
        let grid = config.backbone.grid();
        // (positions, side of the kernel, channels in, channels out) to operations
        let conv = |positions: usize, kernel: usize, inputs: usize, outputs: usize| {
            2 * positions * kernel * kernel * inputs * outputs
        };
        let sizes = level_sizes(canvas, config.patch());
        let pixels = |level: usize| sizes[level].0 * sizes[level].1;
        let base = grid.area();
        let up = conv(base, 2, e, e / 2);
        let pyramid: usize = up
            + conv(4 * base, 2, e / 2, e / 4)
            + up
            + [e / 4, e / 2, e, e]
                .iter()
                .enumerate()
                .map(|(i, inputs)| conv(pixels(i), 1, *inputs, c) + conv(pixels(i), 3, c, c))
                .sum::<usize>();
        let anchors = config.anchors.ratios.len();
        let rpn = (0..LEVELS)
            .map(|i| config.rpn_convs * conv(pixels(i), 3, c, c) + conv(pixels(i), 1, c, 5 * anchors))
            .sum();
        let bins = BOX_BINS * BOX_BINS;
        let hidden = config.box_hidden;
        let tower = match config.box_head {
            BoxHeadKind::FourConv => 4 * conv(bins, 3, c, c) + 2 * bins * c * hidden,
            BoxHeadKind::TwoFc => 2 * bins * c * hidden + 2 * hidden * hidden,
        };
        let outputs = k + 1 + 4 * if config.box_regression == BoxRegression::PerClass { k } else { 1 };
        let cells = MASK_BINS * MASK_BINS;
        let mask = 4 * conv(cells, 3, c, c) + conv(cells, 2, c, c) + conv(4 * cells, 1, c, k);
        Ok(Self {
            backbone: count(&config.backbone, canvas)?.operations,
            pyramid,
            rpn,
            boxes: proposals * (tower + 2 * hidden * outputs),
            masks: if config.masks { detections * mask } else { 0 },
        })
    }

    /// All stages.
    pub fn total(&self) -> usize {
        self.backbone + self.pyramid + self.rpn + self.boxes + self.masks
    }
}

/// Rows and columns of each level.
fn level_sizes(canvas: Size, patch: usize) -> [(usize, usize); LEVELS] {
    let (h, w) = (canvas.height.div_ceil(patch), canvas.width.div_ceil(patch));
    let half = |n: usize| (n / 2).max(1);
    let last = (half(h), half(w));
    [(4 * h, 4 * w), (2 * h, 2 * w), (h, w), last, (last.0.div_ceil(2), last.1.div_ceil(2))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use kat_backbone::KatConfig;

    #[test]
    fn by_hand() {
        let backbone = KatConfig {
            class_token: false,
            classes: 0,
            image_size: Size::square(64),
            ..KatConfig::default()
        };
        let config = MaskRcnnConfig { channels: 8, box_hidden: 16, ..MaskRcnnConfig::vitdet(backbone, 3) };
        let found = Operations::of(&config, 10, 2).unwrap();
        // levels of 16², 8², 4², 2² and 1 pixels: 341 in all; two convolutions of 9·8·8 and 15 · 8 predictions
        assert_eq!(found.rpn, 341 * (2 * 2 * 9 * 64 + 2 * 8 * 15));
        assert_eq!(found.boxes, 10 * (4 * 2 * 49 * 9 * 64 + 2 * 49 * 8 * 16 + 2 * 16 * 16));
        assert_eq!(found.masks, 2 * (4 * 2 * 196 * 9 * 64 + 2 * 196 * 4 * 64 + 2 * 784 * 8 * 3));
        // transposed convolutions 192 → 96 twice on 16 pixels, 96 → 48 on 64
        let up = 2 * 2 * 16 * 4 * 192 * 96 + 2 * 64 * 4 * 96 * 48;
        let lateral = 2 * 8 * (256 * 48 + 64 * 96 + 16 * 192 + 4 * 192);
        assert_eq!(found.pyramid, up + lateral + 2 * 9 * 64 * 340);
        assert_eq!(found.total(), found.backbone + found.pyramid + found.rpn + found.boxes + found.masks);
    }
}
