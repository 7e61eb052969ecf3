//! Which tensors of a file are those of a model: a file may hold a whole detector, a segmentor or a run with averaged
//! weights beside the weights.

use super::transfer::Expected;
use super::{Averages, TensorMap};

/// Prefixes under which files keep averaged weights, which were those measured; then the weights themselves.
const WEIGHTS: [&str; 5] = ["ema.", "model_ema.", "ema_model.", "teacher.", ""];
/// Prefixes under which larger models keep their encoder.
const ENCODERS: [&str; 9] = [
    "",
    "backbone.",
    "backbone.net.",
    "encoder.",
    "module.backbone.",
    // Lightning, beside the tensors of its losses
    "model.",
    "net.",
    "module.",
    "model.backbone.",
];

/// The tensors of `map` that stand under the prefix with the most of the `expected` names, without that prefix. Averaged
/// weights win over the weights they were averaged from, unless `averages` says otherwise. What is left out is said in a
/// note.
pub fn of_model(map: TensorMap, expected: &Expected, averages: Averages) -> TensorMap {
    let weights = match averages {
        Averages::Prefer => &WEIGHTS[..],
        Averages::Ignore => &WEIGHTS[WEIGHTS.len() - 1..],
    };
    let fit = |prefix: &str| {
        let mut name = String::new();
        let known = expected.keys().filter(|own| {
            name.clear();
            name.push_str(prefix);
            name.push_str(own);
            map.tensors.contains_key(&name)
        });
        known.count()
    };
    let prefixes =
        weights.iter().flat_map(|weights| ENCODERS.iter().map(move |part| format!("{weights}{part}")));
    let mut best = (0, String::new());
    for prefix in prefixes {
        let count = fit(&prefix);
        if count > best.0 {
            best = (count, prefix);
        }
    }
    if best.1.is_empty() { map } else { under(map, &best.1) }
}

fn under(mut map: TensorMap, prefix: &str) -> TensorMap {
    let tensors = std::mem::take(&mut map.tensors);
    let before = tensors.len();
    map.tensors = tensors
        .into_iter()
        .filter_map(|(name, t)| Some((name.strip_prefix(prefix)?.to_owned(), t)))
        .collect();
    let left = before - map.tensors.len();
    map.notes.push(format!("the tensors under \"{prefix}\" taken, {left} others left out"));
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::HostTensor;

    fn file(names: &[&str]) -> TensorMap {
        let mut map = TensorMap::default();
        names.iter().for_each(|name| map.insert(*name, HostTensor { shape: vec![1], data: vec![0.0] }));
        map
    }

    #[test]
    fn an_encoder_is_found_in_a_larger_model_and_averages_win() {
        let expected: Expected =
            ["norm.weight", "blocks.0.norm1.weight"].map(|n| (n.to_owned(), vec![1])).into();
        let whole = ["backbone.norm.weight", "backbone.blocks.0.norm1.weight", "decode_head.conv_seg.bias"];
        let prefer = |map, expected: &Expected| of_model(map, expected, Averages::Prefer);
        let found = prefer(file(&whole), &expected);
        assert_eq!(found.tensors.keys().collect::<Vec<_>>(), ["blocks.0.norm1.weight", "norm.weight"]);
        assert!(found.notes[0].contains("\"backbone.\" taken, 1 others"), "{:?}", found.notes);
        let run = ["norm.weight", "blocks.0.norm1.weight", "ema.norm.weight", "ema.blocks.0.norm1.weight"];
        assert_eq!(of_model(file(&run), &expected, Averages::Ignore), file(&run));
        assert!(prefer(file(&run), &expected).notes[0].contains("\"ema.\" taken, 2 others"));
        let plain = file(&["norm.weight", "blocks.0.norm1.weight"]);
        assert_eq!(prefer(plain.clone(), &expected), plain);
        assert_eq!(prefer(file(&["a", "b"]), &expected), file(&["a", "b"]));
    }
}
