//! The transformer block: x + γ₁ attention(norm(x)), then x + γ₂ mixer(norm(x)) (KAT, Figure 2); γ is 1 without LayerScale.

use super::{Attention, AttentionConfig, Builder, LayerNorm, LayerScale, Mixer, MixerConfig, Residual};
use crate::config::Size;
use crate::device::Device;
use crate::error::Result;
use crate::module;
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
    /// What LayerScale's factors start as; `None`: there are none.
    pub layer_scale: Option<f32>,
    /// ε of both norms.
    pub norm_eps: f32,
}

/// One block.
#[derive(Clone, Debug)]
pub struct Block<D: Device> {
    /// Before the attention.
    pub norm1: LayerNorm<D>,
    /// The token mixer.
    pub attn: Attention<D>,
    /// Factors of the attention's branch.
    pub ls1: Option<LayerScale<D>>,
    /// Before the channel mixer.
    pub norm2: LayerNorm<D>,
    /// The channel mixer; `mlp` in checkpoints whichever it is.
    pub mlp: Mixer<D>,
    /// Factors of the mixer's branch.
    pub ls2: Option<LayerScale<D>>,
    drop_path: f32,
}

module!(Block { norm1, attn, ls1, norm2, mlp, ls2 });

impl<D: Device> Block<D> {
    /// A block with first values by `config`.
    ///
    /// # Errors
    /// Sizes that cannot be, or that the device cannot hold.
    pub fn new(builder: &Builder<D>, config: &BlockConfig) -> Result<Self> {
        let dim = config.attention.dim;
        let norm = |name: &str| LayerNorm::with_eps(&builder.at(name), dim, config.norm_eps);
        let scale = |name: &str| {
            let factors = config.layer_scale.map(|value| LayerScale::new(&builder.at(name), dim, value));
            factors.transpose()
        };
        Ok(Self {
            norm1: norm("norm1")?,
            attn: Attention::new(&builder.at("attn"), &config.attention)?,
            ls1: scale("ls1")?,
            norm2: norm("norm2")?,
            mlp: Mixer::new(&builder.at("mlp"), dim, &config.mixer)?,
            ls2: scale("ls2")?,
            drop_path: config.drop_path,
        })
    }

    /// (B, N, C) → (B, N, C).
    ///
    /// # Errors
    /// An input of another shape.
    pub fn forward(&self, graph: &mut Graph<D>, x: &Tensor<D>, grid: Size) -> Result<Tensor<D>> {
        self.advance(graph, x.clone().into(), grid)?.sum(graph)
    }

    /// As [`Block::forward`], between blocks.
    ///
    /// # Errors
    /// An input of another shape.
    pub fn advance(&self, graph: &mut Graph<D>, x: Residual<D>, grid: Size) -> Result<Residual<D>> {
        let x = self.attend(graph, x, grid)?;
        self.mix(graph, x)
    }

    /// The attention's branch, as one op where the device has it so.
    fn attend(&self, graph: &mut Graph<D>, x: Residual<D>, grid: Size) -> Result<Residual<D>> {
        let scale = self.ls1.as_ref();
        let (x, fused) = x.through(graph, |graph, x| {
            self.attn.branch(graph, x, &self.norm1, (grid, scale), self.drop_path)
        })?;
        if fused {
            return Ok(x);
        }
        let (x, normed) = x.normed(graph, &self.norm1, None)?;
        let mixed = self.attn.forward(graph, &normed, grid, scale)?;
        x.with(graph, mixed, self.drop_path)
    }

    /// The channel mixer's branch, likewise.
    fn mix(&self, graph: &mut Graph<D>, x: Residual<D>) -> Result<Residual<D>> {
        let scale = self.ls2.as_ref();
        let (x, fused) =
            x.through(graph, |graph, x| self.mlp.branch(graph, x, &self.norm2, scale, self.drop_path))?;
        if fused {
            return Ok(x);
        }
        let (x, activated) = x.normed(graph, &self.norm2, self.mlp.first_activation())?;
        let mixed = self.mlp.forward_activated(graph, &activated, scale)?;
        x.with(graph, mixed, self.drop_path)
    }
}
