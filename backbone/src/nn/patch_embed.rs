//! The patch embedding: a convolution whose stride is its kernel, done as a linear layer over cut patches.

use super::Builder;
use crate::config::Size;
use crate::device::Device;
use crate::error::Result;
use crate::module;
use crate::tensor::Tensor;
use crate::{ops, tensor::Graph};

/// The convolution's weight, kept in its published shape.
#[derive(Clone, Debug)]
pub struct PatchProjection<D: Device> {
    /// (C, image channels, patch rows, patch columns).
    pub weight: Tensor<D>,
    /// (C).
    pub bias: Option<Tensor<D>>,
}

module!(PatchProjection { weight, bias });

/// Image → tokens.
#[derive(Clone, Debug)]
pub struct PatchEmbed<D: Device> {
    /// The projection.
    pub proj: PatchProjection<D>,
    patch: Size,
}

module!(PatchEmbed { proj });

impl<D: Device> PatchEmbed<D> {
    /// Weights as PyTorch's convolution starts (uniform, limit 1/√fan in), which timm's ViT and KAT leave; `dim` channels, with a
    /// bias or without.
    ///
    /// # Errors
    /// Sizes that cannot be, or that the device cannot hold.
    pub fn new(
        builder: &Builder<D>,
        channels: usize,
        patch: Size,
        (dim, bias): (usize, bool),
    ) -> Result<Self> {
        let builder = builder.at("proj");
        let limit = 1.0 / ((channels * patch.area()) as f32).sqrt();
        let weight = builder.uniform("weight", [dim, channels, patch.height, patch.width], limit)?;
        let bias = bias.then(|| builder.uniform("bias", [dim], limit)).transpose()?;
        Ok(Self { proj: PatchProjection { weight, bias }, patch })
    }

    /// (B, channels, H, W) → (B, H/p · W/p, C) and the grid (H/p, W/p).
    ///
    /// # Errors
    /// An input of another shape.
    pub fn forward(&self, graph: &mut Graph<D>, image: &Tensor<D>) -> Result<(Tensor<D>, Size)> {
        let [_, _, height, width] = image.axes("patch embedding", "images (B, channels, H, W)")?;
        let patches = ops::patchify(graph, image, self.patch)?;
        let dim = self.proj.weight.shape().axes()[0];
        let weight = self.proj.weight.reshape([dim, self.proj.weight.numel() / dim])?;
        let tokens = ops::linear(graph, &patches, &weight, self.proj.bias.as_ref())?;
        Ok((tokens, Size::new(height / self.patch.height, width / self.patch.width)))
    }
}
