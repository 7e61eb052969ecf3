//! The model (KAT, arXiv 2409.10594, Figure 2): patches become tokens, a class token and positions are added,
//! blocks mix tokens and channels, and a head reads the class token. As a dense backbone it gives feature maps: those of a
//! classifier's blocks, or, built as ViTDet's plain backbone (arXiv 2203.16527), the last block's map of images of any size.

use crate::config::{KatConfig, Pool, Resampling, Size};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::module;
use crate::nn::checkpointing::checkpoint;
use crate::nn::{Block, Builder, LayerNorm, Linear, PatchEmbed, Residual};
use crate::ops::resample_grid;
use crate::ops::resize::Interpolation;
use crate::tensor::Tensor;
use crate::{ops, tensor::Graph};

/// A Kolmogorov-Arnold Transformer; with other mixers a ViT or ViT + KAN.
///
/// Fields are named as in published checkpoints.
#[derive(Clone, Debug)]
pub struct Kat<D: Device> {
    /// (1, 1, C).
    pub cls_token: Option<Tensor<D>>,
    /// (1, registers, C).
    pub reg_token: Option<Tensor<D>>,
    /// (1, 1, C): DeiT's distillation token, after the class token.
    pub dist_token: Option<Tensor<D>>,
    /// (1, placed + N, C): of the patches, and of the tokens before them where those have positions.
    pub pos_embed: Tensor<D>,
    /// Image → tokens.
    pub patch_embed: PatchEmbed<D>,
    /// Before the blocks.
    pub norm_pre: Option<LayerNorm<D>>,
    /// The blocks.
    pub blocks: Vec<Block<D>>,
    /// After the last block, where the class token is read.
    pub norm: Option<LayerNorm<D>>,
    /// After average pooling.
    pub fc_norm: Option<LayerNorm<D>>,
    /// C → classes.
    pub head: Option<Linear<D>>,
    /// C → classes, of the distillation token.
    pub head_dist: Option<Linear<D>>,
    config: KatConfig,
    positions: Positions,
}

/// Which grid the position embedding was made for, and how it comes to another.
#[derive(Clone, Copy, Debug)]
struct Positions {
    grid: Size,
    rule: Resampling,
}

module!(Kat {
    cls_token,
    dist_token,
    reg_token,
    pos_embed,
    patch_embed,
    norm_pre,
    blocks,
    norm,
    fc_norm,
    head,
    head_dist,
});

impl<D: Device> Kat<D> {
    /// A model with first values by `config` and `seed`.
    ///
    /// # Errors
    /// A configuration that cannot be; the device refuses.
    pub fn new(device: &D, config: &KatConfig, seed: u64) -> Result<Self> {
        Self::build(&Builder::new(device, seed), config)
    }

    /// As [`Kat::new`], as a part of a larger model.
    ///
    /// # Errors
    /// A configuration that cannot be; the device refuses.
    pub fn build(builder: &Builder<D>, config: &KatConfig) -> Result<Self> {
        config.check()?;
        let average = config.pool == Pool::Average;
        let dim = config.dim;
        let norm = |name: &str| LayerNorm::with_eps(&builder.at(name), dim, config.norm_eps);
        let token = |name: &str, count: usize| {
            (count > 0).then(|| builder.truncated_normal(name, [1, count, dim], 1e-6)).transpose()
        };
        let head = |name: &str| Linear::new(&builder.at(name), dim, config.classes, 0.02);
        let positions = Positions { grid: config.grid(), rule: config.resampling };
        Ok(Self {
            cls_token: token("cls_token", config.class_token.into())?,
            dist_token: token("dist_token", config.distilled.into())?,
            reg_token: token("reg_token", config.registers)?,
            norm: (!average).then(|| norm("norm")).transpose()?,
            fc_norm: average.then(|| norm("fc_norm")).transpose()?,
            head: (config.classes > 0).then(|| head("head")).transpose()?,
            head_dist: (config.distilled && config.classes > 0).then(|| head("head_dist")).transpose()?,
            ..Self::plain(builder, config, positions)?
        })
    }

    /// ViTDet's plain backbone: patches with positions and blocks, without class token, final norm and head. Positions are
    /// those of images of `pretrain_size`.
    ///
    /// # Errors
    /// A configuration that cannot be.
    pub fn dense(builder: &Builder<D>, config: &KatConfig, pretrain_size: Size) -> Result<Self> {
        config.check()?;
        let config = KatConfig {
            class_token: false,
            distilled: false,
            registers: 0,
            classes: 0,
            pool: Pool::Average,
            ..config.clone()
        };
        let grid = KatConfig { image_size: pretrain_size, ..config.clone() }.grid();
        Self::plain(builder, &config, Positions { grid, rule: Resampling::Plain })
    }

    /// What both are made of.
    fn plain(builder: &Builder<D>, config: &KatConfig, positions: Positions) -> Result<Self> {
        let (dim, tokens) = (config.dim, config.placed_tokens() + positions.grid.area());
        let patches = &builder.at("patch_embed");
        Ok(Self {
            cls_token: None,
            dist_token: None,
            reg_token: None,
            pos_embed: builder.truncated_normal("pos_embed", [1, tokens, dim], 0.02)?,
            patch_embed: PatchEmbed::new(
                patches,
                config.channels,
                config.patch_size,
                (dim, config.patch_bias && !config.pre_norm),
            )?,
            norm_pre: (config.pre_norm)
                .then(|| LayerNorm::with_eps(&builder.at("norm_pre"), dim, config.norm_eps))
                .transpose()?,
            blocks: (0..config.depth)
                .map(|i| Block::new(&builder.at("blocks").at(i), &config.block(i)))
                .collect::<Result<_>>()?,
            norm: None,
            fc_norm: None,
            head: None,
            head_dist: None,
            config: config.clone(),
            positions,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &KatConfig {
        &self.config
    }

    /// The grid of patches that the position embedding was made for.
    pub(crate) fn position_grid(&self) -> Size {
        self.positions.grid
    }

    /// The token grid of an image of this many pixels.
    pub fn grid_of(&self, height: usize, width: usize) -> Size {
        Size::new(height / self.config.patch_size.height, width / self.config.patch_size.width)
    }

    /// Class logits.
    ///
    /// # Shapes
    /// image (B, channels, H, W) → (B, classes).
    ///
    /// # Errors
    /// A model without a head, an image of other channels or of no whole patches.
    pub fn forward(&self, graph: &mut Graph<D>, image: &Tensor<D>) -> Result<Tensor<D>> {
        let tokens = self.blocks(graph, image)?;
        // The norm goes row by row: of the class token alone it is the same.
        let tokens = match self.config.pool {
            Pool::ClassToken => {
                ops::take_tokens(graph, &tokens, 0..1 + usize::from(self.head_dist.is_some()))?
            }
            Pool::Average | Pool::NormedAverage => tokens,
        };
        let tokens = self.normed(graph, tokens)?;
        self.classify(graph, &tokens)
    }

    /// All tokens after the last block and the final norm.
    ///
    /// # Shapes
    /// image (B, channels, H, W) → (B, prefix + N, C).
    ///
    /// # Errors
    /// An image of other channels or of no whole patches.
    pub fn tokens(&self, graph: &mut Graph<D>, image: &Tensor<D>) -> Result<Tensor<D>> {
        let tokens = self.blocks(graph, image)?;
        self.normed(graph, tokens)
    }

    /// All tokens after the last block.
    fn blocks(&self, graph: &mut Graph<D>, image: &Tensor<D>) -> Result<Tensor<D>> {
        let (x, grid) = self.embed(graph, image)?;
        let mut x = Residual::from(x);
        for block in &self.blocks {
            x = self.run(graph, block, x, grid)?;
        }
        x.sum(graph)
    }

    /// The final norm, where there is one before pooling.
    fn normed(&self, graph: &mut Graph<D>, tokens: Tensor<D>) -> Result<Tensor<D>> {
        match &self.norm {
            Some(norm) => norm.forward(graph, &tokens),
            None => Ok(tokens),
        }
    }

    /// Logits from the tokens of [`Kat::tokens`].
    ///
    /// # Errors
    /// A model without a head, tokens of another shape.
    pub fn classify(&self, graph: &mut Graph<D>, tokens: &Tensor<D>) -> Result<Tensor<D>> {
        let head = self
            .head
            .as_ref()
            .ok_or_else(|| Error::config("model.classes", "is 0: the model has no head to classify with"))?;
        let [batch, count, dim] = tokens.axes("classify", "tokens (B, N, C)")?;
        let token = |graph: &mut Graph<D>, at: usize| {
            ops::take_tokens(graph, tokens, at..at + 1)?.reshape([batch, dim])
        };
        if let Some(second) = &self.head_dist {
            let (class, distilled) = (token(graph, 0)?, token(graph, 1)?);
            let (a, b) = (head.forward(graph, &class)?, second.forward(graph, &distilled)?);
            let sum = ops::add(graph, &a, &b)?;
            return ops::scale(graph, &sum, 0.5);
        }
        let pooled = match self.config.pool {
            Pool::ClassToken => token(graph, 0)?,
            Pool::Average | Pool::NormedAverage => {
                let patches = ops::take_tokens(graph, tokens, self.config.prefix_tokens()..count)?;
                ops::mean_tokens(graph, &patches)?
            }
        };
        let pooled = match &self.fc_norm {
            Some(norm) => norm.forward(graph, &pooled)?,
            None => pooled,
        };
        head.forward(graph, &pooled)
    }

    /// Feature maps after chosen blocks (0-based, ascending), without the final norm.
    ///
    /// # Shapes
    /// image (B, channels, H, W) → for each of `blocks` (B, C, H/p, W/p).
    ///
    /// # Errors
    /// Blocks that do not ascend or do not exist, an image of other channels or of no whole patches.
    pub fn feature_maps(
        &self,
        graph: &mut Graph<D>,
        image: &Tensor<D>,
        blocks: &[usize],
    ) -> Result<Vec<Tensor<D>>> {
        let ascending = blocks.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascending || blocks.iter().any(|b| *b >= self.blocks.len()) {
            let reason = format!("{blocks:?} must ascend and be below {}", self.blocks.len());
            return Err(Error::config("feature map blocks", reason));
        }
        let (x, grid) = self.embed(graph, image)?;
        let mut x = Residual::from(x);
        let mut maps = Vec::with_capacity(blocks.len());
        let needed = blocks.last().map_or(0, |last| last + 1);
        for (i, block) in self.blocks[..needed].iter().enumerate() {
            x = self.run(graph, block, x, grid)?;
            if blocks.contains(&i) {
                let tokens = x.sum(graph)?;
                let count = tokens.shape().axes()[1];
                let patches = ops::take_tokens(graph, &tokens, self.config.prefix_tokens()..count)?;
                maps.push(ops::tokens_to_map(graph, &patches, [grid.height, grid.width])?);
                x = tokens.into();
            }
        }
        Ok(maps)
    }

    /// The last block's map of images of any size: sides that are no multiple of the patch are padded with zeros, the mean
    /// color, at the right and bottom.
    ///
    /// # Shapes
    /// image (B, channels, H, W) → (B, C, ⌈H/p⌉, ⌈W/p⌉).
    ///
    /// # Errors
    /// An image of other channels; a model without blocks.
    pub fn last_map(&self, graph: &mut Graph<D>, image: &Tensor<D>) -> Result<Tensor<D>> {
        let image = pad(image, self.config.patch_size)?;
        let mut maps = self.feature_maps(graph, &image, &[self.blocks.len().saturating_sub(1)])?;
        maps.pop().ok_or_else(|| Error::config("model.depth", "is 0, must be at least 1"))
    }

    /// Patches, prefix tokens and positions.
    fn embed(&self, graph: &mut Graph<D>, image: &Tensor<D>) -> Result<(Tensor<D>, Size)> {
        let (mut x, grid) = self.patch_embed.forward(graph, image)?;
        let positions = self.positions(graph, grid)?;
        if !self.config.prefix_positions {
            x = ops::add(graph, &x, &positions)?;
        }
        for prefix in [&self.reg_token, &self.dist_token, &self.cls_token].into_iter().flatten() {
            x = ops::prepend_tokens(graph, prefix, &x)?;
        }
        if self.config.prefix_positions {
            x = ops::add(graph, &x, &positions)?;
        }
        x = ops::dropout(graph, &x, self.config.dropout)?;
        if let Some(norm) = &self.norm_pre {
            x = norm.forward(graph, &x)?;
        }
        Ok((x, grid))
    }

    /// The position embedding for `grid`, resampled where it was made for another.
    ///
    /// # Shapes
    /// (1, placed + N, C): of the patches, and of the tokens before them where those have positions.
    ///
    /// # Errors
    /// The device refuses.
    pub fn positions(&self, graph: &mut Graph<D>, grid: Size) -> Result<Tensor<D>> {
        let (own, prefix) = (self.positions.grid, self.config.placed_tokens());
        if grid == own {
            return Ok(self.pos_embed.clone());
        }
        let patches = ops::take_tokens(graph, &self.pos_embed, prefix..prefix + own.area())?;
        let patches = match self.positions.rule {
            Resampling::Antialiased => {
                resample_grid(graph, &patches, Interpolation::BicubicAntialias, own, grid)?
            }
            Resampling::Plain => {
                let map = ops::tokens_to_map(graph, &patches, [own.height, own.width])?;
                let map = ops::resize(graph, &map, [grid.height, grid.width], Interpolation::Bicubic)?;
                ops::map_to_tokens(graph, &map)?
            }
        };
        if prefix == 0 {
            return Ok(patches);
        }
        let first = ops::take_tokens(graph, &self.pos_embed, 0..prefix)?;
        ops::prepend_tokens(graph, &first, &patches)
    }

    fn run(&self, graph: &mut Graph<D>, block: &Block<D>, x: Residual<D>, grid: Size) -> Result<Residual<D>> {
        if !self.config.activation_checkpointing {
            return block.advance(graph, x, grid);
        }
        let x = x.sum(graph)?;
        Ok(checkpoint(graph, block, &x, move |block, graph, x| block.forward(graph, x, grid))?.into())
    }
}

/// The image with zeros at the right and bottom up to multiples of `patch`; itself where it fits.
fn pad<D: Device>(image: &Tensor<D>, patch: Size) -> Result<Tensor<D>> {
    let [batch, channels, height, width] =
        image.axes("padding to the patch", "images (B, channels, H, W)")?;
    let (rows, columns) = (height.next_multiple_of(patch.height), width.next_multiple_of(patch.width));
    if (rows, columns) == (height, width) || width == 0 {
        return Ok(image.clone());
    }
    let mut padded = vec![0.0; batch * channels * rows * columns];
    let from = image.to_vec();
    for (to, from) in padded.chunks_exact_mut(rows * columns).zip(from.chunks_exact(height * width)) {
        for (to, from) in to.chunks_exact_mut(columns).zip(from.chunks_exact(width)) {
            to[..width].copy_from_slice(from);
        }
    }
    Tensor::from_vec(image.device(), padded, [batch, channels, rows, columns])
}
