//! Rules for tensor names.

use super::TensorMap;

/// Prefixes that wrappers put before every name: data parallel, torch.compile, EMA, Lightning, segmentation and
/// detection frameworks.
const WRAPPERS: [&str; 6] = ["module.", "_orig_mod.", "model.", "backbone.", "net.", "encoder."];

/// Wrappers that are taken off one within another; programs nest two or three.
const NESTED: usize = 16;

/// Removes wrapper prefixes that every tensor carries, as often as they are nested, and notes it.
pub fn strip_wrappers(map: &mut TensorMap) {
    let mut length = 0;
    for _ in 0..NESTED {
        let carried = |p: &&str| {
            let mut rests = map.tensors.keys().map(|name| &name[length..]);
            !map.tensors.is_empty() && rests.all(|rest| rest.len() > p.len() && rest.starts_with(*p))
        };
        let Some(prefix) = WRAPPERS.into_iter().find(carried) else { break };
        length += prefix.len();
        map.notes.push(format!("prefix \"{prefix}\" removed from every name"));
    }
    if length > 0 {
        let tensors = std::mem::take(&mut map.tensors);
        map.tensors = tensors.into_iter().map(|(k, v)| (k[length..].to_owned(), v)).collect();
    }
}

/// Whether a tensor belongs to the classification head.
pub fn is_head(name: &str) -> bool {
    matches!(name, "head.weight" | "head.bias")
}

/// Whether a tensor is part of an encoder, of any vision transformer: left unused, the encoder is not the file's.
pub fn is_encoder(name: &str) -> bool {
    const PARTS: [&str; 20] = [
        "blocks.",
        "layers.",
        "encoder.",
        "patch_embed.",
        "pos_embed",
        "cls_token",
        "reg_token",
        "register_tokens",
        "dist_token",
        "norm_pre.",
        "pre_norm.",
        "rel_pos",
        "attn_pool.",
        "embeddings.",
        // other programs' encoders
        "vit.",
        "deit.",
        "dinov2.",
        "dinov2_with_registers.",
        "vision_model.",
        "visual.",
    ];
    // Hugging Face's pooler stands behind the encoder, and no classifier of theirs reads it.
    PARTS.iter().any(|part| name.starts_with(part)) && !name.contains("pooler.")
}

/// The block that a tensor is of.
pub fn block_of(name: &str) -> Option<usize> {
    name.strip_prefix("blocks.")?.split('.').next()?.parse().ok()
}

/// What tensors that found no place are a sign of: the first cause that one of them shows.
pub fn likely_cause(names: &[String], blocks: usize) -> String {
    let any = |parts: &[&str]| names.iter().any(|name| parts.iter().any(|part| name.contains(part)));
    let last = names.iter().filter_map(|name| block_of(name)).max();
    match last {
        Some(last) if last >= blocks => {
            format!("the file's model has {} blocks, this one {blocks}", last + 1)
        }
        _ if any(&[".ls1", ".ls2", ".gamma_1", ".gamma_2", "layer_scale"]) => {
            "the file's model scales its branches (LayerScale), this one does not (model.layer_scale)"
                .to_owned()
        }
        _ if any(&["q_norm", "k_norm"]) => {
            "the file's model normalizes queries and keys, this one does not".to_owned()
        }
        _ if any(&["dist_token", "head_dist"]) => {
            "the file is of a distilled model, with a second token and head (model.distilled)".to_owned()
        }
        _ if any(&["norm_pre", "pre_norm"]) => {
            "the file's model has a norm before its blocks (CLIP), this one has none (model.pre_norm)"
                .to_owned()
        }
        _ if any(&["reg_token", "register_tokens"]) => {
            "the file's model has register tokens, this one has none (model.registers)".to_owned()
        }
        _ if any(&["attn_pool"]) => "the file's model pools by attention, which is not built here".to_owned(),
        _ if any(&["cls_token"]) => "the file's model has a class token, this one has none".to_owned(),
        _ if any(&["rel_pos"]) => "the file's model has relative positions, this one has none".to_owned(),
        _ if any(&[".bias"]) => "the file's model has biases where this one has none".to_owned(),
        _ => "the file's model has parts that this one has not".to_owned(),
    }
}

/// Whether a tensor is a coefficient of a rational activation, and if so: (of `act1`, of the numerator).
pub fn rational(name: &str) -> Option<(bool, bool)> {
    let (owner, kind) = name.rsplit_once('.')?;
    let numerator = match kind {
        "weight_numerator" => true,
        "weight_denominator" => false,
        _ => return None,
    };
    match owner.rsplit('.').next()? {
        "act1" => Some((true, numerator)),
        "act2" => Some((false, numerator)),
        _ => None,
    }
}

/// Whether a tensor is a coefficient of an MLP's Padé unit, and if so of the numerator.
pub fn pade_unit(name: &str) -> Option<bool> {
    match name.rsplit_once(".mlp.act.")?.1 {
        "weight_numerator" => Some(true),
        "weight_denominator" => Some(false),
        _ => None,
    }
}

/// Whether a tensor belongs to a masked autoencoder's decoder, which only pre-training uses.
pub fn is_mae_decoder(name: &str) -> bool {
    name == "mask_token" || name.starts_with("decoder")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::HostTensor;

    #[test]
    fn only_prefixes_common_to_all_are_removed() {
        let one = || HostTensor::new(vec![1], vec![0.0]).unwrap();
        let mut map = TensorMap::default();
        map.insert("module._orig_mod.norm.weight", one());
        map.insert("module._orig_mod.head.bias", one());
        strip_wrappers(&mut map);
        assert_eq!(map.tensors.keys().collect::<Vec<_>>(), ["head.bias", "norm.weight"]);
        assert_eq!(map.notes.len(), 2);
        map.insert("module.x", one());
        strip_wrappers(&mut map);
        assert!(map.get("module.x").is_some());
    }

    #[test]
    fn rational_names_are_told_apart() {
        assert_eq!(rational("blocks.3.mlp.act1.weight_numerator"), Some((true, true)));
        assert_eq!(rational("blocks.3.mlp.act2.weight_denominator"), Some((false, false)));
        assert_eq!(rational("blocks.3.mlp.fc1.weight"), None);
    }
}
