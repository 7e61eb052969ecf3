//! From the `[model]` section to the backbone's configuration.

use kat_backbone::init::{Activation, Order};
use kat_backbone::nn::{MixerKind, Sharing};
use kat_backbone::{InitScheme, KatConfig, Pool, Size, variants};

use crate::config::raw::{self, InitKind, NumeratorKind, PoolKind};
use crate::config::{ModelPlan, Plan};

/// The backbone that `plan` asks for, with a head for `classes`.
///
/// # Errors
/// An unknown variant or activation (with the nearest name), or numbers that do not go together.
pub fn kat_config(plan: &Plan, classes: usize) -> anyhow::Result<KatConfig> {
    let m = &plan.raw.model;
    let mut config = match &plan.model {
        ModelPlan::Variant(name) => variants::named(name)?.config,
        ModelPlan::Custom { .. } => KatConfig::default(),
    };
    let number = |field: &mut usize, value: Option<usize>| value.into_iter().for_each(|v| *field = v);
    number(&mut config.dim, m.dim);
    number(&mut config.depth, m.depth);
    number(&mut config.heads, m.heads);
    number(&mut config.groups, m.groups);
    number(&mut config.registers, m.register_tokens);
    config.image_size = m.image_size.map_or(config.image_size, Size::square);
    config.patch_size = m.patch.map_or(config.patch_size, Size::square);
    config.mlp_ratio = m.mlp_ratio.map_or(config.mlp_ratio, |ratio| ratio as f32);
    config.order = Order {
        numerator: m.numerator_degree.unwrap_or(config.order.numerator),
        denominator: m.denominator_degree.unwrap_or(config.order.denominator),
    };
    let activation = |name: &Option<String>, default| match name {
        Some(name) => name.parse::<Activation>(),
        None => Ok(default),
    };
    config.act1 = activation(&m.act1, config.act1)?;
    config.act2 = activation(&m.act2, config.act2)?;
    choices(&mut config, m);
    config.classes = classes;
    config.drop_path = m.drop_path as f32;
    config.activation_checkpointing = m.recompute;
    config.check()?;
    Ok(config)
}

/// Sets what the section chooses by a word.
fn choices(config: &mut KatConfig, m: &raw::Model) {
    if let Some(mixer) = m.mixer {
        config.mixer = match mixer {
            raw::MixerKind::GrKan => MixerKind::GrKan,
            raw::MixerKind::Mlp => MixerKind::Mlp,
            raw::MixerKind::Kan => MixerKind::Kan,
        };
    }
    if let Some(numerator) = m.numerator {
        config.numerator = match numerator {
            NumeratorKind::Shared => Sharing::Shared,
            NumeratorKind::PerGroup => Sharing::PerGroup,
        };
    }
    if let Some(init) = m.init {
        config.init = match init {
            InitKind::VariancePreserving => InitScheme::VariancePreserving,
            InitKind::Published => InitScheme::Published,
        };
    }
    if let Some(pool) = m.pool {
        config.pool = match pool {
            PoolKind::ClassToken => Pool::ClassToken,
            PoolKind::Average => Pool::Average,
        };
        config.class_token = config.pool == Pool::ClassToken;
    }
}
