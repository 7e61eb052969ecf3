//! The names that other programs give a vision transformer's tensors, brought to timm's, which are ours.
//!
//! A [`Dialect`] is known by one name, wherever in a larger model that stands. Separate queries, keys
//! and values become one tensor, as timm has them.

mod mmdetection;
mod rules;

use super::{HostTensor, TensorMap};
use rules::DIALECTS;

/// The program whose detectors have names, and an ε of their norms, of their own.
pub const MMDETECTION: &str = "mmdetection";

/// A program's names.
#[derive(Debug, Clone, Copy)]
struct Dialect {
    /// Whose they are, for people.
    program: &'static str,
    /// The name by which the dialect is known: the patch projection's, in most.
    marker: &'static str,
    /// A name below the encoder's prefix → timm's; `None` where there is none.
    rename: fn(&str) -> Option<String>,
    /// Names beside the encoder → timm's.
    heads: &'static [(&'static str, &'static str)],
    /// Whether the encoder's prefix stays: it is part of a larger model that has the same.
    keeps_prefix: bool,
    /// Whether what stands beside the encoder (a text model) is left out.
    alone: bool,
}

/// Brings the names to timm's, where they are of a program that is known; returns its name. What was done is noted.
pub fn translate(map: &mut TensorMap) -> Option<&'static str> {
    if mmdetection::translate(map) {
        map.notes.push("names of mmdetection changed to detectron2's".to_owned());
        return Some(MMDETECTION);
    }
    let found = DIALECTS.iter().find_map(|dialect| {
        let name = map.tensors.keys().find(|name| {
            let rest = name.strip_suffix(dialect.marker);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })?;
        Some((dialect, name[..name.len() - dialect.marker.len()].to_owned()))
    });
    let program = match found {
        Some((dialect, prefix)) => {
            rename(map, dialect, &prefix);
            map.notes.push(format!("names of {} changed to timm's", dialect.program));
            Some(dialect.program)
        }
        None => None,
    };
    variants_of_timm(map);
    program
}

fn rename(map: &mut TensorMap, dialect: &Dialect, prefix: &str) {
    let mut left_out = 0;
    for (name, tensor) in std::mem::take(&mut map.tensors) {
        let own = name.strip_prefix(prefix).and_then(dialect.rename);
        let head = dialect.heads.iter().find(|(from, _)| *from == name).map(|(_, to)| (*to).to_owned());
        match (own, head) {
            (Some(own), _) if dialect.keeps_prefix => map.insert(format!("{prefix}{own}"), tensor),
            (Some(own), _) => map.insert(own, tensor),
            (None, Some(head)) => map.insert(head, tensor),
            (None, None) if dialect.alone && !name.starts_with(prefix) => left_out += 1,
            (None, None) => map.insert(name, tensor),
        }
    }
    if left_out > 0 {
        map.notes.push(format!("{left_out} tensors beside the image encoder left out"));
    }
    let at = if dialect.keeps_prefix { prefix } else { "" };
    join_queries_keys_values(map, at);
    for name in ["cls_token", "pos_embed", "reg_token"] {
        if let Some(tensor) = map.tensors.get_mut(&format!("{at}{name}")) {
            let missing = 3_usize.saturating_sub(tensor.shape.len());
            tensor.shape.splice(0..0, std::iter::repeat_n(1, missing));
        }
    }
    if let Some(projection) = map.tensors.remove("head.weight.transposed")
        && let &[inputs, outputs] = &projection.shape[..]
    {
        let data = (0..outputs).flat_map(|o| (0..inputs).map(move |i| (i, o)));
        let data = data.map(|(i, o)| projection.data[i * outputs + o]).collect();
        map.insert("head.weight", HostTensor { shape: vec![outputs, inputs], data });
        map.insert("head.bias", HostTensor { shape: vec![outputs], data: vec![0.0; outputs] });
    }
}

/// Joins `attn.{q,k,v}` to `attn.qkv` where all three are there, of one width.
fn join_queries_keys_values(map: &mut TensorMap, prefix: &str) {
    let queries: Vec<String> = map
        .tensors
        .keys()
        .filter(|name| name.starts_with(prefix) && name.contains(".attn.q."))
        .cloned()
        .collect();
    for query in queries {
        let names =
            [query.clone(), query.replace(".attn.q.", ".attn.k."), query.replace(".attn.q.", ".attn.v.")];
        let Some(first) = map.get(&query).map(|tensor| tensor.shape.clone()) else { continue };
        let same = |name: &String| map.get(name).is_some_and(|tensor| tensor.shape == first);
        if first.is_empty() || !names.iter().all(same) {
            continue;
        }
        let parts = names.iter().filter_map(|name| map.tensors.remove(name));
        let data = parts.flat_map(|tensor| tensor.data).collect();
        let mut shape = first;
        shape[0] *= 3;
        map.insert(query.replace(".attn.q.", ".attn.qkv."), HostTensor { shape, data });
    }
}

/// What programs that otherwise use timm's names call some tensors: DeiT-III's LayerScale, DINOv2's registers; and positions
/// that stand apart from those of the patches.
fn variants_of_timm(map: &mut TensorMap) {
    let other = |name: &str| match name.strip_prefix("blocks.") {
        Some(_) if name.ends_with(".gamma_1") => Some(name.replace(".gamma_1", ".ls1.gamma")),
        Some(_) if name.ends_with(".gamma_2") => Some(name.replace(".gamma_2", ".ls2.gamma")),
        _ if name == "register_tokens" => Some("reg_token".to_owned()),
        _ => None,
    };
    let renamed: Vec<_> = map.tensors.keys().filter_map(|name| Some((name.clone(), other(name)?))).collect();
    for (from, to) in renamed {
        if let Some(tensor) = map.tensors.remove(&from) {
            map.insert(to, tensor);
        }
    }
    fold_class_position(map);
}

/// Registers without positions beside a class token with one (DINOv2's own files): the class token takes its position in, so
/// that no token before the patches has one, as timm has it.
fn fold_class_position(map: &mut TensorMap) {
    let registers = map.get("reg_token").and_then(|tensor| tensor.shape.get(1).copied()).unwrap_or(0);
    let (Some(class), Some(positions)) = (map.get("cls_token"), map.get("pos_embed")) else { return };
    let &[1, tokens, channels] = &positions.shape[..] else { return };
    let patches = tokens.saturating_sub(1);
    if registers == 0 || class.data.len() != channels || patches.isqrt().pow(2) != patches || patches == 0 {
        return;
    }
    let sum = class.data.iter().zip(&positions.data).map(|(a, b)| a + b).collect();
    let class = HostTensor { shape: class.shape.clone(), data: sum };
    let rest = HostTensor { shape: vec![1, patches, channels], data: positions.data[channels..].to_vec() };
    map.insert("cls_token", class);
    map.insert("pos_embed", rest);
    map.notes.push("the class token's position added to it: registers have none".into());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(names: &[(&str, &[usize])]) -> TensorMap {
        let mut map = TensorMap::default();
        for (name, shape) in names {
            let count = shape.iter().product();
            map.insert(*name, HostTensor { shape: shape.to_vec(), data: vec![1.0; count] });
        }
        map
    }

    #[test]
    fn queries_keys_and_values_are_joined_and_heads_found() {
        let layer = "vit.encoder.layer.0.attention.attention";
        let names = ["query", "key", "value"].map(|part| format!("{layer}.{part}.weight"));
        let mut map = file(&[
            ("vit.embeddings.patch_embeddings.projection.weight", &[2, 3, 4, 4]),
            (&names[0], &[2, 2]),
            (&names[1], &[2, 2]),
            (&names[2], &[2, 2]),
            ("vit.encoder.layer.0.attention.odd.weight", &[1]),
            ("classifier.bias", &[5]),
        ]);
        assert_eq!(translate(&mut map), Some("Hugging Face transformers"));
        assert_eq!(map.get("blocks.0.attn.qkv.weight").unwrap().shape, [6, 2]);
        assert!(map.get("head.bias").is_some());
        assert!(
            map.get("vit.encoder.layer.0.attention.odd.weight").is_some(),
            "what is not known keeps its name"
        );
    }

    #[test]
    fn a_larger_model_keeps_its_prefix() {
        let mut map = file(&[
            ("backbone.patch_embed.projection.weight", &[2, 3, 4, 4]),
            ("backbone.layers.3.ffn.layers.0.0.bias", &[8]),
            ("backbone.ln1.weight", &[2]),
            ("decode_head.conv_seg.bias", &[3]),
        ]);
        assert_eq!(translate(&mut map), Some("mmsegmentation"));
        let names: Vec<_> = map.tensors.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "backbone.blocks.3.mlp.fc1.bias",
                "backbone.norm.weight",
                "backbone.patch_embed.proj.weight",
                "decode_head.conv_seg.bias"
            ]
        );
    }

    #[test]
    fn registers_without_positions_fold_the_class_tokens() {
        let mut map = file(&[
            ("cls_token", &[1, 1, 2]),
            ("register_tokens", &[1, 4, 2]),
            ("pos_embed", &[1, 10, 2]),
            ("patch_embed.proj.weight", &[2, 3, 4, 4]),
        ]);
        assert_eq!(translate(&mut map), None);
        assert_eq!(map.get("pos_embed").unwrap().shape, [1, 9, 2]);
        assert_eq!(map.get("cls_token").unwrap().data, [2.0, 2.0]);
        assert_eq!(map.get("reg_token").unwrap().shape, [1, 4, 2]);
    }
}
