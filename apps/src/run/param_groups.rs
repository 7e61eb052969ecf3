//! Which parameters decay and at what share of the rate, decided from their published names alone.

use crate::config::NoDecay;

/// How the optimizer treats one parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParamRule {
    /// Multiplies the learning rate.
    pub lr_scale: f64,
    /// Whether weight decay applies.
    pub decays: bool,
    /// Whether its gradient counts in the norm that clipping bounds.
    pub in_norm: bool,
}

/// The rules of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamRules {
    spared: Vec<NoDecay>,
    layer_decay: f64,
    rational_lr: f64,
    clip_rationals: bool,
    depth: usize,
}

impl ParamRules {
    /// Decay spares `spared`; a layer learns at `layer_decay` times the rate of the one after it, in a backbone
    /// of `depth` blocks.
    pub fn new(spared: &[NoDecay], layer_decay: f64, depth: usize) -> Self {
        ParamRules { spared: spared.to_vec(), layer_decay, rational_lr: 1.0, clip_rationals: true, depth }
    }

    /// Coefficients of rational functions learn at `share` times the rate of their layer: those of high powers turn a small
    /// step into a large change of the function wherever inputs are large. Where those inputs are a pre-trained encoder's, their
    /// gradients are nearly all of the norm, unless they are kept out of it by not being `in_norm`.
    pub fn of_rationals(self, share: f64, in_norm: bool) -> Self {
        ParamRules { rational_lr: share, clip_rationals: in_norm, ..self }
    }

    /// The rule of the parameter of this name and rank.
    pub fn rule(&self, name: &str, rank: usize) -> ParamRule {
        let id = layer_id(name, self.depth);
        let rational = is(name, rank, NoDecay::Rational);
        let own = if rational { self.rational_lr } else { 1.0 };
        ParamRule {
            lr_scale: own * self.layer_decay.powi((self.depth + 1 - id) as i32),
            decays: !self.spared.iter().any(|kind| is(name, rank, *kind)),
            in_norm: !rational || self.clip_rationals,
        }
    }
}

/// Position of a parameter from the input on: 0 for what makes tokens, n + 1 for block n, `depth` + 1 for
/// everything after the blocks, heads included.
pub fn layer_id(name: &str, depth: usize) -> usize {
    let mut parts =
        name.split('.').skip_while(|part| matches!(*part, "backbone" | "net" | "module" | "model"));
    match (parts.next(), parts.next()) {
        (Some("cls_token" | "dist_token" | "reg_token" | "mask_token" | "pos_embed" | "patch_embed"), _) => 0,
        (Some("blocks"), Some(number)) => match number.parse::<usize>() {
            Ok(n) if n < depth => n + 1,
            _ => depth + 1,
        },
        _ => depth + 1,
    }
}

fn is(name: &str, rank: usize, kind: NoDecay) -> bool {
    let (path, last) = name.rsplit_once('.').unwrap_or(("", name));
    let mut parts = path.rsplit('.');
    let owner = match (parts.next(), parts.next()) {
        // the layer norm between the two transposed convolutions of ViTDet's pyramid, known by its place alone
        (Some("1"), Some(level)) if level.starts_with("simfp_") => "norm",
        (owner, _) => owner.unwrap_or(""),
    };
    match kind {
        NoDecay::Bias => last == "bias" && !is_norm(owner, rank),
        NoDecay::Norm => is_factor(owner, last, rank),
        NoDecay::TokenNorm => is_factor(owner, last, rank) && is_of_tokens(path),
        NoDecay::Rational => matches!(last, "weight_numerator" | "weight_denominator"),
        NoDecay::PosEmbed => last == "pos_embed",
        NoDecay::Tokens => matches!(last, "cls_token" | "dist_token" | "reg_token" | "mask_token"),
    }
}

/// Of a norm, or LayerScale's.
fn is_factor(owner: &str, last: &str, rank: usize) -> bool {
    (matches!(last, "weight" | "bias") && is_norm(owner, rank))
        || (last == "gamma" && owner.starts_with("ls"))
}

/// Whether a norm is one of the encoder, over the channels of a token.
fn is_of_tokens(path: &str) -> bool {
    let own = path.split('.').find(|part| !matches!(*part, "backbone" | "net" | "module" | "model"));
    matches!(own, Some("blocks" | "norm" | "fc_norm" | "norm_pre"))
}

/// Layer and batch norms: modules named so, with parameters of rank 1.
fn is_norm(module: &str, rank: usize) -> bool {
    let name = module.trim_end_matches(|c: char| c.is_ascii_digit());
    rank <= 1
        && (matches!(name, "norm" | "ln" | "bn") || name.ends_with("_norm") || name.starts_with("norm_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_recipe_spares_vectors_tokens_and_coefficients() {
        use NoDecay::*;
        let rules = ParamRules::new(&[Bias, Norm, Rational, PosEmbed, Tokens], 1.0, 12);
        for (name, rank, decays) in [
            ("blocks.3.attn.qkv.weight", 2, true),
            ("blocks.3.attn.qkv.bias", 1, false),
            ("blocks.3.norm1.weight", 1, false),
            ("blocks.3.mlp.act1.weight_numerator", 2, false),
            ("blocks.3.mlp.act2.weight_denominator", 2, false),
            ("norm.bias", 1, false),
            ("pos_embed", 3, false),
            ("cls_token", 3, false),
            ("patch_embed.proj.weight", 4, true),
            ("head.weight", 2, true),
            ("normal_head.weight", 2, true),
        ] {
            let rule = rules.rule(name, rank);
            assert_eq!((rule.decays, rule.lr_scale), (decays, 1.0), "{name}");
        }
    }

    #[test]
    fn vitdet_decays_biases_but_not_norms() {
        let rules = ParamRules::new(&[NoDecay::Norm, NoDecay::PosEmbed], 0.7, 12);
        assert!(rules.rule("backbone.blocks.0.attn.proj.bias", 1).decays);
        assert!(rules.rule("backbone.blocks.0.attn.rel_pos_h", 2).decays);
        assert!(!rules.rule("backbone.blocks.0.norm2.bias", 1).decays);
        assert!(!rules.rule("roi_heads.box_head.conv1_norm.weight", 1).decays);
        assert!(!rules.rule("backbone.net.pos_embed", 3).decays);
        assert!(!rules.rule("backbone.simfp_2.1.bias", 1).decays);
        assert!(!rules.rule("backbone.simfp_3.1.norm.weight", 1).decays);
        assert!(rules.rule("backbone.simfp_3.1.weight", 4).decays);
    }

    #[test]
    fn detectron2_decays_the_norms_of_pyramid_and_heads() {
        let rules = ParamRules::new(&[NoDecay::TokenNorm, NoDecay::PosEmbed], 0.7, 12);
        for (name, decays) in [
            ("backbone.net.blocks.0.norm2.bias", false),
            ("backbone.net.blocks.3.norm1.weight", false),
            ("backbone.net.blocks.3.ls1.gamma", false),
            ("backbone.simfp_2.1.bias", true),
            ("backbone.simfp_3.1.norm.weight", true),
            ("roi_heads.box_head.conv1.norm.weight", true),
            ("roi_heads.mask_head.mask_fcn2.norm.bias", true),
            ("roi_heads.box_head.fc1.bias", true),
        ] {
            assert_eq!(rules.rule(name, 1).decays, decays, "{name}");
        }
        assert!(!ParamRules::new(&[NoDecay::Norm], 1.0, 12).rule("blocks.0.ls2.gamma", 1).decays);
    }

    #[test]
    fn coefficients_have_a_rate_of_their_own_within_their_layers_and_are_left_out_of_the_norm() {
        let rules = ParamRules::new(&[], 0.5, 2).of_rationals(0.1, false);
        for (name, scale) in [
            ("blocks.1.mlp.act1.weight_numerator", 0.05),
            ("backbone.blocks.0.mlp.act2.weight_denominator", 0.025),
            ("blocks.1.mlp.fc1.weight", 0.5),
            ("head.weight", 1.0),
        ] {
            let found = rules.rule(name, 2);
            assert!((found.lr_scale - scale).abs() < 1e-12, "{name}: {found:?}");
            assert_eq!(found.in_norm, !name.contains("mlp.act"), "{name}");
        }
    }

    #[test]
    fn layers_learn_slower_towards_the_input() {
        let rules = ParamRules::new(&[], 0.7, 12);
        for (name, power) in [
            ("backbone.pos_embed", 13),
            ("patch_embed.proj.bias", 13),
            ("blocks.0.norm1.weight", 12),
            ("backbone.net.blocks.11.mlp.fc2.weight", 1),
            ("backbone.simfp_2.0.weight", 0),
            ("norm.weight", 0),
            ("neck.p2.conv.weight", 0),
            ("blocks.12.weight", 0),
        ] {
            let scale = rules.rule(name, 2).lr_scale;
            assert!((scale - 0.7f64.powi(power)).abs() < 1e-12, "{name}: {scale}");
        }
    }
}
