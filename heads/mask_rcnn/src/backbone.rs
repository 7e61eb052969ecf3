//! The plain backbone with its pyramid: `backbone.net.*` and `backbone.simfp_*` of a checkpoint.

use kat_backbone::nn::Builder;
use kat_backbone::{Device, Graph, Kat, Result, Tensor, module};

use crate::{MaskRcnnConfig, SimpleFeaturePyramid};

/// Image → pyramid.
#[derive(Clone, Debug)]
pub struct Backbone<D: Device> {
    /// Image → the last block's map.
    pub net: Kat<D>,
    /// That map → five levels.
    pub pyramid: SimpleFeaturePyramid<D>,
}

impl<D: Device> Backbone<D> {
    /// First values by `config`.
    ///
    /// # Errors
    /// A configuration that cannot be.
    pub fn new(builder: &Builder<D>, config: &MaskRcnnConfig) -> Result<Self> {
        let net = Kat::dense(&builder.at("net"), &config.backbone, config.pretrain_size)?;
        let pyramid =
            SimpleFeaturePyramid::new(builder, config.backbone.dim, config.patch(), config.channels)?;
        Ok(Self { net, pyramid })
    }

    /// (B, 3, H, W) → five levels (B, C, H/s, W/s), finest first.
    ///
    /// # Errors
    /// An image of other channels.
    pub fn forward(&self, graph: &mut Graph<D>, image: &Tensor<D>) -> Result<Vec<Tensor<D>>> {
        let map = self.net.last_map(graph, image)?;
        self.pyramid.forward(graph, &map)
    }
}

module!(Backbone { net, ..pyramid });
