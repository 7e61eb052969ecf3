//! The auxiliary head: a short fully convolutional network (arXiv 1411.4038) on one feature map, used in training only.

use kat_backbone::nn::Builder;
use kat_backbone::ops::batch_norm;
use kat_backbone::{Device, Graph, Result, Tensor, module, ops};

use kat_backbone::nn::{Conv2d, ConvInit, ConvNormAct, ConvShape};

/// One 3×3 convolution and a classifier; fields are named as in mmsegmentation's FCNHead.
#[derive(Clone, Debug)]
pub struct FcnHead<D: Device> {
    /// 1×1: the classifier.
    pub conv_seg: Conv2d<D>,
    /// 3×3.
    pub convs: Vec<ConvNormAct<D>>,
    dropout: f32,
}

module!(FcnHead { conv_seg, convs });

impl<D: Device> FcnHead<D> {
    /// From `inputs` channels through `channels` to `classes`.
    ///
    /// # Errors
    /// Sizes that the device cannot hold.
    pub fn new(
        builder: &Builder<D>,
        [inputs, channels, classes]: [usize; 3],
        dropout: f32,
        norm: &batch_norm::Options,
    ) -> Result<Self> {
        let classifier = ConvShape::same(channels, classes, 1);
        let conv = ConvNormAct::new(&builder.at("convs").at(0), ConvShape::same(inputs, channels, 3), norm)?;
        Ok(Self {
            conv_seg: Conv2d::new(&builder.at("conv_seg"), classifier, ConvInit::Normal(0.01))?,
            convs: vec![conv],
            dropout,
        })
    }

    /// (B, inputs, H, W) → (B, classes, H, W).
    ///
    /// # Errors
    /// A map of other channels.
    pub fn forward(&self, graph: &mut Graph<D>, map: &Tensor<D>) -> Result<Tensor<D>> {
        let mut x = map.clone();
        for conv in &self.convs {
            x = conv.forward(graph, &x)?;
        }
        let x = ops::channel_dropout(graph, &x, self.dropout)?;
        self.conv_seg.forward(graph, &x)
    }
}
