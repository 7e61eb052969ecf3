//! What a file's names and shapes tell of its model, and which named models it fits.

use super::transfer::{self, Expected, HeadPolicy, TransferOptions};
use super::{Averages, CheckpointError, TensorMap, model, names, part};
use crate::kat::Kat;
use crate::meta::Meta;
use crate::nn::MixerKind;
use crate::variants::{self, Variant};

/// What can be told of an encoder without its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoder {
    /// Channels of a token.
    pub dim: usize,
    /// Blocks.
    pub depth: usize,
    /// Patch (height, width), where the projection is a convolution.
    pub patch: Option<(usize, usize)>,
    /// Classes of the head, if it has one.
    pub classes: Option<usize>,
    /// What sets it apart from a plain ViT, in words: rational functions, LayerScale, registers …
    pub traits: Vec<&'static str>,
}

impl Encoder {
    /// The encoder of a file; `None` where there is none that is known.
    pub fn of(map: &TensorMap) -> Option<Self> {
        let shape = |name: &str| map.get(name).map(|tensor| &tensor.shape[..]);
        let projection = shape("patch_embed.proj.weight")?;
        let depth =
            map.tensors.keys().filter_map(|name| names::block_of(name)).max().map_or(0, |last| last + 1);
        let any = |part: &str| map.tensors.keys().any(|name| name.contains(part));
        let known = [
            (map.tensors.keys().any(|name| names::rational(name).is_some()), "rational functions (KAT)"),
            (any(".mlp.layers."), "B-spline edges (KAN)"),
            (shape("cls_token").is_some(), "class token"),
            (any("reg_token"), "register tokens"),
            (any("dist_token"), "distillation token"),
            (any(".ls1."), "LayerScale"),
            (any(".q_norm."), "normalized queries and keys"),
            (any("norm_pre."), "norm before the blocks"),
            (any("rel_pos_"), "relative positions"),
            (any("fc_norm."), "norm after average pooling"),
            (any("mask_token"), "masked autoencoder"),
        ];
        Some(Self {
            dim: *projection.first()?,
            depth,
            patch: matches!(projection, [_, _, _, _]).then(|| (projection[2], projection[3])),
            classes: shape("head.weight").and_then(|shape| shape.first().copied()),
            traits: known.into_iter().filter(|(has, _)| *has).map(|(_, name)| name).collect(),
        })
    }
}

/// How a file fits a named model.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// The model.
    pub name: String,
    /// Tensors that the model takes from the file.
    pub loaded: usize,
    /// What stands in the way; `None` where nothing does.
    pub obstacle: Option<String>,
    /// What loading would choose or convert.
    pub notes: Vec<String>,
}

/// How `map` fits each named model of its width and depth.
///
/// # Errors
/// A model that cannot be built, or positions that cannot be resampled.
pub fn fits(map: &TensorMap) -> Result<Vec<Fit>, CheckpointError> {
    let Some(encoder) = Encoder::of(map) else { return Ok(Vec::new()) };
    let same = |variant: &Variant| variant.config.dim == encoder.dim && variant.config.depth == encoder.depth;
    variants::all().into_iter().filter(same).map(|variant| fit(map, &encoder, variant)).collect()
}

fn fit(map: &TensorMap, encoder: &Encoder, variant: Variant) -> Result<Fit, CheckpointError> {
    let config = crate::KatConfig { classes: encoder.classes.unwrap_or(0), ..variant.config };
    // B-spline weights are ten times those of an MLP and fit no other model: nothing is to be gained by making them.
    let splines = encoder.traits.iter().any(|t| t.contains("KAN"));
    if (config.mixer == MixerKind::Kan) != splines {
        let obstacle = Some("its channel mixers are of another kind".to_owned());
        return Ok(Fit { name: variant.name, loaded: 0, obstacle, notes: Vec::new() });
    }
    // its shapes are all that is asked for
    let built = Kat::new(&Meta::default(), &config, 0);
    let shapes: Expected = match &built {
        Ok(built) => model::expected(built),
        Err(error) => {
            let obstacle = Some(error.to_string());
            return Ok(Fit { name: variant.name, loaded: 0, obstacle, notes: Vec::new() });
        }
    };
    let options = TransferOptions {
        source_grid: model::stored_config(map).map(|config| config.grid()),
        prefix_tokens: config.placed_tokens(),
        head: HeadPolicy::Strict,
        denominator: config.denominator_form,
        ..TransferOptions::new(config.grid())
    };
    let source = part::of_model(map.clone(), &shapes, Averages::Prefer);
    let report = match transfer::adapt(source, &shapes, &options) {
        Ok((_, report)) => report,
        // positions of another number of tokens
        Err(error) => {
            let obstacle = Some(error.to_string());
            return Ok(Fit { name: variant.name, loaded: 0, obstacle, notes: Vec::new() });
        }
    };
    let obstacle = match (report.missing.first(), report.mismatched.first(), report.left_over.first()) {
        (Some(first), ..) => Some(format!("{} tensors are missing, first {first}", report.missing.len())),
        (_, Some(first), _) => {
            Some(format!("{}: file {:?}, model {:?}", first.name, first.found, first.expected))
        }
        (.., Some(_)) => Some(names::likely_cause(&report.left_over, config.depth)),
        _ => None,
    };
    Ok(Fit { name: variant.name, loaded: report.loaded.len(), obstacle, notes: report.notes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cpu, KatConfig, Size};

    #[test]
    fn a_vit_fits_a_kat_of_its_size_and_a_deeper_one_does_not() {
        let named = |name: &str| variants::named(name).unwrap().config;
        let vit = KatConfig { classes: 10, ..named("vit_tiny_patch16_224") };
        let mut map = model::export(&Kat::new(&Cpu::default(), &vit, 0).unwrap());
        let encoder = Encoder::of(&map).unwrap();
        assert_eq!((encoder.dim, encoder.depth, encoder.patch), (192, 12, Some((16, 16))));
        assert_eq!((encoder.classes, &encoder.traits[..]), (Some(10), &["class token"][..]));
        let of = |map: &TensorMap, name: &str| {
            fits(map).unwrap().into_iter().find(|fit| fit.name == name).unwrap()
        };
        assert_eq!(of(&map, "vit_tiny_patch16_224").obstacle, None);
        let kat = of(&map, "kat_tiny_patch16_224");
        assert!(kat.obstacle.is_none() && kat.notes[0].contains("ViT to KAT"), "{kat:?}");
        let gamma = map.get("blocks.0.norm1.weight").unwrap().clone();
        map.insert("blocks.0.ls1.gamma", gamma);
        assert!(of(&map, "vit_tiny_patch16_224").obstacle.unwrap().contains("LayerScale"));
        let odd =
            KatConfig { image_size: Size::square(32), dim: 32, heads: 2, depth: 1, ..KatConfig::default() };
        let map = model::export(&Kat::new(&Cpu::default(), &odd, 0).unwrap());
        assert!(fits(&map).unwrap().is_empty());
        assert_eq!(Encoder::of(&TensorMap::default()), None);
    }
}
