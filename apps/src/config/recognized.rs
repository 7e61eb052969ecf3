//! A model that was recognized from its file, as a configuration.

use std::fmt::Write as _;

use kat_backbone::KatConfig;
use kat_backbone::checkpoint::recognize::Recognized;
use kat_backbone::checkpoint::told::Preparation;
use kat_backbone::nn::MixerKind;
use serde::Serialize;

use super::overrides::Override;
use crate::shell::Misuse;

/// The `[model]` section of `found`, and how images are prepared for it, as TOML. What neither file nor `overrides` say is
/// asked for.
///
/// # Errors
/// [`Misuse`] with the keys that are to be given; images of other than three channels or that are not square.
pub fn sections(found: &Recognized, overrides: &[Override]) -> anyhow::Result<String> {
    let given = |key: &str| overrides.iter().any(|change| change.section == "model" && change.key == key);
    let missing: Vec<String> = found
        .undecided
        .iter()
        .filter(|(key, _)| !given(key))
        .map(|(key, values)| format!("--set model.{key}=… ({values})"))
        .collect();
    if !missing.is_empty() {
        let missing = missing.join(" and ");
        return Err(Misuse(format!("the file does not tell all of its model: give {missing}")).into());
    }
    let c = &found.config;
    let square = |size: kat_backbone::Size| size.height == size.width;
    if c.channels != 3 || !square(c.image_size) || !square(c.patch_size) {
        let (channels, image, patch) = (c.channels, c.image_size, c.patch_size);
        let reason = format!("a model of {channels} channels, images of {image:?} and patches of {patch:?}");
        return Err(Misuse(format!("the file has {reason}; expected 3 channels and squares")).into());
    }
    Ok(model(c)? + &preparation(found.preparation))
}

/// A value as TOML has it: numbers, switches and names are written as JSON has them.
fn toml_value(value: impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string(&value)?)
}

fn model(c: &KatConfig) -> anyhow::Result<String> {
    let mut out = String::from("[model]\n");
    let mut key = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{name} = {value}");
    };
    for (name, value) in [
        ("image_size", c.image_size.height),
        ("patch", c.patch_size.height),
        ("dim", c.dim),
        ("depth", c.depth),
        ("heads", c.heads),
        ("register_tokens", c.registers),
    ] {
        key(name, value.to_string());
    }
    key("mlp_ratio", format!("{:?}", f64::from(c.mlp_ratio)));
    key("norm_eps", format!("{:?}", f64::from(c.norm_eps)));
    key("mixer", toml_value(c.mixer)?);
    key("init", toml_value(c.init)?);
    key("activation", toml_value(c.activation)?);
    key("pool", toml_value(c.pool)?);
    for (name, value) in [
        ("class_token", c.class_token),
        ("distilled", c.distilled),
        ("prefix_positions", c.prefix_positions),
        ("pre_norm", c.pre_norm),
        ("patch_bias", c.patch_bias),
        ("qkv_bias", c.qkv_bias),
    ] {
        key(name, value.to_string());
    }
    if let Some(value) = c.layer_scale {
        key("layer_scale", format!("{:?}", f64::from(value)));
    }
    if c.mixer == MixerKind::GrKan {
        key("groups", c.groups.to_string());
        key("numerator", toml_value(c.numerator)?);
        key("numerator_degree", c.order.numerator.to_string());
        key("denominator_degree", c.order.denominator.to_string());
    }
    Ok(out)
}

/// Means and deviations, and the share of the image that is kept, as TOML; nothing where they are not told.
pub fn preparation(told: Option<Preparation>) -> String {
    let Some(preparation) = told else { return String::new() };
    let (mean, std) = (preparation.mean, preparation.std);
    let crop = preparation.crop.map_or(String::new(), |crop| format!("[eval]\ncrop = {crop:?}\n"));
    format!("[data]\nmean = {mean:?}\nstd = {std:?}\n{crop}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Plan, TaskKind, from_text_with};
    use kat_backbone::variants;

    #[test]
    fn a_recognized_model_comes_back_out_of_its_configuration() {
        for variant in variants::all() {
            if variant.config.mixer == MixerKind::Kan {
                continue;
            }
            // first values are of no account for a model that is loaded; groups divide the hidden width
            let odd = if variant.config.mixer == MixerKind::Mlp { 4.0 + 0.25 / 64.0 } else { 3.5 };
            let config = KatConfig {
                mimetic: KatConfig::default().mimetic,
                mlp_ratio: odd,
                act2: KatConfig::default().act2,
                ..variant.config.clone()
            };
            let preparation = Some(Preparation { mean: [0.5; 3], std: [0.25; 3], crop: Some(0.9) });
            let found = Recognized {
                config: config.clone(),
                undecided: vec![("heads", "a number".into())],
                preparation,
                classes: None,
                notes: Vec::new(),
            };
            assert!(sections(&found, &[]).unwrap_err().to_string().contains("--set model.heads=…"));
            let heads = [Override::parse(&format!("model.heads={}", config.heads)).unwrap()];
            let text = sections(&found, &heads).unwrap() + "[train]\nepochs = 1\n";
            let loaded = from_text_with(&text, &heads, "file", TaskKind::Classify).unwrap();
            let plan = Plan::new(loaded, TaskKind::Classify).unwrap();
            assert_eq!(plan.model.kat_config(config.classes).unwrap(), config, "{}\n{text}", variant.name);
            assert_eq!(plan.eval.crop, 0.9);
        }
    }
}
