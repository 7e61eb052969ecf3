//! The named models: a table from name to configuration.

use crate::config::{InitScheme, KatConfig};
use crate::error::{Error, Result};
use crate::init::Activation;
use crate::nn::MixerKind;

/// Width, heads and published figures of a size.
struct Family {
    size: &'static str,
    dim: usize,
    heads: usize,
}

const FAMILIES: [Family; 3] = [
    Family { size: "tiny", dim: 192, heads: 3 },
    Family { size: "small", dim: 384, heads: 6 },
    Family { size: "base", dim: 768, heads: 12 },
];

/// A named model.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The name: family_size_patch_resolution, as in timm.
    pub name: String,
    /// What it is, in a line.
    pub summary: &'static str,
    /// Its configuration.
    pub config: KatConfig,
}

/// Every named model, KAT first.
pub fn all() -> Vec<Variant> {
    let kat = KatConfig::default();
    let vit = KatConfig { mixer: MixerKind::Mlp, mimetic: false, init: InitScheme::Published, ..kat.clone() };
    let kan = KatConfig { mixer: MixerKind::Kan, ..vit.clone() };
    let gelu = KatConfig { act2: Activation::Gelu, ..kat.clone() };
    let forms: [(&str, &str, &'static str, &KatConfig); 6] = [
        ("kat", "_patch16_224", "KAT (GR-KAN, act2 starts as swish)", &kat),
        ("kat", "_swish_patch16_224", "the same as kat: act2 starts as swish", &kat),
        ("kat", "_gelu_patch16_224", "KAT whose act2 starts as GELU", &gelu),
        ("vit", "_patch16_224", "ViT (MLP, GELU)", &vit),
        ("deit", "_patch16_224", "DeiT: ViT under DeiT's recipe", &vit),
        ("vit", "_kan", "ViT + KAN (B-spline edges), the paper's baseline", &kan),
    ];
    let mut variants = Vec::new();
    for (prefix, suffix, summary, config) in forms {
        for Family { size, dim, heads } in FAMILIES {
            let config = KatConfig { dim, heads, ..config.clone() };
            variants.push(Variant { name: format!("{prefix}_{size}{suffix}"), summary, config });
        }
    }
    variants
}

/// The named model, or an error with the nearest name.
///
/// # Errors
/// [`Error::Unknown`] with the nearest name.
pub fn named(name: &str) -> Result<Variant> {
    let variants = all();
    match variants.iter().find(|v| v.name == name) {
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
    }
}
