//! The mask head (Mask R-CNN, arXiv 1703.06870): four convolutions, a transposed one, a mask for each class.
//!
//! # Shapes
//! pooled (R, C, 14, 14) → logits (R, K, 28, 28).

use kat_backbone::nn::Builder;
use kat_backbone::{Device, Graph, Result, Tensor, module, ops};

use crate::NormedConv;
use kat_backbone::nn::{Conv2d, ConvInit, ConvShape, ConvTranspose2d};

/// Side of a pooled region.
pub(crate) const MASK_BINS: usize = 14;
/// Side of a predicted mask.
pub(crate) const MASK_SIDE: usize = 2 * MASK_BINS;
/// Convolutions before the transposed one.
const CONVS: usize = 4;

/// Pooled region → masks.
#[derive(Clone, Debug)]
pub struct MaskHead<D: Device> {
    convs: Vec<NormedConv<D>>,
    deconv: ConvTranspose2d<D>,
    predictor: Conv2d<D>,
}

impl<D: Device> MaskHead<D> {
    /// Convolutions as `c2_msra_fill`, the predictor N(0, 0.001²).
    ///
    /// # Errors
    /// Sizes that the device cannot hold.
    pub fn new(builder: &Builder<D>, channels: usize, classes: usize) -> Result<Self> {
        let (msra, shape) = (ConvInit::KaimingFanOut, ConvShape::same(channels, channels, 3));
        let conv = |i: usize| NormedConv::new(&builder.at(format!("mask_fcn{i}")), shape, msra);
        let up = ConvShape::tiling(channels, channels, 2);
        let predictor = ConvShape::same(channels, classes, 1);
        Ok(Self {
            convs: (1..=CONVS).map(conv).collect::<Result<_>>()?,
            deconv: ConvTranspose2d::new(&builder.at("deconv"), up, msra)?,
            predictor: Conv2d::new(&builder.at("predictor"), predictor, ConvInit::Normal(0.001))?,
        })
    }

    /// (R, C, 14, 14) → (R, K, 28, 28) logits.
    ///
    /// # Errors
    /// Regions of other channels.
    pub fn forward(&self, graph: &mut Graph<D>, pooled: &Tensor<D>) -> Result<Tensor<D>> {
        let mut x = pooled.clone();
        for conv in &self.convs {
            x = conv.forward(graph, &x)?;
            x = ops::relu(graph, &x)?;
        }
        x = self.deconv.forward(graph, &x)?;
        x = ops::relu(graph, &x)?;
        self.predictor.forward(graph, &x)
    }
}

module!(MaskHead { convs[i] => format!("mask_fcn{}", i + 1), deconv, predictor });
