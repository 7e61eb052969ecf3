//! From a file's tensors to the model that they are of, so that nobody has to name it.

use super::dialect::MMDETECTION;
use super::told::{PROGRAM_KEY, Preparation, Told};
use super::{TensorMap, model, names};
use crate::config::{InitScheme, KatConfig, Pool, Size};
use crate::init::{Activation, Order};
use crate::nn::{Learnable, MixerKind, Sharing};
use crate::variants;

/// A model that was recognized.
#[derive(Debug, Clone, PartialEq)]
pub struct Recognized {
    /// Its configuration; where something is [undecided](Self::undecided) it stands for no file yet.
    pub config: KatConfig,
    /// What neither the tensors nor a description tell, by the key that decides it, with what it may be.
    pub undecided: Vec<(&'static str, String)>,
    /// How images were prepared, where that is told.
    pub preparation: Option<Preparation>,
    /// Names of the classes, where they are told.
    pub classes: Option<Vec<String>>,
    /// What was found where, in sentences.
    pub notes: Vec<String>,
}

/// The model of a file's encoder.
///
/// # Errors
/// Why there is none: no encoder that is known, or parts that are not built here, in words.
pub fn recognize(map: &TensorMap) -> Result<Recognized, String> {
    if map.tensors.keys().any(|name| name.contains("rel_pos")) {
        return Err("the file's model has relative positions, as detectors do: `detect` reads it".into());
    }
    encoder(map)
}

/// As [`recognize`], of a dense backbone, such as a detector's: the positions may be those of a model with a class token. Its
/// windows and relative positions are left to who knows the larger model.
///
/// # Errors
/// As [`recognize`].
pub fn dense(map: &TensorMap) -> Result<Recognized, String> {
    let mut map = map.clone();
    let positions = map.get("pos_embed").and_then(|tensor| tensor.shape.get(1).copied()).unwrap_or(0);
    if positions > 1 && positions.isqrt().pow(2) != positions && map.get("cls_token").is_none() {
        let dim = map.get("pos_embed").and_then(|tensor| tensor.shape.last().copied()).unwrap_or(0);
        map.insert("cls_token", super::HostTensor { shape: vec![1, 1, dim], data: vec![0.0; dim] });
    }
    let mut found = encoder(&map)?;
    found.config = KatConfig {
        class_token: false,
        distilled: false,
        registers: 0,
        prefix_positions: true,
        classes: 0,
        pool: Pool::Average,
        ..found.config
    };
    Ok(found)
}

fn encoder(map: &TensorMap) -> Result<Recognized, String> {
    let shape = |name: &str| map.get(name).map(|tensor| &tensor.shape[..]);
    let has = |name: &str| map.get(name).is_some();
    let any = |part: &str| map.tensors.keys().any(|name| name.contains(part));
    let Some(projection) = shape("patch_embed.proj.weight") else {
        return Err("no vision transformer that is known: there is no patch projection in it (`inspect FILE` lists the \
                    tensors)"
            .into());
    };
    let &[dim, channels, rows, columns] = projection else {
        return Err(format!(
            "patch_embed.proj.weight has shape {projection:?}, expected (C, 3, patch, patch): name the model"
        ));
    };
    for (part, what) in [
        (".q_norm.", "normalizes queries and keys, which is not built here"),
        (
            "attn_pool.",
            "pools by attention (SigLIP's usual head), which is not built here; its `gap` models load",
        ),
        (
            "vision_model.head.",
            "pools by attention (SigLIP's usual head), which is not built here; its `gap` models load",
        ),
        (".mlp.w12.", "has gated MLPs (SwiGLU), which are not built here"),
        (".mlp.weights_in.", "has gated MLPs (SwiGLU), which are not built here"),
    ] {
        if any(part) {
            return Err(format!("the file's model {what}"));
        }
    }
    let depth = map.tensors.keys().filter_map(|name| names::block_of(name)).max().map_or(0, |last| last + 1);
    let Some([hidden, _]) = shape("blocks.0.mlp.fc1.weight") else {
        return Err(
            "the file has no blocks.0.mlp.fc1.weight: its channel mixers are of a kind that is not known"
                .into(),
        );
    };
    let told = Told::of(map, dim, depth);
    if let Some(unknown) = &told.unknown {
        return Err(format!("{} names {unknown}, which is not built here", told.source));
    }
    let (class_token, second_head) = (has("cls_token"), has("head_dist.weight"));
    // A distillation token without a head of its own is one more register.
    let lone = usize::from(has("dist_token") && !second_head);
    let registers = shape("reg_token").and_then(|shape| shape.get(1).copied()).unwrap_or(0) + lone;
    let mut config = KatConfig {
        patch_size: Size::new(rows, columns),
        channels,
        dim,
        depth,
        // so that the hidden width comes out of a product in f32
        mlp_ratio: (*hidden as f32 + 0.25) / dim.max(1) as f32,
        classes: shape("head.weight").and_then(|shape| shape.first().copied()).unwrap_or(0),
        mixer: MixerKind::Mlp,
        pool: match (has("fc_norm.weight"), class_token) {
            (true, _) => Pool::Average,
            (false, true) => Pool::ClassToken,
            (false, false) => Pool::NormedAverage,
        },
        class_token,
        distilled: second_head && has("dist_token"),
        registers,
        layer_scale: has("blocks.0.ls1.gamma").then_some(1e-5),
        pre_norm: has("norm_pre.weight"),
        patch_bias: has("patch_embed.proj.bias") || has("norm_pre.weight"),
        qkv_bias: has("blocks.0.attn.qkv.bias"),
        mimetic: false,
        init: InitScheme::Published,
        ..KatConfig::default()
    };
    coefficients(map, &mut config)?;
    let positions = shape("pos_embed").and_then(|shape| shape.get(1).copied()).unwrap_or(0);
    let (grid, prefixed) = grid(map, positions, (config.prefix_tokens(), config.registers > 0))?;
    config.prefix_positions = prefixed;
    config.image_size = Size::new(grid.height * rows, grid.width * columns);
    let mut found = Recognized {
        config,
        undecided: Vec::new(),
        preparation: told.preparation,
        classes: told.classes.clone(),
        notes: Vec::new(),
    };
    untold(map, &told, &mut found);
    Ok(found)
}

/// Groups and degrees of the rational functions, where there are some.
fn coefficients(map: &TensorMap, config: &mut KatConfig) -> Result<(), String> {
    let stored = |name: &str| map.get(&format!("blocks.0.mlp.{name}")).map(|tensor| &tensor.shape[..]);
    if let (Some(&[1, terms]), Some(&[1, degree])) =
        (stored("act.weight_numerator"), stored("act.weight_denominator"))
    {
        config.learnable = Some(Learnable::Pau);
        config.order = Order { numerator: terms.saturating_sub(1), denominator: degree };
    } else if stored("act.weight") == Some(&[1][..]) {
        config.learnable = Some(Learnable::Prelu);
    }
    let of = |kind: &str| stored(&format!("act1.weight_{kind}"));
    let (Some(&[upper, terms]), Some(&[lower, degree])) = (of("numerator"), of("denominator")) else {
        return Ok(());
    };
    let sharing = |rows: usize| if rows == 1 { Sharing::Shared } else { Sharing::PerGroup };
    config.mixer = MixerKind::GrKan;
    config.groups = upper.max(lower);
    (config.numerator, config.denominator) = (sharing(upper), sharing(lower));
    if config.groups > 1 && config.denominator == Sharing::Shared {
        return Err(
            "its rational functions share one denominator and not the numerator, which has no key here"
                .into(),
        );
    }
    config.order = Order { numerator: terms.saturating_sub(1), denominator: degree };
    Ok(())
}

/// The grid of the positions, and whether the `prefix` tokens have some too; where either could be, registers have none, as in
/// all published models that have registers.
fn grid(
    map: &TensorMap,
    positions: usize,
    (prefix, registers): (usize, bool),
) -> Result<(Size, bool), String> {
    if let Some(config) = model::stored_config(map) {
        return Ok((config.grid(), config.prefix_positions));
    }
    let square = |count: usize| {
        let side = count.isqrt();
        (side > 0 && side * side == count).then(|| Size::square(side))
    };
    let with = positions.checked_sub(prefix).and_then(square);
    match (with, square(positions)) {
        (Some(_), Some(grid)) if registers => Ok((grid, false)),
        (Some(grid), _) => Ok((grid, true)),
        (None, Some(grid)) => Ok((grid, false)),
        (None, None) => Err(format!(
            "its {positions} positions are no square grid, with or without {prefix} tokens before the patches: name the \
             model, or its numbers"
        )),
    }
}

/// What the tensors do not show: told, or that of all named models of this size, or left undecided.
fn untold(map: &TensorMap, told: &Told, found: &mut Recognized) {
    let config = &mut found.config;
    let source = told.source;
    if let Some(name) = &told.architecture {
        found.notes.push(format!("model {name}, from {source}"));
    }
    match told.heads {
        Some(heads) => {
            config.heads = heads;
            found.notes.push(format!("{heads} heads, from {source}"));
        }
        None => {
            let same = |own: &KatConfig| (own.dim, own.depth) == (config.dim, config.depth);
            let mut known: Vec<usize> = variants::all()
                .iter()
                .map(|v| &v.config)
                .filter(|own| same(own))
                .map(|own| own.heads)
                .collect();
            known.dedup();
            match known[..] {
                [heads] => {
                    config.heads = heads;
                    found.notes.push(format!(
                        "{heads} heads, as the named models of this width and depth have (the file does not say)"
                    ));
                }
                _ => found.undecided.push(("heads", "a number; most models have channels / 64".into())),
            }
        }
    }
    let program = map.metadata.get(PROGRAM_KEY).map_or("", String::as_str);
    let contrastive = config.pre_norm || program.contains("CLIP");
    match told.activation {
        Some(activation) => config.activation = activation,
        None if config.mixer == MixerKind::Mlp && contrastive => {
            found
                .undecided
                .push(("activation", "\"quick_gelu\" (OpenAI's CLIP) or \"gelu\" (others')".into()));
        }
        None => config.activation = Activation::Gelu,
    }
    config.norm_eps = told.norm_eps.unwrap_or(match program {
        _ if config.pre_norm => 1e-5,
        "Hugging Face transformers" if config.layer_scale.is_none() => 1e-12,
        // mmcv's default, which ViTDet's configuration there leaves as it is
        MMDETECTION => 1e-5,
        _ => config.norm_eps,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cpu, Kat};

    #[test]
    fn every_named_model_is_recognized_by_its_tensors() {
        for variant in variants::all() {
            let config = KatConfig { dim: 64, heads: 2, depth: 2, classes: 7, ..variant.config };
            if config.mixer == MixerKind::Kan {
                continue;
            }
            let map = model::export(&Kat::new(&Cpu::default(), &config, 0).unwrap());
            let found = recognize(&map).unwrap_or_else(|reason| panic!("{}: {reason}", variant.name));
            assert!(found.undecided.iter().any(|(key, _)| *key == "heads"), "{}", variant.name);
            assert_eq!(found.config.hidden(), config.hidden(), "{}", variant.name);
            let expected = KatConfig {
                mlp_ratio: found.config.mlp_ratio,
                heads: found.config.heads,
                activation: found.config.activation,
                norm_eps: found.config.norm_eps,
                layer_scale: config.layer_scale.map(|_| 1e-5),
                // first values, which a file has instead
                mimetic: false,
                init: InitScheme::Published,
                act2: found.config.act2,
                ..config
            };
            assert_eq!(found.config, expected, "{}", variant.name);
        }
    }

    #[test]
    fn what_is_not_told_is_asked_for_and_what_is_not_built_named() {
        let named = |name: &str| variants::named(name).unwrap().config;
        let clip = KatConfig { depth: 12, classes: 0, ..named("vit_base_patch32_clip_224") };
        let mut map =
            model::export(&Kat::new(&Cpu::default(), &KatConfig { dim: 192, heads: 3, ..clip }, 0).unwrap());
        let found = recognize(&map).unwrap();
        assert_eq!(found.config.heads, 3, "{:?}", found.notes);
        assert_eq!(found.undecided.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ["activation"]);
        let norm = map.get("norm.weight").unwrap().clone();
        map.insert("blocks.0.attn.q_norm.weight", norm);
        assert!(recognize(&map).unwrap_err().contains("queries and keys"));
        assert!(recognize(&TensorMap::default()).unwrap_err().contains("no patch projection"));
    }
}
