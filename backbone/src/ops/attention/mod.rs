//! Multi-head attention from packed queries, keys and values: softmax(q kᵀ/√D + r) v.
//!
//! r is ViTDet's decomposed relative position term (arXiv 2203.16527; detectron2's utils.py): for a query at
//! (y, x) and a key at (y', x') of the token grid it is q · height[y - y'] + q · width[x - x'], q unscaled.
//!
//! The kernels work on tiles of queries and keep no N × N matrix; the backward pass recomputes a tile's
//! probabilities from the logarithm of each row's sum.
//!
//! # Shapes
//! B images (or windows), N tokens, C = heads · D channels.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use crate::config::Size;
use crate::error::{Error, Result};
use crate::tensor::{Backend, Graph, Tensor};

/// Sizes of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// B: images or windows.
    pub batch: usize,
    /// N: tokens of each.
    pub tokens: usize,
    /// Heads.
    pub heads: usize,
    /// D: channels of a head.
    pub head_dim: usize,
}

impl Geometry {
    /// C, all heads together.
    pub fn channels(&self) -> usize {
        self.heads * self.head_dim
    }

    /// 1/√D.
    pub fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

/// Tables of decomposed relative positions.
#[derive(Clone, Debug)]
pub struct RelativePositions<D: Backend> {
    /// (2·grid height - 1, D); row y - y' + grid height - 1.
    pub height: Tensor<D>,
    /// (2·grid width - 1, D).
    pub width: Tensor<D>,
    /// Rows and columns of the token grid.
    pub grid: Size,
}

/// [`RelativePositions`] as a kernel reads them.
pub struct RelativeViews<'a, D: Backend> {
    /// (2·grid height - 1, D).
    pub height: D::View<'a>,
    /// (2·grid width - 1, D).
    pub width: D::View<'a>,
    /// Rows and columns of the token grid.
    pub grid: Size,
}

/// Output of the forward kernel.
pub struct Attended<D: Backend> {
    /// (B, N, C).
    pub y: D::Buf,
    /// (B, heads, N): logarithm of the sum of exponentials of each row, for the backward pass.
    pub log_sums: D::Buf,
}

/// [`Attended`] as the backward kernel reads it.
pub struct AttendedViews<'a, D: Backend> {
    /// (B, N, C).
    pub y: D::View<'a>,
    /// (B, heads, N).
    pub log_sums: D::View<'a>,
}

/// Gradients of an attention.
pub struct AttentionGradients<D: Backend> {
    /// At the packed qkv, (B, N, 3C).
    pub qkv: D::Buf,
    /// At the tables of relative positions, if there are any.
    pub relative: Option<(D::Buf, D::Buf)>,
}

/// Attention on a device.
pub trait AttentionKernel: Backend {
    /// Output and row sums.
    ///
    /// # Errors
    /// The device refuses.
    fn attention_forward(
        &self,
        qkv: Self::View<'_>,
        relative: Option<RelativeViews<'_, Self>>,
        geometry: Geometry,
    ) -> Result<Attended<Self>>;
    /// Gradients from the gradient at the output.
    ///
    /// # Errors
    /// The device refuses.
    fn attention_backward(
        &self,
        qkv: Self::View<'_>,
        relative: Option<RelativeViews<'_, Self>>,
        attended: AttendedViews<'_, Self>,
        dy: Self::View<'_>,
        geometry: Geometry,
    ) -> Result<AttentionGradients<Self>>;
}

impl<D: Backend> RelativePositions<D> {
    fn views(&self) -> RelativeViews<'_, D> {
        RelativeViews { height: self.height.view(), width: self.width.view(), grid: self.grid }
    }

    pub(crate) fn check(&self, geometry: Geometry) -> Result<()> {
        let Size { height: rows, width: cols } = self.grid;
        if rows * cols != geometry.tokens {
            let reason = format!("a grid of {rows}x{cols} for {} tokens", geometry.tokens);
            return Err(Error::config("relative positions", reason));
        }
        for (what, table, size) in [("height", &self.height, rows), ("width", &self.width, cols)] {
            let expected = [2 * size - 1, geometry.head_dim];
            if table.shape().axes() != expected {
                return Err(Error::shape("relative positions", what, format!("{expected:?}"), table.shape()));
            }
        }
        Ok(())
    }
}

/// Multi-head attention; scale 1/√D.
///
/// # Shapes
/// qkv (B, N, 3C): queries, keys and values of all heads, side by side → (B, N, C).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn attention<D: AttentionKernel>(
    graph: &mut Graph<D>,
    qkv: &Tensor<D>,
    heads: usize,
    relative: Option<&RelativePositions<D>>,
) -> Result<Tensor<D>> {
    let [batch, tokens, packed] = qkv.axes("attention", "qkv (batch, tokens, 3 * channels)")?;
    if heads == 0 || packed % (3 * heads) != 0 {
        let expected = format!("a last axis divisible by 3 * {heads} heads");
        return Err(Error::shape("attention", "qkv", expected, qkv.shape()));
    }
    let geometry = Geometry { batch, tokens, heads, head_dim: packed / (3 * heads) };
    if let Some(relative) = relative {
        relative.check(geometry)?;
    }
    let device = qkv.device();
    let Attended { y, log_sums } =
        device.attention_forward(qkv.view(), relative.map(RelativePositions::views), geometry)?;
    let inputs: Vec<_> =
        [qkv].into_iter().chain(relative.into_iter().flat_map(|r| [&r.height, &r.width])).collect();
    graph.record_with_output(device, y, [batch, tokens, geometry.channels()], &inputs, |y| {
        let (qkv, relative) = (qkv.clone(), relative.cloned());
        move |dy, grads| {
            let gradients = qkv.device().attention_backward(
                qkv.view(),
                relative.as_ref().map(RelativePositions::views),
                AttendedViews { y: y.view(), log_sums: D::view_buf(&log_sums) },
                D::view_buf(&dy),
                geometry,
            )?;
            grads.add(&qkv, gradients.qkv)?;
            if let (Some(relative), Some((height, width))) = (relative, gradients.relative) {
                grads.add(&relative.height, height)?;
                grads.add(&relative.width, width)?;
            }
            Ok(())
        }
    })
}
