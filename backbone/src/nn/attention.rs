//! Multi-head self-attention, over all tokens or over windows of the token grid (ViTDet).

use super::{Builder, LayerNorm, LayerScale, Linear};
use crate::config::Size;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::init::mimetic::{self, MimeticConfig};
use crate::module;
use crate::ops::branch::{AttentionBranch, Stream};
use crate::ops::{self, RelativePositions};
use crate::tensor::Graph;
use crate::tensor::Tensor;

/// Settings of an attention module.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionConfig {
    /// C.
    pub dim: usize,
    /// Heads; must divide `dim`.
    pub heads: usize,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// Mimetic weights (published KAT) in place of N(0, 0.02²).
    pub mimetic: bool,
    /// Side of the windows; `None`: every token attends to every other.
    pub window: Option<usize>,
    /// The token grid at which decomposed relative positions are learnt; `None`: there are none.
    pub relative_grid: Option<Size>,
}

/// softmax(q kᵀ/√D) v, then a projection.
#[derive(Clone, Debug)]
pub struct Attention<D: Device> {
    /// Queries, keys and values in one product.
    pub qkv: Linear<D>,
    /// The output projection.
    pub proj: Linear<D>,
    /// (2·rows - 1, D): ViTDet's relative positions along the height.
    pub rel_pos_h: Option<Tensor<D>>,
    /// (2·columns - 1, D).
    pub rel_pos_w: Option<Tensor<D>>,
    heads: usize,
    window: Option<usize>,
}

module!(Attention { qkv, proj, rel_pos_h, rel_pos_w });

impl<D: Device> Attention<D> {
    /// Weights by `config`, relative positions 0.
    ///
    /// # Errors
    /// Sizes that cannot be, or that the device cannot hold.
    pub fn new(builder: &Builder<D>, config: &AttentionConfig) -> Result<Self> {
        let AttentionConfig { dim, heads, .. } = *config;
        if heads == 0 || dim % heads != 0 {
            let reason = format!("{heads} heads do not divide the width {dim}");
            return Err(Error::config("attention", reason));
        }
        let mut qkv = Linear::new(&builder.at("qkv"), dim, 3 * dim, 0.02)?;
        let mut proj = Linear::new(&builder.at("proj"), dim, dim, 0.02)?;
        if config.mimetic && D::HAS_VALUES {
            let source = (builder.seed(), builder.path());
            let weights = mimetic::attention((dim, heads), MimeticConfig::default(), source)?;
            qkv.weight.set(weights.qkv)?;
            proj.weight.set(weights.proj)?;
        }
        if !config.qkv_bias {
            qkv.bias = None;
        }
        let table = |size: fn(Size) -> usize| {
            let grid = config.relative_grid.map(|grid| config.window.map_or(grid, Size::square));
            grid.map(|grid| builder.constant(0.0, [2 * size(grid) - 1, dim / heads])).transpose()
        };
        Ok(Self {
            rel_pos_h: table(|grid| grid.height)?,
            rel_pos_w: table(|grid| grid.width)?,
            qkv,
            proj,
            heads,
            window: config.window,
        })
    }

    /// (B, N, C) → (B, N, C); `grid` is needed for windows and relative positions, where N is its size; `scale` multiplies
    /// the result.
    ///
    /// # Errors
    /// An input of another shape.
    pub fn forward(
        &self,
        graph: &mut Graph<D>,
        x: &Tensor<D>,
        grid: Size,
        scale: Option<&LayerScale<D>>,
    ) -> Result<Tensor<D>> {
        match self.window {
            None => self.attend(graph, x, grid, scale),
            Some(window) => {
                let windows = ops::window_partition(graph, x, grid, window)?;
                let attended = self.attend(graph, &windows, Size::square(window), scale)?;
                ops::window_unpartition(graph, &attended, grid, window)
            }
        }
    }

    /// x + f · attention(norm(x)) as one op, where the device has it so.
    ///
    /// # Errors
    /// An input of another shape.
    pub(crate) fn branch(
        &self,
        graph: &mut Graph<D>,
        x: Tensor<D>,
        norm: &LayerNorm<D>,
        (grid, scale): (Size, Option<&LayerScale<D>>),
        drop_path: f32,
    ) -> Result<Stream<D>> {
        let scaled = scale.map(|scale| scale.scaled(graph, &self.proj)).transpose()?;
        let relative = self.relative_positions(graph, self.window.map_or(grid, Size::square))?;
        let branch = AttentionBranch {
            norm: norm.parameters(),
            qkv: self.qkv.layer(),
            heads: self.heads,
            relative: relative.as_ref(),
            proj: scaled.as_ref().unwrap_or(&self.proj).layer(),
            window: self.window.map(|window| (grid, window)),
            drop_path,
        };
        x.device().clone().attention_branch(graph, x, &branch)
    }

    fn attend(
        &self,
        graph: &mut Graph<D>,
        x: &Tensor<D>,
        grid: Size,
        scale: Option<&LayerScale<D>>,
    ) -> Result<Tensor<D>> {
        let qkv = self.qkv.forward(graph, x)?;
        let relative = self.relative_positions(graph, grid)?;
        let attended = ops::attention(graph, &qkv, self.heads, relative.as_ref())?;
        self.proj.forward_scaled(graph, &attended, scale)
    }

    fn relative_positions(&self, graph: &mut Graph<D>, grid: Size) -> Result<Option<RelativePositions<D>>> {
        let (Some(height), Some(width)) = (&self.rel_pos_h, &self.rel_pos_w) else { return Ok(None) };
        let height = ops::resample_rows(graph, height, 2 * grid.height - 1)?;
        let width = ops::resample_rows(graph, width, 2 * grid.width - 1)?;
        Ok(Some(RelativePositions { height, width, grid }))
    }
}
