//! The configuration of a model: every size and choice, checked before anything is built.

use crate::error::{Error, Result};
use crate::init::{Activation, Order, tables};
use crate::nn::{
    AttentionConfig, BlockConfig, LAYER_NORM_EPS, Learnable, MixerConfig, MixerKind, Sharing, function_of,
};
use crate::ops::rational::Denominator;
pub use kat_images::Size;
use serde::{Deserialize, Serialize};

/// What the head reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// The class token.
    ClassToken,
    /// The mean of the patch tokens, normed after pooling (timm's `fc_norm`).
    Average,
    /// The mean of the patch tokens, normed before (SigLIP's `gap`).
    NormedAverage,
}

/// How a position embedding comes to another grid than its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resampling {
    /// timm's: bicubic, antialiased.
    Antialiased,
    /// Bicubic without antialias, as ViTDet and mmsegmentation.
    Plain,
}

/// How weights start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitScheme {
    /// The paper's: fc1 and fc2 keep the variance through their activation.
    VariancePreserving,
    /// The published code's: every linear layer N(0, 0.02²).
    Published,
}

/// Configuration of a KAT, ViT or ViT + KAN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KatConfig {
    /// Size of the images that the position embedding is made for, in pixels.
    pub image_size: Size,
    /// Size of a patch, in pixels.
    pub patch_size: Size,
    /// Channels of the image.
    pub channels: usize,
    /// C: the width.
    pub dim: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Heads of the attention.
    pub heads: usize,
    /// Hidden width of the mixer over the width.
    pub mlp_ratio: f32,
    /// Number of classes; 0: no head.
    pub classes: usize,
    /// The channel mixer.
    pub mixer: MixerKind,
    /// Groups of a group rational.
    pub groups: usize,
    /// Whether groups share the numerator.
    pub numerator: Sharing,
    /// Whether groups share the denominator.
    pub denominator: Sharing,
    /// Which denominator: the published kernels' or the paper's.
    pub denominator_form: Denominator,
    /// Degrees of the rational function.
    pub order: Order,
    /// What act1 starts as.
    pub act1: Activation,
    /// What act2 starts as.
    pub act2: Activation,
    /// The activation of an MLP; in a KAT, that of the ViTs whose weights it takes, to which act2 is then fitted.
    pub activation: Activation,
    /// The activation of an MLP learns: PReLU, or a Padé unit that starts as `activation`; absent: it does not.
    pub learnable: Option<Learnable>,
    /// Spline functions of each edge of a KAN.
    pub kan_basis: usize,
    /// What the head reads.
    pub pool: Pool,
    /// Whether there is a class token.
    pub class_token: bool,
    /// Register tokens (arXiv 2309.16588).
    pub registers: usize,
    /// A second token, trained by a teacher, with a head of its own: the answer is the mean of both heads (DeiT).
    pub distilled: bool,
    /// Whether the tokens before the patches have positions too (not in DeiT-III, nor in timm's DINOv2 with registers).
    pub prefix_positions: bool,
    /// How positions come to another grid.
    pub resampling: Resampling,
    /// What LayerScale's factors start as (arXiv 2103.17239); absent: there are none.
    pub layer_scale: Option<f32>,
    /// A norm before the blocks, and no bias in the patch projection (CLIP).
    pub pre_norm: bool,
    /// Whether the patch projection has a bias, where no norm follows it (not in mmsegmentation 1.x).
    pub patch_bias: bool,
    /// ε of every layer norm.
    pub norm_eps: f32,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// Drop path of the last block; grows linearly from 0 at the first.
    pub drop_path: f32,
    /// Dropout in the mixers and after the position embedding.
    pub dropout: f32,
    /// How fc1 and fc2 of GR-KAN start.
    pub init: InitScheme,
    /// Mimetic attention initialization, as published KAT.
    pub mimetic: bool,
    /// Side of ViTDet's attention windows, in tokens; absent: all blocks are global.
    pub window: Option<usize>,
    /// Blocks that attend globally although there are windows.
    pub global_blocks: Vec<usize>,
    /// ViTDet's decomposed relative positions.
    pub relative_positions: bool,
    /// Recompute each block in the backward pass instead of keeping its activations.
    pub activation_checkpointing: bool,
}

impl Default for KatConfig {
    /// KAT-Tiny at 224 pixels with 1000 classes.
    fn default() -> Self {
        Self {
            image_size: Size::square(224),
            patch_size: Size::square(16),
            channels: 3,
            dim: 192,
            depth: 12,
            heads: 3,
            mlp_ratio: 4.0,
            classes: 1000,
            mixer: MixerKind::GrKan,
            groups: 8,
            numerator: Sharing::Shared,
            denominator: Sharing::PerGroup,
            denominator_form: Denominator::Kernel,
            order: Order::default(),
            act1: Activation::Identity,
            act2: Activation::Swish,
            activation: Activation::Gelu,
            learnable: None,
            kan_basis: 1,
            pool: Pool::ClassToken,
            class_token: true,
            registers: 0,
            distilled: false,
            prefix_positions: true,
            resampling: Resampling::Antialiased,
            layer_scale: None,
            pre_norm: false,
            patch_bias: true,
            norm_eps: LAYER_NORM_EPS,
            qkv_bias: true,
            drop_path: 0.0,
            dropout: 0.0,
            init: InitScheme::VariancePreserving,
            mimetic: true,
            window: None,
            global_blocks: Vec::new(),
            relative_positions: false,
            activation_checkpointing: false,
        }
    }
}

impl KatConfig {
    /// The token grid at `image_size`.
    pub fn grid(&self) -> Size {
        let (image, patch) = (self.image_size, self.patch_size);
        Size::new(image.height / patch.height.max(1), image.width / patch.width.max(1))
    }

    /// Tokens before the patch tokens: class token, distillation token and registers.
    pub fn prefix_tokens(&self) -> usize {
        usize::from(self.class_token) + usize::from(self.distilled) + self.registers
    }

    /// Those of them that have positions.
    pub fn placed_tokens(&self) -> usize {
        if self.prefix_positions { self.prefix_tokens() } else { 0 }
    }

    /// Hidden width of the mixer.
    pub fn hidden(&self) -> usize {
        (self.dim as f32 * self.mlp_ratio) as usize
    }

    /// Whether block `index` attends within windows.
    pub fn is_windowed(&self, index: usize) -> bool {
        self.window.is_some() && !self.global_blocks.contains(&index)
    }

    /// The settings of block `index`.
    pub fn block(&self, index: usize) -> BlockConfig {
        let span = self.depth.saturating_sub(1).max(1) as f32;
        BlockConfig {
            attention: AttentionConfig {
                dim: self.dim,
                heads: self.heads,
                qkv_bias: self.qkv_bias,
                mimetic: self.mimetic,
                window: self.window.filter(|_| self.is_windowed(index)),
                relative_grid: self.relative_positions.then(|| self.grid()),
            },
            mixer: MixerConfig {
                kind: self.mixer,
                hidden: self.hidden(),
                groups: self.groups,
                numerator: self.numerator,
                denominator: self.denominator,
                denominator_form: self.denominator_form,
                order: self.order,
                act1: self.act1,
                act2: self.act2,
                activation: self.activation,
                learnable: self.learnable,
                kan_basis: self.kan_basis,
                preserve_variance: self.init == InitScheme::VariancePreserving,
                dropout: self.dropout,
            },
            drop_path: self.drop_path * index as f32 / span,
            layer_scale: self.layer_scale,
            norm_eps: self.norm_eps,
        }
    }

    /// Whether rational functions of the order can start as `activations`.
    fn check_order(&self, activations: &[Activation], form: Denominator) -> Result<()> {
        let checked = match activations.contains(&Activation::Identity) {
            true => tables::coefficients(Activation::Identity, self.order, form).map(|_| ()),
            false => self.order.check(),
        };
        checked.map_err(|e| Error::config("model.order", e.to_string()))
    }

    /// Checks everything that building would trip over.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, its value and what it must be.
    pub fn check(&self) -> Result<()> {
        let fail = |field: &str, reason: String| Err(Error::config(format!("model.{field}"), reason));
        for (field, value) in [
            ("channels", self.channels),
            ("dim", self.dim),
            ("depth", self.depth),
            ("heads", self.heads),
            ("patch_size", self.patch_size.height.min(self.patch_size.width)),
            ("kan_basis", self.kan_basis),
        ] {
            if value == 0 {
                return fail(field, "is 0, must be at least 1".into());
            }
        }
        for (name, image, patch) in [
            ("height", self.image_size.height, self.patch_size.height),
            ("width", self.image_size.width, self.patch_size.width),
        ] {
            if image == 0 || image % patch != 0 {
                let reason = format!("{name} {image} is not a multiple of the patch {name} {patch}");
                return fail("image_size", reason);
            }
        }
        if !self.dim.is_multiple_of(self.heads) {
            return fail("heads", format!("{} heads do not divide dim {}", self.heads, self.dim));
        }
        if !(self.mlp_ratio.is_finite() && self.hidden() > 0) {
            return fail("mlp_ratio", format!("{} leaves no hidden channels", self.mlp_ratio));
        }
        if self.mixer == MixerKind::GrKan {
            self.check_order(&[self.act1, self.act2], self.denominator_form)?;
            for (name, width) in [("dim", self.dim), ("the hidden width", self.hidden())] {
                if self.groups == 0 || width % self.groups != 0 {
                    return fail("groups", format!("{} groups do not divide {name} {width}", self.groups));
                }
            }
        }
        for (field, rate) in [("drop_path", self.drop_path), ("dropout", self.dropout)] {
            if !(0.0..1.0).contains(&rate) {
                return fail(field, format!("{rate} is not a probability below 1"));
            }
        }
        match (self.mixer, self.learnable) {
            (MixerKind::Mlp, None) => _ = function_of(self.activation)?,
            (MixerKind::Mlp, Some(Learnable::Pau)) => {
                self.check_order(&[self.activation], Denominator::Paper)?;
            }
            (MixerKind::Mlp, Some(Learnable::Prelu)) | (_, None) => {}
            (_, Some(_)) => return fail("learnable", "is for the activation of mixer \"mlp\"".into()),
        }
        if self.layer_scale.is_some() && self.mixer == MixerKind::Kan {
            return fail("layer_scale", "is not there for B-spline edges (mixer \"kan\")".into());
        }
        if self.layer_scale.is_some_and(|value| !value.is_finite()) {
            return fail("layer_scale", "is not a number".into());
        }
        if !(self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            return fail("norm_eps", format!("{} is not above 0 and below 1", self.norm_eps));
        }
        if self.distilled && !(self.class_token && self.pool == Pool::ClassToken) {
            return fail("distilled", "needs the class token, and pool \"class_token\"".into());
        }
        if self.pool == Pool::ClassToken && !self.class_token && self.classes > 0 {
            return fail("pool", "\"class_token\" needs class_token = true; use \"average\"".into());
        }
        if (self.window.is_some() || self.relative_positions) && self.prefix_tokens() > 0 {
            let reason = "windows and relative positions need a grid without class token and registers";
            return fail("class_token", reason.into());
        }
        if self.window == Some(0) {
            return fail("window", "is 0, must be at least 1".into());
        }
        if let Some(block) = self.global_blocks.iter().find(|b| **b >= self.depth) {
            return fail(
                "global_blocks",
                format!("block {block} of {} (0 to {})", self.depth, self.depth - 1),
            );
        }
        Ok(())
    }
}
