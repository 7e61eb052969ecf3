//! Tokens before the patches: whether they have positions of their own, and a distillation token without a head.

use super::transfer::{Expected, TransferOptions};
use super::{HostTensor, LoadReport, TensorMap};

/// A distillation token whose model has no second head is read like a register: it becomes one where the model has one.
pub(super) fn as_register(source: &mut TensorMap, expected: &Expected, report: &mut LoadReport) {
    let alone = source.get("head_dist.weight").is_none() && source.get("reg_token").is_none();
    let wanted = !expected.contains_key("dist_token")
        && expected.get("reg_token").is_some_and(|shape| shape.get(1) == Some(&1));
    if alone
        && wanted
        && let Some(token) = source.tensors.remove("dist_token")
    {
        source.insert("reg_token", token);
        report.notes.push("distillation token without a head of its own taken as a register".into());
    }
}

/// Brings the file's position embedding to the model's kind: with positions of the tokens before the patches or without.
/// Both compute the same: a position that a token has may be added to the token, and a token without one has 0.
pub(super) fn prefix_positions(source: &mut TensorMap, options: &TransferOptions, report: &mut LoadReport) {
    if options.dense {
        return;
    }
    let count = |name: &str| source.get(name).and_then(|tensor| tensor.shape.get(1).copied()).unwrap_or(0);
    let tokens = ["cls_token", "dist_token", "reg_token"].map(|name| (name, count(name)));
    let prefix: usize = tokens.iter().map(|(_, count)| count).sum();
    let Some(&[1, positions, channels]) = source.get("pos_embed").map(|tensor| &tensor.shape[..]) else {
        return;
    };
    // Just the model's: small grids could be taken for others.
    if positions == options.prefix_tokens + options.grid.area() {
        return;
    }
    let is_grid = |count: usize| match options.source_grid {
        Some(grid) => grid.area() == count,
        None => count > 0 && count.isqrt().pow(2) == count,
    };
    let has = prefix > 0 && positions > prefix && is_grid(positions - prefix);
    let has_none = prefix > 0 && !has && is_grid(positions);
    let Some(embed) = source.tensors.get_mut("pos_embed") else { return };
    if has_none && options.prefix_tokens == prefix {
        embed.data.splice(0..0, std::iter::repeat_n(0.0, prefix * channels));
        embed.shape[1] += prefix;
        report
            .notes
            .push(format!("the file's {prefix} tokens before the patches have no positions: they get 0"));
    } else if has && options.prefix_tokens == 0 {
        let own: Vec<f32> = embed.data.drain(..prefix * channels).collect();
        embed.shape[1] -= prefix;
        let mut rest = &own[..];
        for (name, count) in tokens {
            let (positions, after) = rest.split_at(count * channels);
            rest = after;
            if let Some(HostTensor { data, .. }) = source.tensors.get_mut(name) {
                data.iter_mut().zip(positions).for_each(|(value, position)| *value += position);
            }
        }
        report.notes.push(format!("the positions of {prefix} tokens before the patches added to them"));
    }
}
