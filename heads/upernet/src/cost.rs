//! How much arithmetic an image takes: the model runs on the [`Meta`] device, which counts.

use kat_backbone::meta::Meta;
use kat_backbone::ops::batch_norm;
use kat_backbone::{Graph, Result, Size, Tensor};

use super::{Segmentor, SegmentorConfig};

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

impl SegmentorConfig {
    /// The operations for an image of `size` pixels.
    ///
    /// # Errors
    /// A configuration that cannot be; a size that is no multiple of the patch.
    pub fn operations(&self, size: Size) -> Result<Operations> {
        let device = Meta::default();
        let model = Segmentor::new(&device, self, &batch_norm::Options::default(), 0)?;
        let graph = &mut Graph::inference();
        let spent = || device.take().operations();
        let image = Tensor::zeros(&device, [1, self.backbone.channels, size.height, size.width])?;
        let maps = model.features(graph, &image)?;
        let backbone = spent();
        let maps = model.neck.forward(graph, maps)?;
        let neck = spent();
        model.decode_head.forward(graph, &maps)?;
        let decode_head = spent();
        if let (Some(head), Some(map)) = (&model.auxiliary_head, maps.last()) {
            head.forward(graph, map)?;
        }
        Ok(Operations { backbone, neck, decode_head, auxiliary_head: spent() })
    }
}

#[cfg(test)]
mod tests {
    use kat_backbone::variants;

    use super::*;
    use crate::{FinalNorm, NeckKind};

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
