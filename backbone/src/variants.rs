//! The named models: a table from name to configuration, under timm's names where timm has them.

use crate::checkpoint::told::Preparation;
use crate::config::{InitScheme, KatConfig, Pool, Size};
use crate::error::{Error, Result};
use crate::init::Activation;
use crate::nn::MixerKind;

/// Width, heads and blocks of a size.
#[derive(Clone, Copy)]
struct Scale {
    size: &'static str,
    dim: usize,
    heads: usize,
    depth: usize,
}

const TINY: Scale = Scale { size: "tiny", dim: 192, heads: 3, depth: 12 };
const SMALL: Scale = Scale { size: "small", dim: 384, heads: 6, depth: 12 };
const MEDIUM: Scale = Scale { size: "medium", dim: 512, heads: 8, depth: 12 };
const BASE: Scale = Scale { size: "base", dim: 768, heads: 12, depth: 12 };
const LARGE: Scale = Scale { size: "large", dim: 1024, heads: 16, depth: 24 };
const HUGE: Scale = Scale { size: "huge", dim: 1280, heads: 16, depth: 32 };

/// The paper's sizes.
const PAPER: &[Scale] = &[TINY, SMALL, BASE];

/// Means and deviations of ImageNet's pixels.
const IMAGENET: ([f64; 3], [f64; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
/// Those that OpenAI's CLIP was trained with.
const CLIP: ([f64; 3], [f64; 3]) =
    ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]);
/// From -1 to 1.
const UNIT: ([f64; 3], [f64; 3]) = ([0.5; 3], [0.5; 3]);

/// A named model.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The name: family_size_patch_resolution, as in timm.
    pub name: String,
    /// What it is, in a line.
    pub summary: &'static str,
    /// Its configuration.
    pub config: KatConfig,
    /// How its published weights want images, where all of them want the same.
    pub preparation: Option<Preparation>,
}

/// Means and standard deviations of red, green and blue.
type Statistics = ([f64; 3], [f64; 3]);

/// Models that differ in size only.
struct Family {
    /// What stands before the size and after it.
    name: (&'static str, &'static str),
    summary: &'static str,
    sizes: &'static [Scale],
    /// Side of a patch and of the image, in pixels.
    pixels: (usize, usize),
    /// What sets it apart from a plain ViT.
    form: fn(KatConfig) -> KatConfig,
    /// Means and deviations, and the share of the image that is kept.
    preparation: Option<(Statistics, f64)>,
}

fn kat(vit: KatConfig) -> KatConfig {
    let KatConfig { mixer, mimetic, init, act2, .. } = KatConfig::default();
    KatConfig { mixer, mimetic, init, act2, ..vit }
}

fn clip(vit: KatConfig) -> KatConfig {
    KatConfig { pre_norm: true, norm_eps: 1e-5, classes: 0, ..vit }
}

fn dinov2(vit: KatConfig) -> KatConfig {
    KatConfig { layer_scale: Some(1e-5), classes: 0, ..vit }
}

const FAMILIES: &[Family] = &[
    Family {
        name: ("kat", "_patch16_224"),
        summary: "KAT (GR-KAN, act2 starts as swish)",
        sizes: PAPER,
        pixels: (16, 224),
        form: kat,
        preparation: None,
    },
    Family {
        name: ("kat", "_swish_patch16_224"),
        summary: "the same as kat: act2 starts as swish",
        sizes: PAPER,
        pixels: (16, 224),
        form: kat,
        preparation: None,
    },
    Family {
        name: ("kat", "_gelu_patch16_224"),
        summary: "KAT whose act2 starts as GELU",
        sizes: PAPER,
        pixels: (16, 224),
        form: |vit| KatConfig { act2: Activation::Gelu, ..kat(vit) },
        preparation: None,
    },
    Family {
        name: ("vit", "_patch16_224"),
        summary: "ViT (MLP, GELU)",
        sizes: &[TINY, SMALL, BASE, LARGE],
        pixels: (16, 224),
        form: |vit| vit,
        preparation: None,
    },
    Family {
        name: ("deit", "_patch16_224"),
        summary: "DeiT: ViT under DeiT's recipe",
        sizes: PAPER,
        pixels: (16, 224),
        form: |vit| vit,
        preparation: None,
    },
    Family {
        name: ("vit", "_kan"),
        summary: "ViT + KAN (B-spline edges), the paper's baseline",
        sizes: PAPER,
        pixels: (16, 224),
        form: |vit| KatConfig { mixer: MixerKind::Kan, ..vit },
        preparation: None,
    },
    Family {
        name: ("vit", "_patch16_384"),
        summary: "ViT at 384 pixels (AugReg)",
        sizes: &[TINY, SMALL, BASE, LARGE],
        pixels: (16, 384),
        form: |vit| vit,
        preparation: None,
    },
    Family {
        name: ("vit", "_patch32_224"),
        summary: "ViT of large patches",
        sizes: &[SMALL, BASE],
        pixels: (32, 224),
        form: |vit| vit,
        preparation: None,
    },
    Family {
        name: ("vit", "_patch32_384"),
        summary: "ViT of large patches at 384 pixels",
        sizes: &[SMALL, BASE],
        pixels: (32, 384),
        form: |vit| vit,
        preparation: None,
    },
    Family {
        name: ("deit", "_distilled_patch16_224"),
        summary: "DeiT with a distillation token; both heads averaged",
        sizes: PAPER,
        pixels: (16, 224),
        form: |vit| KatConfig { distilled: true, ..vit },
        preparation: Some((IMAGENET, 0.9)),
    },
    Family {
        name: ("deit3", "_patch16_224"),
        summary: "DeiT III (LayerScale, positions of patches only)",
        sizes: &[SMALL, MEDIUM, BASE, LARGE],
        pixels: (16, 224),
        form: |vit| KatConfig { layer_scale: Some(1e-6), prefix_positions: false, ..vit },
        preparation: Some((IMAGENET, 0.9)),
    },
    Family {
        name: ("mae", "_patch16_224"),
        summary: "MAE, fine-tuned (class token, norm after the average)",
        sizes: &[BASE, LARGE],
        pixels: (16, 224),
        form: |vit| KatConfig { pool: Pool::Average, ..vit },
        preparation: Some((IMAGENET, 0.875)),
    },
    Family {
        name: ("mae", "_patch14_224"),
        summary: "MAE, fine-tuned (class token, norm after the average)",
        sizes: &[HUGE],
        pixels: (14, 224),
        form: |vit| KatConfig { pool: Pool::Average, ..vit },
        preparation: Some((IMAGENET, 0.875)),
    },
    Family {
        name: ("vit", "_patch14_dinov2"),
        summary: "DINOv2 (LayerScale), without head",
        sizes: &[SMALL, BASE, LARGE],
        pixels: (14, 518),
        form: dinov2,
        preparation: Some((IMAGENET, 1.0)),
    },
    Family {
        name: ("vit", "_patch14_reg4_dinov2"),
        summary: "DINOv2 with four registers, without head",
        sizes: &[SMALL, BASE, LARGE],
        pixels: (14, 518),
        form: |vit| KatConfig { registers: 4, prefix_positions: false, ..dinov2(vit) },
        preparation: Some((IMAGENET, 1.0)),
    },
    Family {
        name: ("vit", "_patch16_clip_224"),
        summary: "CLIP's image encoder (norm before the blocks, GELU)",
        sizes: &[BASE],
        pixels: (16, 224),
        form: clip,
        preparation: Some((CLIP, 0.9)),
    },
    Family {
        name: ("vit", "_patch32_clip_224"),
        summary: "CLIP's image encoder (norm before the blocks, GELU)",
        sizes: &[BASE],
        pixels: (32, 224),
        form: clip,
        preparation: Some((CLIP, 0.9)),
    },
    Family {
        name: ("vit", "_patch14_clip_224"),
        summary: "CLIP's image encoder (norm before the blocks, GELU)",
        sizes: &[LARGE],
        pixels: (14, 224),
        form: clip,
        preparation: Some((CLIP, 1.0)),
    },
    Family {
        name: ("vit", "_patch16_clip_quickgelu_224"),
        summary: "OpenAI's CLIP (QuickGELU)",
        sizes: &[BASE],
        pixels: (16, 224),
        form: |vit| KatConfig { activation: Activation::QuickGelu, ..clip(vit) },
        preparation: Some((CLIP, 0.9)),
    },
    Family {
        name: ("vit", "_patch32_clip_quickgelu_224"),
        summary: "OpenAI's CLIP (QuickGELU)",
        sizes: &[BASE],
        pixels: (32, 224),
        form: |vit| KatConfig { activation: Activation::QuickGelu, ..clip(vit) },
        preparation: Some((CLIP, 0.9)),
    },
    Family {
        name: ("vit", "_patch14_clip_quickgelu_224"),
        summary: "OpenAI's CLIP (QuickGELU)",
        sizes: &[LARGE],
        pixels: (14, 224),
        form: |vit| KatConfig { activation: Activation::QuickGelu, ..clip(vit) },
        preparation: Some((CLIP, 1.0)),
    },
    Family {
        name: ("vit", "_patch16_siglip_gap_224"),
        summary: "SigLIP's image encoder, averaged after the norm, without head",
        sizes: &[BASE],
        pixels: (16, 224),
        form: |vit| KatConfig { class_token: false, pool: Pool::NormedAverage, classes: 0, ..vit },
        preparation: Some((UNIT, 0.9)),
    },
];

/// Every named model, KAT first.
pub fn all() -> Vec<Variant> {
    let plain = KatConfig {
        mixer: MixerKind::Mlp,
        mimetic: false,
        init: InitScheme::Published,
        ..KatConfig::default()
    };
    let mut variants = Vec::new();
    for family in FAMILIES {
        let (patch, side) = family.pixels;
        for &Scale { size, dim, heads, depth } in family.sizes {
            let vit = KatConfig {
                dim,
                heads,
                depth,
                patch_size: Size::square(patch),
                image_size: Size::square(side),
                ..plain.clone()
            };
            let (before, after) = family.name;
            variants.push(Variant {
                name: format!("{before}_{size}{after}"),
                summary: family.summary,
                config: (family.form)(vit),
                preparation: family.preparation.map(|((mean, std), crop)| Preparation {
                    mean,
                    std,
                    crop: Some(crop),
                }),
            });
        }
    }
    variants
}

/// The named model, or an error with the nearest name. What follows a point in the name (timm's tag of the weights, as in
/// `vit_base_patch16_224.mae`) is of no account.
///
/// # Errors
/// [`Error::Unknown`] with the nearest name.
pub fn named(name: &str) -> Result<Variant> {
    let variants = all();
    let own = name.split('.').next().unwrap_or(name);
    match variants.iter().find(|v| v.name == own) {
        Some(variant) => Ok(variant.clone()),
        None => Err(Error::unknown("model", name, variants.iter().map(|v| v.name.as_str()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_valid_and_suggested() {
        let variants = all();
        let mut names: Vec<_> = variants.iter().map(|v| &v.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), variants.len());
        variants.iter().for_each(|v| v.config.check().unwrap());
        let error = named("kat_smal_patch16_224").unwrap_err().to_string();
        assert!(error.contains("kat_small_patch16_224"), "{error}");
        assert_eq!(named("deit3_base_patch16_224.fb_in1k").unwrap().name, "deit3_base_patch16_224");
    }
}
