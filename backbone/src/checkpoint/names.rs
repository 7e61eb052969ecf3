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
