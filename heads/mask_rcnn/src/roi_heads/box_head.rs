//! The box head: what a region shows and how its box should move.
//!
//! # Shapes
//! pooled (R, C, 7, 7) → scores (R, K + 1), the last column background, and deltas (R, 4 K) or, class-agnostic, (R, 4).

use kat_backbone::nn::{Builder, Linear};
use kat_backbone::{Device, Graph, Result, Tensor, module, ops};

use crate::{BoxHeadKind, BoxRegression, MaskRcnnConfig, NormedConv};
use kat_backbone::nn::{ConvInit, ConvShape};

/// Side of a pooled region.
pub(crate) const BOX_BINS: usize = 7;

/// What the box head says of R regions.
#[derive(Clone, Debug)]
pub struct RegionPredictions<D: Device> {
    /// (R, K + 1) logits.
    pub scores: Tensor<D>,
    /// (R, 4 K) or (R, 4).
    pub deltas: Tensor<D>,
}

/// Pooled region → hidden features: convolutions with norm, then hidden layers, ReLU after each.
#[derive(Clone, Debug)]
pub struct BoxHead<D: Device> {
    convs: Vec<NormedConv<D>>,
    layers: Vec<Linear<D>>,
}

/// `c2_xavier_fill` of detectron2: uniform with variance 1 / fan-in; bias 0.
fn xavier<D: Device>(builder: &Builder<D>, inputs: usize, outputs: usize) -> Result<Linear<D>> {
    Ok(Linear {
        weight: builder.uniform("weight", [outputs, inputs], (3.0 / inputs as f32).sqrt())?,
        bias: Some(builder.constant(0.0, [outputs])?),
    })
}

impl<D: Device> BoxHead<D> {
    /// First values by `config`.
    ///
    /// # Errors
    /// Sizes that the device cannot hold.
    pub fn new(builder: &Builder<D>, config: &MaskRcnnConfig) -> Result<Self> {
        let (convs, layers) = match config.box_head {
            BoxHeadKind::FourConv => (4, 1),
            BoxHeadKind::TwoFc => (0, 2),
        };
        let shape = ConvShape::same(config.channels, config.channels, 3);
        let conv =
            |i: usize| NormedConv::new(&builder.at(format!("conv{i}")), shape, ConvInit::KaimingFanOut);
        let layer = |i: usize| {
            let inputs = if i == 1 { config.channels * BOX_BINS * BOX_BINS } else { config.box_hidden };
            xavier(&builder.at(format!("fc{i}")), inputs, config.box_hidden)
        };
        Ok(Self {
            convs: (1..=convs).map(conv).collect::<Result<_>>()?,
            layers: (1..=layers).map(layer).collect::<Result<_>>()?,
        })
    }

    /// (R, C, 7, 7) → (R, hidden).
    ///
    /// # Errors
    /// Regions of other channels or size.
    pub fn forward(&self, graph: &mut Graph<D>, pooled: &Tensor<D>) -> Result<Tensor<D>> {
        let mut x = pooled.clone();
        for conv in &self.convs {
            x = conv.forward(graph, &x)?;
            x = ops::relu(graph, &x)?;
        }
        let [regions, channels, height, width] = x.axes("box head", "regions (R, C, 7, 7)")?;
        x = x.reshape([regions, channels * height * width])?;
        for layer in &self.layers {
            x = layer.forward(graph, &x)?;
            x = ops::relu(graph, &x)?;
        }
        Ok(x)
    }
}

module!(BoxHead { convs[i] => format!("conv{}", i + 1), layers[i] => format!("fc{}", i + 1) });

/// Hidden features → scores and deltas.
#[derive(Clone, Debug)]
pub struct BoxPredictor<D: Device> {
    /// hidden → K + 1.
    pub cls_score: Linear<D>,
    /// hidden → 4 K or 4.
    pub bbox_pred: Linear<D>,
}

module!(BoxPredictor { cls_score, bbox_pred });

impl<D: Device> BoxPredictor<D> {
    /// Scores from N(0, 0.01²), deltas from N(0, 0.001²).
    ///
    /// # Errors
    /// Sizes that the device cannot hold.
    pub fn new(builder: &Builder<D>, config: &MaskRcnnConfig) -> Result<Self> {
        let boxes = match config.box_regression {
            BoxRegression::PerClass => config.classes,
            BoxRegression::Agnostic => 1,
        };
        let linear = |name: &str, outputs: usize, std: f32| {
            let builder = builder.at(name);
            let weight = builder.normal("weight", [outputs, config.box_hidden], std)?;
            Ok::<_, kat_backbone::Error>(Linear { weight, bias: Some(builder.constant(0.0, [outputs])?) })
        };
        Ok(Self {
            cls_score: linear("cls_score", config.classes + 1, 0.01)?,
            bbox_pred: linear("bbox_pred", 4 * boxes, 0.001)?,
        })
    }

    /// (R, hidden) → predictions.
    ///
    /// # Errors
    /// Features of another width.
    pub fn forward(&self, graph: &mut Graph<D>, features: &Tensor<D>) -> Result<RegionPredictions<D>> {
        Ok(RegionPredictions {
            scores: self.cls_score.forward(graph, features)?,
            deltas: self.bbox_pred.forward(graph, features)?,
        })
    }
}
