//! Floating-point operations of the detector's matrix products and convolutions, by stage, a multiply-add being two: the
//! model runs on the [`Meta`] device, which counts.

use kat_backbone::meta::Meta;
use kat_backbone::{Graph, Tensor};

use crate::error::HeadError;
use crate::roi_heads::box_head::BOX_BINS;
use crate::roi_heads::mask_head::MASK_BINS;
use crate::{MaskRcnn, MaskRcnnConfig};

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
    /// A configuration that cannot be.
    pub fn of(config: &MaskRcnnConfig, proposals: usize, detections: usize) -> Result<Self, HeadError> {
        let device = Meta::default();
        let model = MaskRcnn::new(&device, config, 0)?;
        let (canvas, graph) = (config.backbone.image_size, &mut Graph::inference());
        let spent = || device.take().operations();
        let image = Tensor::zeros(&device, [1, config.backbone.channels, canvas.height, canvas.width])?;
        let map = model.backbone.net.last_map(graph, &image)?;
        let backbone = spent();
        let levels = model.backbone.pyramid.forward(graph, &map)?;
        let pyramid = spent();
        model.proposal_generator.rpn_head.forward(graph, &levels)?;
        let rpn = spent();
        let regions =
            |number: usize, bins: usize| Tensor::zeros(&device, [number, config.channels, bins, bins]);
        let heads = &model.roi_heads;
        if proposals > 0 {
            let features = heads.box_head.forward(graph, &regions(proposals, BOX_BINS)?)?;
            heads.box_predictor.forward(graph, &features)?;
        }
        let boxes = spent();
        if let Some(head) = heads.mask_head.as_ref().filter(|_| detections > 0) {
            head.forward(graph, &regions(detections, MASK_BINS)?)?;
        }
        Ok(Self { backbone, pyramid, rpn, boxes, masks: spent() })
    }

    /// All stages.
    pub fn total(&self) -> usize {
        self.backbone + self.pyramid + self.rpn + self.boxes + self.masks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kat_backbone::{KatConfig, Size};

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
