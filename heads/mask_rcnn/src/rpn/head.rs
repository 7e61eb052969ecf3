//! The region proposal network's head (Faster R-CNN, arXiv 1506.01497): at every position of every level, a logit and
//! four deltas for each anchor.
//!
//! # Shapes
//! levels (B, C, h, w) → logits (B, A, h, w) and deltas (B, 4 A, h, w); [`LevelLayout`] says where an anchor's lie.

use kat_backbone::nn::{Builder, Module, VisitMut, join};
use kat_backbone::{Device, Graph, Tensor, module, ops};

use crate::MaskRcnnConfig;
use crate::error::{HeadError, same_length};
use crate::structures::Proposals;
use crate::{AnchorGenerator, LevelLayout, LevelPredictions, ProposalConfig, select_proposals};
use kat_backbone::nn::{Conv2d, ConvInit, ConvShape};
use kat_images::{Boxes, Size};

/// The head's output at all levels.
#[derive(Clone, Debug)]
pub struct RpnMaps<D: Device> {
    /// (B, A, h, w) for each level.
    pub logits: Vec<Tensor<D>>,
    /// (B, 4 A, h, w) for each level.
    pub deltas: Vec<Tensor<D>>,
}

impl<D: Device> RpnMaps<D> {
    /// Where the predictions of each level lie.
    ///
    /// # Errors
    /// Logits that are no maps.
    pub fn layouts(&self) -> Result<Vec<LevelLayout>, HeadError> {
        let layout = |logits: &Tensor<D>| {
            let [_, anchors, height, width] = logits.axes("RPN", "logits (B, A, h, w)")?;
            Ok(LevelLayout { height, width, anchors })
        };
        self.logits.iter().map(layout).collect()
    }
}

/// 3×3 convolutions with ReLU, then two 1×1 predictions; the same weights at all levels.
#[derive(Clone, Debug)]
pub struct RpnHead<D: Device> {
    convs: Vec<Conv2d<D>>,
    objectness_logits: Conv2d<D>,
    anchor_deltas: Conv2d<D>,
}

impl<D: Device> RpnHead<D> {
    /// `convs` convolutions of `channels`, `anchors` a position; every weight N(0, 0.01²).
    ///
    /// # Errors
    /// Sizes that the device cannot hold.
    pub fn new(
        builder: &Builder<D>,
        channels: usize,
        convs: usize,
        anchors: usize,
    ) -> kat_backbone::Result<Self> {
        let init = ConvInit::Normal(0.01);
        let predictor = |name: &str, outputs: usize| {
            Conv2d::new(&builder.at(name), ConvShape::same(channels, outputs, 1), init)
        };
        let conv =
            |i| Conv2d::new(&builder.at(conv_name(i, convs)), ConvShape::same(channels, channels, 3), init);
        Ok(Self {
            convs: (0..convs).map(conv).collect::<kat_backbone::Result<_>>()?,
            objectness_logits: predictor("objectness_logits", anchors)?,
            anchor_deltas: predictor("anchor_deltas", 4 * anchors)?,
        })
    }

    /// Logits and deltas of every level.
    ///
    /// # Errors
    /// Levels of other channels.
    pub fn forward(&self, graph: &mut Graph<D>, levels: &[Tensor<D>]) -> kat_backbone::Result<RpnMaps<D>> {
        let (mut logits, mut deltas) = (Vec::new(), Vec::new());
        for level in levels {
            let mut x = level.clone();
            for conv in &self.convs {
                x = conv.forward(graph, &x)?;
                x = ops::relu(graph, &x)?;
            }
            logits.push(self.objectness_logits.forward(graph, &x)?);
            deltas.push(self.anchor_deltas.forward(graph, &x)?);
        }
        Ok(RpnMaps { logits, deltas })
    }
}

/// detectron2 numbers the convolutions where there is more than one.
fn conv_name(index: usize, count: usize) -> String {
    if count == 1 { "conv".into() } else { format!("conv.conv{index}") }
}

impl<D: Device> Module<D> for RpnHead<D> {
    fn visit_mut<E>(&mut self, path: &str, visitor: &mut VisitMut<'_, D, E>) -> std::result::Result<(), E> {
        let count = self.convs.len();
        for (i, conv) in self.convs.iter_mut().enumerate() {
            conv.visit_mut(&join(path, &conv_name(i, count)), visitor)?;
        }
        self.objectness_logits.visit_mut(&join(path, "objectness_logits"), visitor)?;
        self.anchor_deltas.visit_mut(&join(path, "anchor_deltas"), visitor)
    }
}

/// The head with its anchors.
#[derive(Clone, Debug)]
pub struct Rpn<D: Device> {
    /// The head.
    pub rpn_head: RpnHead<D>,
    anchors: AnchorGenerator,
}

module!(Rpn { rpn_head });

impl<D: Device> Rpn<D> {
    /// First values by `config`.
    ///
    /// # Errors
    /// Anchors that cannot be.
    pub fn new(builder: &Builder<D>, config: &MaskRcnnConfig) -> Result<Self, HeadError> {
        let anchors = AnchorGenerator::new(config.anchors.clone())?;
        let head = builder.at("rpn_head");
        let rpn_head = RpnHead::new(&head, config.channels, config.rpn_convs, anchors.per_position())?;
        Ok(Self { rpn_head, anchors })
    }

    /// The anchors of each level of `maps`.
    ///
    /// # Errors
    /// Another number of levels than the anchors have.
    pub fn anchors(&self, maps: &RpnMaps<D>) -> Result<Vec<Boxes>, HeadError> {
        same_length("pyramid levels", maps.logits.len(), self.anchors.levels())?;
        let layouts = maps.layouts()?;
        layouts.iter().enumerate().map(|(i, l)| self.anchors.level(i, l.height, l.width)).collect()
    }

    /// The proposals of each image; `anchors` are [`Rpn::anchors`].
    ///
    /// # Errors
    /// Maps that do not fit the anchors or the number of images.
    pub fn propose(
        &self,
        maps: &RpnMaps<D>,
        anchors: &[Boxes],
        images: &[Size],
        config: &ProposalConfig,
    ) -> Result<Vec<Proposals>, HeadError> {
        let layouts = maps.layouts()?;
        let Some(device) = maps.logits.first().map(Tensor::device) else {
            return Err(HeadError::value("pyramid levels", 0, "at least 1"));
        };
        let host = |maps: &[Tensor<D>]| maps.iter().map(Tensor::to_vec).collect::<Vec<_>>();
        let (logits, deltas) = (host(&maps.logits), host(&maps.deltas));
        for (layout, logits) in layouts.iter().zip(&logits) {
            same_length("images of the RPN's maps", logits.len() / layout.len().max(1), images.len())?;
        }
        let of_image = |(b, image): (usize, &Size)| {
            let levels: Vec<LevelPredictions<'_>> = layouts
                .iter()
                .zip(anchors)
                .zip(logits.iter().zip(&deltas))
                .map(|((layout, anchors), (logits, deltas))| LevelPredictions {
                    anchors,
                    layout: *layout,
                    logits: &logits[b * layout.len()..(b + 1) * layout.len()],
                    deltas: &deltas[4 * b * layout.len()..4 * (b + 1) * layout.len()],
                })
                .collect();
            select_proposals(device, &levels, *image, config)
        };
        images.iter().enumerate().map(of_image).collect()
    }
}
