//! The rules of each program's names, from its sources.

use super::Dialect;

/// Every program that is known.
pub(super) const DIALECTS: [Dialect; 5] = [
    // transformers: models/{vit,deit,dinov2,dinov2_with_registers,vit_mae}/modeling_*.py
    Dialect {
        program: "Hugging Face transformers",
        marker: "embeddings.patch_embeddings.projection.weight",
        rename: transformers,
        heads: &[
            ("classifier.weight", "head.weight"),
            ("classifier.bias", "head.bias"),
            ("cls_classifier.weight", "head.weight"),
            ("cls_classifier.bias", "head.bias"),
            ("distillation_classifier.weight", "head_dist.weight"),
            ("distillation_classifier.bias", "head_dist.bias"),
        ],
        keeps_prefix: false,
        alone: false,
    },
    // transformers: models/{clip,siglip}/modeling_*.py
    Dialect {
        program: "Hugging Face transformers (CLIP, SigLIP)",
        marker: "embeddings.patch_embedding.weight",
        rename: transformers_clip,
        heads: &[
            ("classifier.weight", "head.weight"),
            ("classifier.bias", "head.bias"),
            ("visual_projection.weight", "visual_projection.weight"),
        ],
        keeps_prefix: false,
        alone: true,
    },
    // torchvision: models/vision_transformer.py
    Dialect {
        program: "torchvision",
        marker: "conv_proj.weight",
        rename: torchvision,
        heads: &[],
        keeps_prefix: false,
        alone: false,
    },
    // open_clip: src/open_clip/transformer.py; OpenAI's clip/model.py
    Dialect {
        program: "CLIP",
        marker: "class_embedding",
        rename: clip,
        heads: &[],
        keeps_prefix: false,
        alone: true,
    },
    // mmsegmentation: mmseg/models/backbones/vit.py; mmpretrain: models/backbones/vision_transformer.py
    Dialect {
        program: "mmsegmentation",
        marker: "patch_embed.projection.weight",
        rename: mmsegmentation,
        heads: &[("head.layers.head.weight", "head.weight"), ("head.layers.head.bias", "head.bias")],
        keeps_prefix: true,
        alone: false,
    },
];

/// `name` with the first of `pairs` that it starts with replaced.
fn replaced(name: &str, pairs: &[(&str, &str)]) -> Option<String> {
    pairs.iter().find_map(|(from, to)| Some(format!("{to}{}", name.strip_prefix(from)?)))
}

/// `blocks.N.` and what `pairs` make of the rest, of a name `start` N `.` rest.
fn block(name: &str, start: &str, pairs: &[(&str, &str)]) -> Option<String> {
    let (number, rest) = name.strip_prefix(start)?.split_once('.')?;
    number.parse::<usize>().ok()?;
    Some(format!("blocks.{number}.{}", replaced(rest, pairs)?))
}

fn transformers(name: &str) -> Option<String> {
    const STEM: [(&str, &str); 7] = [
        ("embeddings.cls_token", "cls_token"),
        ("embeddings.distillation_token", "dist_token"),
        ("embeddings.register_tokens", "register_tokens"),
        ("embeddings.mask_token", "mask_token"),
        ("embeddings.position_embeddings", "pos_embed"),
        ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
        ("layernorm.", "norm."),
    ];
    const BLOCK: [(&str, &str); 14] = [
        ("attention.attention.query.", "attn.q."),
        ("attention.attention.key.", "attn.k."),
        ("attention.attention.value.", "attn.v."),
        ("attention.output.dense.", "attn.proj."),
        ("intermediate.dense.", "mlp.fc1."),
        ("output.dense.", "mlp.fc2."),
        ("layernorm_before.", "norm1."),
        ("layernorm_after.", "norm2."),
        ("norm1.", "norm1."),
        ("norm2.", "norm2."),
        ("mlp.fc1.", "mlp.fc1."),
        ("mlp.fc2.", "mlp.fc2."),
        ("layer_scale1.lambda1", "ls1.gamma"),
        ("layer_scale2.lambda1", "ls2.gamma"),
    ];
    replaced(name, &STEM).or_else(|| block(name, "encoder.layer.", &BLOCK))
}

fn transformers_clip(name: &str) -> Option<String> {
    const STEM: [(&str, &str); 5] = [
        ("embeddings.class_embedding", "cls_token"),
        ("embeddings.position_embedding.weight", "pos_embed"),
        ("embeddings.patch_embedding.", "patch_embed.proj."),
        // their spelling
        ("pre_layrnorm.", "norm_pre."),
        ("post_layernorm.", "norm."),
    ];
    const BLOCK: [(&str, &str); 7] = [
        ("self_attn.q_proj.", "attn.q."),
        ("self_attn.k_proj.", "attn.k."),
        ("self_attn.v_proj.", "attn.v."),
        ("self_attn.out_proj.", "attn.proj."),
        ("layer_norm1.", "norm1."),
        ("layer_norm2.", "norm2."),
        ("mlp.", "mlp."),
    ];
    replaced(name, &STEM).or_else(|| block(name, "encoder.layers.", &BLOCK))
}

fn torchvision(name: &str) -> Option<String> {
    const STEM: [(&str, &str); 5] = [
        ("class_token", "cls_token"),
        ("conv_proj.", "patch_embed.proj."),
        ("encoder.pos_embedding", "pos_embed"),
        ("encoder.ln.", "norm."),
        ("heads.head.", "head."),
    ];
    const BLOCK: [(&str, &str); 9] = [
        ("ln_1.", "norm1."),
        ("ln_2.", "norm2."),
        ("self_attention.in_proj_weight", "attn.qkv.weight"),
        ("self_attention.in_proj_bias", "attn.qkv.bias"),
        ("self_attention.out_proj.", "attn.proj."),
        ("mlp.0.", "mlp.fc1."),
        ("mlp.3.", "mlp.fc2."),
        ("mlp.linear_1.", "mlp.fc1."),
        ("mlp.linear_2.", "mlp.fc2."),
    ];
    replaced(name, &STEM).or_else(|| block(name, "encoder.layers.encoder_layer_", &BLOCK))
}

fn clip(name: &str) -> Option<String> {
    const STEM: [(&str, &str); 5] = [
        ("class_embedding", "cls_token"),
        ("positional_embedding", "pos_embed"),
        ("conv1.", "patch_embed.proj."),
        ("ln_pre.", "norm_pre."),
        ("ln_post.", "norm."),
    ];
    const BLOCK: [(&str, &str); 9] = [
        ("ln_1.", "norm1."),
        ("ln_2.", "norm2."),
        ("attn.in_proj_weight", "attn.qkv.weight"),
        ("attn.in_proj_bias", "attn.qkv.bias"),
        ("attn.out_proj.", "attn.proj."),
        ("mlp.c_fc.", "mlp.fc1."),
        ("mlp.c_proj.", "mlp.fc2."),
        ("ls_1.", "ls1."),
        ("ls_2.", "ls2."),
    ];
    if name == "proj" {
        return Some("head.weight.transposed".to_owned());
    }
    replaced(name, &STEM).or_else(|| block(name, "transformer.resblocks.", &BLOCK))
}

fn mmsegmentation(name: &str) -> Option<String> {
    const STEM: [(&str, &str); 5] = [
        ("cls_token", "cls_token"),
        ("pos_embed", "pos_embed"),
        ("patch_embed.projection.", "patch_embed.proj."),
        ("ln1.", "norm."),
        ("pre_norm.", "norm_pre."),
    ];
    const BLOCK: [(&str, &str); 12] = [
        ("ln1.", "norm1."),
        ("ln2.", "norm2."),
        ("attn.attn.in_proj_weight", "attn.qkv.weight"),
        ("attn.attn.in_proj_bias", "attn.qkv.bias"),
        ("attn.attn.out_proj.", "attn.proj."),
        ("attn.qkv.", "attn.qkv."),
        ("attn.proj.", "attn.proj."),
        ("attn.gamma1.weight", "ls1.gamma"),
        ("ffn.gamma2.weight", "ls2.gamma"),
        ("ffn.layers.0.0.", "mlp.fc1."),
        ("ffn.layers.1.", "mlp.fc2."),
        ("ffn.", "ffn."),
    ];
    replaced(name, &STEM).or_else(|| block(name, "layers.", &BLOCK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_names_a_block() {
        for (rename, name, expected) in [
            (transformers as fn(&str) -> Option<String>, "encoder.layer.3.output.dense.bias", "mlp.fc2.bias"),
            (transformers, "encoder.layer.3.layer_scale2.lambda1", "ls2.gamma"),
            (transformers_clip, "encoder.layers.3.self_attn.out_proj.weight", "attn.proj.weight"),
            (torchvision, "encoder.layers.encoder_layer_3.mlp.3.weight", "mlp.fc2.weight"),
            (clip, "transformer.resblocks.3.attn.in_proj_bias", "attn.qkv.bias"),
            (mmsegmentation, "layers.3.attn.attn.out_proj.bias", "attn.proj.bias"),
        ] {
            assert_eq!(rename(name), Some(format!("blocks.3.{expected}")), "{name}");
        }
        assert_eq!(transformers("encoder.layer.3.attention.odd.weight"), None);
        assert_eq!(transformers("encoder.layer.x.norm1.weight"), None);
    }
}
