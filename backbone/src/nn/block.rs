//! The transformer block: x + attention(norm(x)), then x + mixer(norm(x)) (KAT, Figure 2).

use super::{Attention, AttentionConfig, Builder, LayerNorm, Mixer, MixerConfig};
use crate::config::Size;
use crate::device::Device;
use crate::error::Result;
use crate::module;
use crate::ops::add_drop_path;
use crate::tensor::Graph;
use crate::tensor::Tensor;

/// Settings of a block.
#[derive(Clone, Debug)]
pub struct BlockConfig {
    /// The attention.
    pub attention: AttentionConfig,
    /// The channel mixer.
    pub mixer: MixerConfig,
    /// Probability that a sample skips a residual branch while training.
    pub drop_path: f32,
}

/// One block.
#[derive(Clone, Debug)]
pub struct Block<D: Device> {
    /// Before the attention.
    pub norm1: LayerNorm<D>,
    /// The token mixer.
    pub attn: Attention<D>,
    /// Before the channel mixer.
    pub norm2: LayerNorm<D>,
    /// The channel mixer; `mlp` in checkpoints whichever it is.
    pub mlp: Mixer<D>,
    drop_path: f32,
}

module!(Block { norm1, attn, norm2, mlp });

impl<D: Device> Block<D> {
    /// A block with first values by `config`.
    ///
    /// # Errors
    /// Sizes that cannot be, or that the device cannot hold.
    pub fn new(builder: &Builder<D>, config: &BlockConfig) -> Result<Self> {
        let dim = config.attention.dim;
        Ok(Self {
            norm1: LayerNorm::new(&builder.at("norm1"), dim)?,
            attn: Attention::new(&builder.at("attn"), &config.attention)?,
            norm2: LayerNorm::new(&builder.at("norm2"), dim)?,
            mlp: Mixer::new(&builder.at("mlp"), dim, &config.mixer)?,
            drop_path: config.drop_path,
        })
    }

    /// (B, N, C) → (B, N, C).
    ///
    /// # Errors
    /// An input of another shape.
    pub fn forward(&self, graph: &mut Graph<D>, x: &Tensor<D>, grid: Size) -> Result<Tensor<D>> {
        let normed = self.norm1.forward(graph, x)?;
        let mixed = self.attn.forward(graph, &normed, grid)?;
        let x = add_drop_path(graph, x, &mixed, self.drop_path)?;
        let normed = self.norm2.forward(graph, &x)?;
        let mixed = self.mlp.forward(graph, &normed)?;
        add_drop_path(graph, &x, &mixed, self.drop_path)
    }
}
