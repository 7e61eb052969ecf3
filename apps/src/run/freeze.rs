//! Parameters that training leaves as they are: what the blocks begin with, and the first blocks or all of them. Nothing is
//! recorded for them, so that steps take less time and memory.

use kat_backbone::Device;
use kat_backbone::nn::{Kind, Module};

use super::param_groups::layer_id;
use crate::config::Freeze;

/// Makes constants of the parameters that `freeze` names, in a model over a backbone of `depth` blocks. Returns how many
/// values those are.
///
/// # Errors
/// None that is known.
pub fn freeze<D: Device>(
    model: &mut impl Module<D>,
    freeze: Freeze,
    depth: usize,
) -> kat_backbone::Result<usize> {
    let mut count = 0;
    model.visit_mut("", &mut |name, kind, tensor| {
        if kind == Kind::Parameter && is_frozen(name, freeze, depth) {
            count += tensor.numel();
            *tensor = tensor.clone().detach();
        }
        Ok::<(), kat_backbone::Error>(())
    })?;
    Ok(count)
}

fn is_frozen(name: &str, freeze: Freeze, depth: usize) -> bool {
    let own = name.split('.').find(|part| !matches!(*part, "backbone" | "net" | "module" | "model"));
    let (blocks, norm) = match freeze {
        Freeze::Blocks(0) => return false,
        Freeze::Blocks(n) => (n, false),
        Freeze::Part(_) => (depth, true),
    };
    // the norm before the blocks goes with the patches
    own == Some("norm_pre")
        || layer_id(name, depth) <= blocks
        || (norm && matches!(own, Some("norm" | "fc_norm")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FrozenPart;

    #[test]
    fn blocks_are_frozen_from_the_input_on() {
        let all = Freeze::Part(FrozenPart::Backbone);
        for (name, by_blocks, by_part) in [
            ("pos_embed", true, true),
            ("backbone.patch_embed.proj.weight", true, true),
            ("norm_pre.weight", true, true),
            ("blocks.1.mlp.act1.weight_numerator", true, true),
            ("backbone.net.blocks.2.norm1.bias", false, true),
            ("norm.weight", false, true),
            ("backbone.simfp_2.0.weight", false, false),
            ("roi_heads.box_head.fc1.weight", false, false),
            ("decode_head.conv_seg.weight", false, false),
            ("head.weight", false, false),
        ] {
            let found = [Freeze::Blocks(2), all].map(|freeze| is_frozen(name, freeze, 4));
            assert_eq!(found, [by_blocks, by_part], "{name}");
            assert!(!is_frozen(name, Freeze::Blocks(0), 4));
        }
    }
}
