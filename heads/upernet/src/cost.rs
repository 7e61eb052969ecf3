//! How much arithmetic an image takes, from the configuration.

use kat_backbone::{Result, Size, count};

use super::neck::SCALES;
use super::{NeckKind, SegmentorConfig};

/// Floating-point operations of all matrix products and convolutions for one image, a multiply-add being two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operations {
    /// Attention and mixers, up to the last block that is looked at.
    pub backbone: usize,
    /// The neck.
    pub neck: usize,
    /// The UperNet head.
    pub decode_head: usize,
    /// The auxiliary head, in training only.
    pub auxiliary_head: usize,
}

impl Operations {
    /// Those of inference together.
    pub fn inference(&self) -> usize {
        self.backbone + self.neck + self.decode_head
    }
}

fn conv(inputs: usize, outputs: usize, kernel: usize, pixels: usize) -> usize {
    2 * kernel * kernel * inputs * outputs * pixels
}

impl SegmentorConfig {
    /// The operations for an image of `size` pixels.
    ///
    /// # Errors
    /// A size that is no multiple of the patch.
    pub fn operations(&self, size: Size) -> Result<Operations> {
        let depth = self.blocks.last().map_or(self.backbone.depth, |last| last + 1);
        let backbone = kat_backbone::KatConfig { depth, classes: 0, ..self.backbone.clone() };
        let (dim, width) = (self.backbone.dim, self.channels);
        let rows = size.height / self.backbone.patch_size.height;
        let columns = size.width / self.backbone.patch_size.width;
        let pixels = SCALES.map(|scale| {
            let scale = if self.neck == NeckKind::Plain { 1.0 } else { scale };
            let side = |side: usize| ((side as f64 * scale) as usize).max(1);
            side(rows) * side(columns)
        });
        let neck = match self.neck {
            NeckKind::Plain => 0,
            NeckKind::MultiLevel | NeckKind::MultiLevelByTwo => {
                pixels.iter().map(|p| conv(dim, dim, 1, rows * columns) + conv(dim, dim, 3, *p)).sum()
            }
        };
        let [finest, .., coarsest] = pixels;
        let pooled: usize = self.pool_grids.iter().map(|grid| conv(dim, width, 1, grid * grid)).sum();
        let top = conv(dim + self.pool_grids.len() * width, width, 3, coarsest);
        let levels: usize =
            pixels[..3].iter().map(|p| conv(dim, width, 1, *p) + conv(width, width, 3, *p)).sum();
        let fused = conv(4 * width, width, 3, finest) + conv(width, self.classes, 1, finest);
        let auxiliary = self.auxiliary_channels.map_or(0, |channels| {
            conv(dim, channels, 3, coarsest) + conv(channels, self.classes, 1, coarsest)
        });
        Ok(Operations {
            backbone: count::count(&backbone, size)?.operations,
            neck,
            decode_head: pooled + top + levels + fused,
            auxiliary_head: auxiliary,
        })
    }
}

#[cfg(test)]
mod tests {
    use kat_backbone::variants;

    use super::*;
    use crate::FinalNorm;

    #[test]
    fn the_fusing_convolution_is_the_largest_part() {
        let config = SegmentorConfig {
            backbone: variants::named("kat_small_patch16_224").unwrap().config,
            blocks: vec![2, 5, 8, 11],
            neck: NeckKind::MultiLevel,
            final_norm: FinalNorm::None,
            channels: 512,
            pool_grids: vec![1, 2, 3, 6],
            auxiliary_channels: Some(256),
            dropout: 0.1,
            classes: 150,
        };
        let all = config.operations(Size::square(512)).unwrap();
        // 3 × 3 × 2048 × 512 multiply-adds at 128 × 128 pixels.
        let fused = 2 * 9 * 2048 * 512 * 128 * 128;
        assert!(all.decode_head > fused && all.decode_head < 2 * fused);
        assert!(all.backbone < all.decode_head / 5 && all.auxiliary_head < all.neck);
        let plain = SegmentorConfig { neck: NeckKind::Plain, ..config };
        assert_eq!(plain.operations(Size::square(512)).unwrap().neck, 0);
    }
}
