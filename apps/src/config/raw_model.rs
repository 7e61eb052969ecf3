//! The `[model]` section as typed.

use kat_backbone::config::Resampling;
use kat_backbone::nn::{Learnable, MixerKind, Sharing};
use kat_backbone::ops::rational::Denominator;
use kat_backbone::{InitScheme, Pool};

use super::keys::section;
use super::kinds::Freeze;

section! {
    /// `[model]`: a named variant, or the numbers of one of your own; a number given beside a name overrides it.
    Model {
        /// Named variant, such as "kat_small_patch16_224"; `classify info` lists them.
        name: Option<String> = None;
        /// Side of the square input in pixels.
        image_size: Option<usize> = None;
        /// Side of a patch in pixels.
        patch: Option<usize> = None;
        /// Channels of a token.
        dim: Option<usize> = None;
        /// Number of blocks.
        depth: Option<usize> = None;
        /// Attention heads.
        heads: Option<usize> = None;
        /// Hidden channels of the mixer over `dim`.
        mlp_ratio: Option<f64> = None;
        /// Between the attention layers: "gr_kan", "mlp" or "kan".
        mixer: Option<MixerKind> = None;
        /// Groups of channels that share a rational function.
        groups: Option<usize> = None;
        /// Degree of the numerator polynomial.
        numerator_degree: Option<usize> = None;
        /// Degree of the denominator polynomial.
        denominator_degree: Option<usize> = None;
        /// Numerators "shared" by all groups or "per_group".
        numerator: Option<Sharing> = None;
        /// Denominators 1 + Σ|b_i||x|^i, "kernel" (published checkpoints), or 1 + |Σ b_i x^i|, "paper".
        denominator: Option<Denominator> = None;
        /// What the first rational function starts as: "identity", "relu", "gelu", "swish" …
        act1: Option<String> = None;
        /// What the second rational function starts as.
        act2: Option<String> = None;
        /// Activation of "mlp", and of a ViT whose weights a "gr_kan" takes (act2 is fitted to it): "gelu", "gelu_tanh",
        /// "quick_gelu", "swish" or "relu".
        activation: Option<String> = None;
        /// An activation of "mlp" that learns: "prelu", or "pau", a Padé unit that starts as `activation`, then also
        /// "leaky_relu", "tanh" …
        learnable_activation: Option<Learnable> = None;
        /// Initialisation of the mixer: "variance_preserving" or "published".
        init: Option<InitScheme> = None;
        /// What the head reads: "class_token", "average" (of the patches, normed after) or "normed_average" (normed before).
        pool: Option<Pool> = None;
        /// Whether there is a class token; left out, as `pool` needs it.
        class_token: Option<bool> = None;
        /// Extra tokens that carry no patch.
        register_tokens: Option<usize> = None;
        /// DeiT's distillation token with a head of its own; both heads are averaged.
        distilled: Option<bool> = None;
        /// Whether tokens before the patches have positions too (DeiT III's have none).
        prefix_positions: Option<bool> = None;
        /// How positions come to another grid: "antialiased" (timm) or "plain" (mmsegmentation, ViTDet).
        position_resampling: Option<Resampling> = None;
        /// First value of LayerScale's factors; left out, branches are not scaled.
        layer_scale: Option<f64> = None;
        /// A norm before the blocks, and no bias in the patch projection (CLIP).
        pre_norm: Option<bool> = None;
        /// Whether the patch projection has a bias (mmsegmentation 1.x has none).
        patch_bias: Option<bool> = None;
        /// ε of every layer norm.
        norm_eps: Option<f64> = None;
        /// Whether queries, keys and values have a bias.
        qkv_bias: Option<bool> = None;
        /// Stochastic depth of the last block; the first has 0, those between lie on a line.
        drop_path: f64 = 0.0;
        /// Checkpoint whose weights training starts from (.safetensors, .pth, .npz, or .pkl of arrays).
        init_from: Option<String> = None;
        /// Accept a checkpoint whose head has another number of classes; the head then starts fresh.
        allow_head_mismatch: bool = false;
        /// Leave out parts of the initial checkpoint's encoder that this model does not have, such as LayerScale or more
        /// blocks: an error otherwise.
        allow_unused: bool = false;
        /// Take averaged weights (EMA) from the initial checkpoint where it has some.
        init_averaged: bool = true;
        /// What training leaves as it was: patches, tokens, positions and the first so many blocks, or "backbone", all but the
        /// heads.
        freeze: Freeze = Freeze::Blocks(0);
        /// Recompute blocks in the backward pass instead of keeping their activations.
        recompute: bool = false;
    }
}
