//! Which backbone: from the `[model]` section to the backbone's own configuration.

use std::path::PathBuf;

use kat_backbone::checkpoint::Averages;
use kat_backbone::checkpoint::transfer::{HeadPolicy, LeftoverPolicy, LoadPolicy};
use kat_backbone::init::{Activation, Order};
use kat_backbone::{KatConfig, Pool, Size, variants};

use super::check::Check;
use super::error::ConfigError;
use super::kinds::Freeze;
use super::raw::Model;

/// What the numbers of a configuration are laid upon.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelBase {
    /// A named variant; the numbers given beside the name override it.
    Variant(String),
    /// Every number given.
    Custom {
        /// Side of the square input in pixels.
        image_size: usize,
        /// Side of a patch in pixels.
        patch: usize,
        /// Channels of a token.
        dim: usize,
        /// Number of blocks.
        depth: usize,
        /// Attention heads.
        heads: usize,
    },
}

/// Which backbone to build, and what its weights start from.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelPlan {
    /// What the numbers are laid upon.
    pub base: ModelBase,
    /// Side of the square input in pixels, where it is given.
    pub image_size: Option<usize>,
    /// Checkpoint whose weights training starts from.
    pub init_from: Option<PathBuf>,
    /// What training leaves as it was.
    pub freeze: Freeze,
    /// What may differ between that checkpoint and the model.
    pub load: LoadPolicy,
    /// What each rational function starts as, where it is given.
    activations: [Option<Activation>; 2],
    /// The activation of an MLP, where it is given.
    activation: Option<Activation>,
    /// The section itself.
    section: Model,
}

impl ModelPlan {
    /// Checks the section.
    ///
    /// # Errors
    /// A number or name that does not do, or one that is missing.
    pub(super) fn new(m: &Model, check: &Check<'_>) -> Result<Self, ConfigError> {
        check_numbers(m, check)?;
        let activation =
            |key, name: &Option<String>| name.as_ref().map(|name| check.parsed(key, name)).transpose();
        Ok(Self {
            base: base(m, check)?,
            image_size: m.image_size,
            init_from: m.init_from.as_ref().map(PathBuf::from),
            freeze: m.freeze,
            load: LoadPolicy {
                head: if m.allow_head_mismatch { HeadPolicy::Reinitialize } else { HeadPolicy::Strict },
                leftover: if m.allow_unused { LeftoverPolicy::Allow } else { LeftoverPolicy::Refuse },
                averages: if m.init_averaged { Averages::Prefer } else { Averages::Ignore },
            },
            activation: activation("model.activation", &m.activation)?,
            activations: [activation("model.act1", &m.act1)?, activation("model.act2", &m.act2)?],
            section: m.clone(),
        })
    }

    /// The backbone, with a head for `classes`.
    ///
    /// # Errors
    /// An unknown variant (with the nearest name), or numbers that do not go together.
    pub fn kat_config(&self, classes: usize) -> anyhow::Result<KatConfig> {
        let m = &self.section;
        let mut config = match &self.base {
            ModelBase::Variant(name) => variants::named(name)?.config,
            ModelBase::Custom { .. } => KatConfig::default(),
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
        config.act1 = self.activations[0].unwrap_or(config.act1);
        config.act2 = self.activations[1].unwrap_or(config.act2);
        config.mixer = m.mixer.unwrap_or(config.mixer);
        config.numerator = m.numerator.unwrap_or(config.numerator);
        config.denominator_form = m.denominator.unwrap_or(config.denominator_form);
        config.init = m.init.unwrap_or(config.init);
        config.activation = self.activation.unwrap_or(config.activation);
        config.learnable = m.learnable_activation.or(config.learnable);
        if let Some(pool) = m.pool {
            config.pool = pool;
            config.class_token = pool == Pool::ClassToken;
        }
        let switch = |field: &mut bool, value: Option<bool>| value.into_iter().for_each(|v| *field = v);
        switch(&mut config.class_token, m.class_token);
        switch(&mut config.distilled, m.distilled);
        switch(&mut config.prefix_positions, m.prefix_positions);
        switch(&mut config.pre_norm, m.pre_norm);
        switch(&mut config.patch_bias, m.patch_bias);
        switch(&mut config.qkv_bias, m.qkv_bias);
        config.resampling = m.position_resampling.unwrap_or(config.resampling);
        config.layer_scale = m.layer_scale.map(|value| value as f32).or(config.layer_scale);
        config.norm_eps = m.norm_eps.map_or(config.norm_eps, |eps| eps as f32);
        config.classes = classes;
        config.drop_path = m.drop_path as f32;
        config.activation_checkpointing = m.recompute;
        config.check()?;
        Ok(config)
    }
}

fn check_numbers(m: &Model, check: &Check<'_>) -> Result<(), ConfigError> {
    check.range("model.drop_path", m.drop_path, 0.0..=0.99)?;
    check.side("model.image_size", m.image_size.unwrap_or(1))?;
    for (key, value) in [
        ("model.image_size", m.image_size),
        ("model.patch", m.patch),
        ("model.dim", m.dim),
        ("model.depth", m.depth),
        ("model.heads", m.heads),
        ("model.groups", m.groups),
        ("model.numerator_degree", m.numerator_degree),
    ] {
        if let Some(value) = value {
            check.positive(key, value)?;
        }
    }
    if let Some(eps) = m.norm_eps {
        check.range("model.norm_eps", eps, 1e-20..=0.1)?;
    }
    if let Some(value) = m.layer_scale {
        check.range("model.layer_scale", value, -1e3..=1e3)?;
    }
    if let Some(ratio) = m.mlp_ratio {
        check.range("model.mlp_ratio", ratio, 0.25..=64.0)?;
    }
    if let (Some(size), Some(patch)) = (m.image_size, m.patch)
        && size % patch != 0
    {
        return Err(check.bad("model.image_size", size, &format!("a multiple of model.patch = {patch}")));
    }
    if let (Some(dim), Some(heads)) = (m.dim, m.heads)
        && dim % heads != 0
    {
        return Err(check.bad("model.dim", dim, &format!("a multiple of model.heads = {heads}")));
    }
    if let (Some(dim), Some(groups)) = (m.dim, m.groups)
        && dim % groups != 0
    {
        return Err(check.bad("model.dim", dim, &format!("a multiple of model.groups = {groups}")));
    }
    Ok(())
}

/// A variant where one is named, or else the five numbers that there is no model without.
fn base(m: &Model, check: &Check<'_>) -> Result<ModelBase, ConfigError> {
    if let Some(name) = &m.name {
        return Ok(ModelBase::Variant(name.clone()));
    }
    let need = |key: &'static str, value: Option<usize>| {
        value.ok_or_else(|| check.bad(key, "missing", "a number, or a variant in model.name"))
    };
    Ok(ModelBase::Custom {
        image_size: need("model.image_size", m.image_size)?,
        patch: need("model.patch", m.patch)?,
        dim: need("model.dim", m.dim)?,
        depth: need("model.depth", m.depth)?,
        heads: need("model.heads", m.heads)?,
    })
}
