//! A classifier as a folder that timm loads (`timm.create_model("local-dir:FOLDER", pretrained=True)`), laid out as on the Hugging Face hub:
//! `model.safetensors`, `config.json` and a model card.

use std::path::Path;

use anyhow::Context;
use kat_backbone::checkpoint::model::export;
use kat_backbone::checkpoint::{safetensors, told};
use kat_backbone::init::Activation;
use kat_backbone::nn::{Learnable, MixerKind};
use kat_backbone::{Device, KatConfig, Pool, count};
use serde_json::{Value, json};

use super::trained::Trained;
use crate::shell::Misuse;

/// Writes the folder `to`, which is not there yet; `top1` is the accuracy that was measured with these weights.
///
/// # Errors
/// A folder that is there already or cannot be written.
pub fn write<D: Device>(trained: &Trained<D>, top1: Option<f64>, to: &Path) -> anyhow::Result<()> {
    if to.exists() {
        return Err(Misuse(format!("{} exists already", to.display())).into());
    }
    let refused = || format!("cannot write {}", to.display());
    std::fs::create_dir_all(to).with_context(refused)?;
    let mut map = export(&trained.model);
    // Our own description stands beside timm's, so that the folder's weights open here as any checkpoint of ours.
    map.metadata.clone_from(&trained.map.metadata);
    map.metadata.insert("format".to_owned(), "pt".to_owned());
    safetensors::save(&to.join("model.safetensors"), &map)?;
    let config = serde_json::to_string_pretty(&description(trained))? + "\n";
    std::fs::write(to.join(told::CONFIG_FILE), config).with_context(refused)?;
    std::fs::write(to.join("README.md"), card(trained, top1)?).with_context(refused)?;
    tracing::info!("wrote {}", to.display());
    Ok(())
}

/// The model of timm that, with other arguments, is this one. timm itself has no KAT; the code of KAT's authors registers
/// theirs with it.
fn architecture(config: &KatConfig) -> &'static str {
    match (config.mixer, config.pre_norm, config.activation) {
        (MixerKind::GrKan, ..) => "kat_base_patch16_224",
        (_, true, Activation::QuickGelu) => "vit_base_patch16_clip_quickgelu_224",
        (_, true, _) => "vit_base_patch16_clip_224",
        _ if config.distilled => "deit_base_distilled_patch16_224",
        _ => "vit_base_patch16_224",
    }
}

/// `config.json` with timm's keys.
fn description<D: Device>(trained: &Trained<D>) -> Value {
    let c = trained.model.config();
    let pool = if c.pool == Pool::ClassToken { "token" } else { "avg" };
    let size = [c.image_size.height, c.image_size.width];
    let mut arguments = json!({
        "img_size": size,
        "patch_size": c.patch_size.height,
        "embed_dim": c.dim,
        "depth": c.depth,
        "num_heads": c.heads,
        "mlp_ratio": c.hidden() as f64 / c.dim as f64,
        "num_classes": c.classes,
        "global_pool": pool,
        "class_token": c.class_token,
        "qkv_bias": c.qkv_bias,
        "reg_tokens": c.registers,
        "no_embed_class": !c.prefix_positions,
        "fc_norm": c.pool == Pool::Average,
    });
    if let Some(value) = c.layer_scale {
        arguments["init_values"] = json!(value);
    }
    let activation = match c.activation {
        Activation::GeluTanh => Some("gelu_tanh"),
        Activation::Swish => Some("silu"),
        Activation::Relu => Some("relu"),
        Activation::QuickGelu if !c.pre_norm => Some("quick_gelu"),
        _ => None,
    };
    let activation = match c.learnable {
        Some(Learnable::Prelu) => Some("prelu"),
        _ => activation,
    };
    if let Some(name) = activation {
        arguments["act_layer"] = json!(name);
    }
    if c.distilled {
        // its constructor has these fixed
        for fixed in ["class_token", "no_embed_class", "fc_norm", "reg_tokens"] {
            arguments.as_object_mut().map(|arguments| arguments.remove(fixed));
        }
    }
    let normalize = &trained.plan.data.normalize;
    json!({
        "architecture": architecture(c),
        "num_classes": c.classes,
        "num_features": c.dim,
        "global_pool": pool,
        "model_args": arguments,
        "label_names": trained.classes,
        "pretrained_cfg": {
            "custom_load": false,
            "input_size": [c.channels, size[0], size[1]],
            "fixed_input_size": true,
            "interpolation": "bicubic",
            "crop_pct": trained.plan.eval.crop,
            "crop_mode": "center",
            "mean": normalize.mean,
            "std": normalize.std,
            "num_classes": c.classes,
            "pool_size": null,
            "first_conv": "patch_embed.proj",
            "classifier": "head"
        }
    })
}

/// The model card: what it is, how images are prepared, and how it is used.
fn card<D: Device>(trained: &Trained<D>, top1: Option<f64>) -> anyhow::Result<String> {
    let c = trained.model.config();
    let counted = count::count(c, c.image_size)?;
    let kind = match c.mixer {
        MixerKind::GrKan => "Kolmogorov-Arnold Transformer (GR-KAN)",
        MixerKind::Mlp => "vision transformer (MLP)",
        MixerKind::Kan => "vision transformer with B-spline edges (KAN)",
    };
    let (side, crop) = (c.image_size.height, trained.plan.eval.crop);
    let normalize = &trained.plan.data.normalize;
    let measured = match top1 {
        Some(top1) => format!("Top-1 on the held-out part of its training run: {:.2} %.\n", 100.0 * top1),
        None => {
            "The checkpoint it was made of has no figure that was measured with these weights.\n".to_owned()
        }
    };
    let theirs = match c.mixer {
        MixerKind::Mlp => "In timm: `timm.create_model(\"local-dir:FOLDER\", pretrained=True)`.\n",
        MixerKind::GrKan => {
            "timm has no such model itself; with the code of KAT's authors imported, `safetensors.torch.load_file` gives \
                             their names.\n"
        }
        MixerKind::Kan => "timm has no such model.\n",
    };
    Ok(format!(
        "---\nlibrary_name: timm\ntags:\n- image-classification\n- timm\n---\n\
         # {kind}, {:.1}M parameters\n\n\
         {} blocks of {} channels, {} heads, patches of {} pixels, {} classes, {:.2}G FLOPs at {side} x {side}.\n\n\
         {measured}\n\
         Images: the short side to {:.0} pixels (bicubic), the center {side} x {side}, mean {:?}, standard deviation {:?}.\n\n\
         {theirs}Here: `classify predict --checkpoint FOLDER/model.safetensors IMAGE`.\n",
        counted.parameters as f64 / 1e6,
        c.depth,
        c.dim,
        c.heads,
        c.patch_size.height,
        c.classes,
        counted.flops as f64 / 1e9,
        side as f64 / crop,
        normalize.mean,
        normalize.std,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Plan, TaskKind, from_text_with, sections};
    use crate::run::state::PLAN_KEY;
    use kat_backbone::checkpoint::load_any;
    use kat_backbone::checkpoint::recognize::{Recognized, recognize};
    use kat_backbone::{Cpu, Kat, Size, variants};

    fn trained(config: &KatConfig) -> Trained<Cpu> {
        let found = Recognized {
            config: config.clone(),
            undecided: Vec::new(),
            preparation: None,
            classes: None,
            notes: Vec::new(),
        };
        let text = sections(&found, &[]).unwrap() + "[train]\nepochs = 1\n";
        let plan =
            Plan::new(from_text_with(&text, &[], "test", TaskKind::Classify).unwrap(), TaskKind::Classify);
        let plan = plan.unwrap();
        let model = Kat::new(&Cpu::default(), config, 3).unwrap();
        let classes: Vec<String> = (0..config.classes).map(|i| format!("kind {i}")).collect();
        let mut map = export(&model);
        map.metadata = super::super::metadata(config, &classes).unwrap();
        map.metadata.insert(PLAN_KEY.to_owned(), plan.to_toml());
        Trained { model, classes, plan, map }
    }

    #[test]
    fn a_folder_says_all_of_its_model_with_and_without_our_own_description() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "vit_tiny_patch16_224",
            "deit_tiny_distilled_patch16_224",
            "deit3_small_patch16_224",
            "kat_tiny_patch16_224",
        ] {
            let named = variants::named(name).unwrap().config;
            let config =
                KatConfig { image_size: Size::square(32), dim: 48, heads: 4, depth: 2, classes: 3, ..named };
            let to = dir.path().join(name);
            write(&trained(&config), Some(0.75), &to).unwrap();
            let file = to.join("model.safetensors");
            let again = Trained::open(&Cpu::default(), &file, &[]).unwrap();
            assert_eq!(again.classes, ["kind 0", "kind 1", "kind 2"]);
            // as timm's own: by its tensors and config.json alone
            let mut map = load_any(&file).unwrap();
            map.metadata.clear();
            let text = std::fs::read_to_string(to.join(told::CONFIG_FILE)).unwrap();
            map.metadata.insert(told::CONFIG_FILE.to_owned(), text);
            let found = recognize(&map).unwrap();
            assert!(found.undecided.is_empty(), "{name}: {:?}", found.undecided);
            assert_eq!((found.config.heads, found.config.classes), (4, 3), "{name}");
            assert_eq!(found.classes.unwrap()[2], "kind 2");
            assert!(std::fs::read_to_string(to.join("README.md")).unwrap().contains("75.00 %"));
            assert!(write(&trained(&config), None, &to).unwrap_err().to_string().contains("exists already"));
        }
    }
}
