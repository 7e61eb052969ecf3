//! Fitting a checkpoint to a model: ViT → KAT, MAE encoders, distilled DeiT, another class count or image size.
//!
//! What the file and the model share by name and shape is copied. Beyond that, each rule below states in the report
//! what it did; nothing is changed silently.

use super::{
    Averages, CheckpointError, HostTensor, LoadReport, Mismatch, TensorMap, element_count, names, place,
};
use super::{patch_kernel, pos_embed};
use crate::config::Size;
use crate::init::{Activation, Order, tables};
use crate::ops::rational::Denominator;
use std::collections::BTreeMap;

/// Shapes of the model's parameters by published name.
pub type Expected = BTreeMap<String, Vec<usize>>;

/// What to do with a classification head that the file lacks or has for another number of classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeadPolicy {
    /// Keep the model's initial head and report it: fine-tuning on other classes.
    Reinitialize,
    /// Report it as missing or mis-shaped: evaluation.
    #[default]
    Strict,
}

/// What to do with tensors of the file's encoder, or of a head that the model has, that found no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeftoverPolicy {
    /// An error: the model is not the one that the file is of.
    #[default]
    Refuse,
    /// They are left out and reported, for those who mean it.
    Allow,
}

/// What may differ between a file and the model it is loaded into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadPolicy {
    /// About the head.
    pub head: HeadPolicy,
    /// About tensors without a place.
    pub leftover: LeftoverPolicy,
    /// About averaged weights beside others.
    pub averages: Averages,
}

impl From<HeadPolicy> for LoadPolicy {
    fn from(head: HeadPolicy) -> Self {
        Self { head, ..Self::default() }
    }
}

/// How a checkpoint is fitted to a model.
#[derive(Debug, Clone)]
pub struct TransferOptions {
    /// The model's patch grid.
    pub grid: Size,
    /// The file's patch grid; `None`: square.
    pub source_grid: Option<Size>,
    /// Tokens before the patches in the model's position embedding (1 with a class token that has a position).
    pub prefix_tokens: usize,
    /// Whether the model has no token but the patches', and no use for the file's others.
    pub dense: bool,
    /// What to do with a head that does not fit.
    pub head: HeadPolicy,
    /// The activation that act2 takes over when the file is a ViT.
    pub vit_activation: Activation,
    /// The denominator of those rational functions.
    pub denominator: Denominator,
}

impl TransferOptions {
    /// The usual case: square source grid, class token, strict head, GELU in the ViT.
    pub fn new(grid: Size) -> Self {
        Self {
            grid,
            source_grid: None,
            prefix_tokens: 1,
            dense: false,
            head: HeadPolicy::Strict,
            vit_activation: Activation::Gelu,
            denominator: Denominator::Kernel,
        }
    }
}

/// Fits `source` to the `expected` parameters.
///
/// Returns the tensors to set (each with exactly the expected shape) and the report. Tensors of the model that are
/// not among them keep their initial values; call [`LoadReport::require_complete`] to make that an error.
///
/// # Errors
/// [`CheckpointError::PositionEmbedding`] if the position embedding has another number of tokens than the grids
/// explain; [`CheckpointError::Init`] for a rational order that cannot be initialized.
pub fn adapt(
    mut source: TensorMap,
    expected: &Expected,
    options: &TransferOptions,
) -> Result<(TensorMap, LoadReport), CheckpointError> {
    let mut report = LoadReport { notes: std::mem::take(&mut source.notes), ..LoadReport::default() };
    drop_mae_decoder(&mut source, expected, &mut report);
    place::as_register(&mut source, expected, &mut report);
    let file_prefix = drop_distillation(&mut source, expected, options, &mut report);
    place::prefix_positions(&mut source, options, &mut report);
    fill_rationals(&mut source, expected, options, &mut report)?;
    fill_pade_units(&mut source, expected, options, &mut report)?;
    let mut out = TensorMap { metadata: source.metadata, ..TensorMap::default() };
    let mut tensors = source.tensors;
    for (name, shape) in expected {
        let Some(tensor) = tensors.remove(name) else {
            if names::is_head(name) && options.head == HeadPolicy::Reinitialize {
                report.reinitialized.push(name.clone());
            } else {
                report.missing.push(name.clone());
            }
            continue;
        };
        let fitted = match fit_shape(name, tensor, shape, (options, file_prefix), &mut report)? {
            Ok(tensor) => tensor,
            Err(found) if names::is_head(name) && options.head == HeadPolicy::Reinitialize => {
                report.notes.push(format!("{name}: the file's {found:?} left out for the model's {shape:?}"));
                report.reinitialized.push(name.clone());
                continue;
            }
            Err(found) => {
                report.mismatched.push(Mismatch { name: name.clone(), found, expected: shape.clone() });
                continue;
            }
        };
        report.loaded.push(name.clone());
        out.insert(name.clone(), fitted);
    }
    report.left_over = left_over(tensors.keys(), expected, options);
    report.unexpected.extend(tensors.into_keys());
    Ok((out, report))
}

/// Of the names without a place, those without which the model is not the file's: of the encoder, or of a head that the
/// model has too. A dense model has no tokens before its patches, which are left out of the positions as well.
fn left_over<'a>(
    names: impl Iterator<Item = &'a String>,
    expected: &Expected,
    options: &TransferOptions,
) -> Vec<String> {
    let has_head = expected.keys().any(|name| name.starts_with("head."));
    let is_part = |name: &str| match name {
        "cls_token" | "reg_token" => !options.dense,
        _ if name.starts_with("head.") || name.starts_with("head_dist.") => has_head,
        _ => names::is_encoder(name),
    };
    names.filter(|name| is_part(name)).cloned().collect()
}

/// Masked autoencoders: the decoder and mask token have no place in a model that does not name them.
fn drop_mae_decoder(source: &mut TensorMap, expected: &Expected, report: &mut LoadReport) {
    let before = source.tensors.len();
    source.tensors.retain(|name, _| !names::is_mae_decoder(name) || expected.contains_key(name));
    let dropped = before - source.tensors.len();
    if dropped > 0 {
        report.notes.push(format!("masked autoencoder: {dropped} tensors of its decoder left out"));
    }
}

/// Distilled DeiT: leaves out the distillation token, its position and its head. Returns the number of prefix tokens
/// in what is left of the file's position embedding.
fn drop_distillation(
    source: &mut TensorMap,
    expected: &Expected,
    options: &TransferOptions,
    report: &mut LoadReport,
) -> usize {
    if expected.contains_key("dist_token") || source.tensors.remove("dist_token").is_none() {
        return options.prefix_tokens;
    }
    // A classifier that is to be evaluated is the mean of both heads; without the second it would be another one.
    let evaluated = options.head == HeadPolicy::Strict && expected.keys().any(|name| names::is_head(name));
    if !evaluated {
        source.tensors.retain(|name, _| !name.starts_with("head_dist."));
    }
    if let Some(embed) = source.tensors.get_mut("pos_embed")
        && let &[1, tokens, channels] = &embed.shape[..]
        && tokens > 2
    {
        // Order in the file: class, distillation, patches.
        embed.data.drain(channels..2 * channels);
        embed.shape[1] -= 1;
    }
    report.notes.push(
        "distilled DeiT: dist_token and its position left out, as is head_dist; published accuracies average both \
         heads"
            .into(),
    );
    options.prefix_tokens
}

/// ViT → KAT: the file has linear layers but no rational coefficients: act1 starts as the identity, act2 as the
/// ViT's activation, so that the model computes what the ViT did.
fn fill_rationals(
    source: &mut TensorMap,
    expected: &Expected,
    options: &TransferOptions,
    report: &mut LoadReport,
) -> Result<(), CheckpointError> {
    if source.tensors.keys().any(|name| names::rational(name).is_some()) {
        return Ok(());
    }
    // Both tensors of an activation decide its order; every mixer of a model has the same.
    let degree = |numerator: bool| {
        let of_kind = |name: &str| names::rational(name).is_some_and(|(_, is)| is == numerator);
        expected.iter().find(|(n, _)| of_kind(n)).and_then(|(_, shape)| shape.last().copied())
    };
    let (Some(numerator), Some(denominator)) = (degree(true), degree(false)) else { return Ok(()) };
    let order = Order { numerator: numerator.saturating_sub(1), denominator };
    let first = tables::coefficients(Activation::Identity, order, options.denominator)?;
    let second = tables::coefficients(options.vit_activation, order, options.denominator)?;
    let mut count = 0;
    for (name, shape) in expected {
        let Some((is_first, is_numerator)) = names::rational(name) else { continue };
        let block = name.split_once(".mlp.").map(|(block, _)| format!("{block}.mlp.fc1.weight"));
        let (&[groups, _], true) = (&shape[..], block.is_some_and(|b| source.tensors.contains_key(&b)))
        else {
            continue;
        };
        let coefficients = if is_first { &first } else { &second };
        let data = if is_numerator {
            coefficients.numerator_for(groups)
        } else {
            coefficients.denominator_for(groups)
        };
        source.insert(name.clone(), HostTensor { shape: vec![groups, data.len() / groups.max(1)], data });
        count += 1;
    }
    if count > 0 {
        report.notes.push(format!(
            "ViT to KAT: {count} coefficient tensors set (act1 identity; act2 {}, rms error {:.1e} on [-3, 3])",
            options.vit_activation, second.rms
        ));
    }
    Ok(())
}

/// ViT → ViT with Padé units: as what the file's activation was.
fn fill_pade_units(
    source: &mut TensorMap,
    expected: &Expected,
    options: &TransferOptions,
    report: &mut LoadReport,
) -> Result<(), CheckpointError> {
    if source.tensors.keys().any(|name| name.contains(".mlp.act.") || names::rational(name).is_some()) {
        return Ok(());
    }
    let length = |of: bool| {
        let found = expected.iter().find(|(name, _)| names::pade_unit(name) == Some(of));
        found.and_then(|(_, shape)| shape.last().copied())
    };
    let (Some(terms), Some(denominator)) = (length(true), length(false)) else { return Ok(()) };
    let order = Order { numerator: terms.saturating_sub(1), denominator };
    let start = tables::coefficients(options.vit_activation, order, Denominator::Paper)?;
    let mut count = 0;
    for (name, shape) in expected {
        let Some(numerator) = names::pade_unit(name) else { continue };
        let data = if numerator { start.numerator.clone() } else { start.denominator.clone() };
        source.insert(name.clone(), HostTensor { shape: shape.clone(), data });
        count += 1;
    }
    let (activation, rms) = (options.vit_activation, start.rms);
    report
        .notes
        .push(format!("{count} coefficient tensors of Padé units set ({activation}, rms error {rms:.1e})"));
    Ok(())
}

/// The tensor in the shape the model wants, or the shape it has.
fn fit_shape(
    name: &str,
    tensor: HostTensor,
    shape: &[usize],
    (options, file_prefix): (&TransferOptions, usize),
    report: &mut LoadReport,
) -> Result<Result<HostTensor, Vec<usize>>, CheckpointError> {
    if tensor.shape == shape {
        return Ok(Ok(tensor));
    }
    if name == "pos_embed"
        && let (&[1, from, c], &[1, to, c_to]) = (&tensor.shape[..], shape)
        && c == c_to
        && to == options.prefix_tokens + options.grid.area()
        && from > file_prefix
    {
        let from_grid = match options.source_grid {
            Some(grid) => grid,
            None => pos_embed::square(from - file_prefix)?,
        };
        let resampled = pos_embed::resample(&tensor, file_prefix, from_grid, options.grid)?;
        let (a, b) = (from_grid, options.grid);
        report.notes.push(format!(
            "pos_embed resampled from {}x{} to {}x{} patches (bicubic, antialiased)",
            a.height, a.width, b.height, b.width
        ));
        return Ok(Ok(resampled));
    }
    // A numerator or denominator shared by all groups, for a model with its own for each.
    if names::rational(name).is_some()
        && let (&[1, k], &[groups, k_to]) = (&tensor.shape[..], shape)
        && k == k_to
    {
        report.notes.push(format!("{name}: one set of coefficients repeated for {groups} groups"));
        return Ok(Ok(HostTensor { shape: shape.to_vec(), data: tensor.data.repeat(groups) }));
    }
    // Only where training starts: a model that is evaluated has the file's patches.
    if name == "patch_embed.proj.weight"
        && options.head == HeadPolicy::Reinitialize
        && let (&[outputs, channels, h, w], &[out_to, channels_to, h_to, w_to]) = (&tensor.shape[..], shape)
        && (outputs, channels) == (out_to, channels_to)
        && let Some(resized) = patch_kernel::resize(&tensor, Size::new(h_to, w_to))
    {
        report
            .notes
            .push(format!("{name}: patches of {h}x{w} pixels resized to {h_to}x{w_to} (pseudo-inverse)"));
        return Ok(Ok(resized));
    }
    // Some files hold the patch projection as a matrix; the order of the elements is the same.
    if name == "patch_embed.proj.weight"
        && tensor.shape.len() == 2
        && shape.len() == 4
        && tensor.shape[0] == shape[0]
        && element_count(shape) == Some(tensor.data.len())
    {
        report.notes.push(format!("{name}: matrix {:?} taken as convolution {shape:?}", tensor.shape));
        return Ok(Ok(HostTensor { shape: shape.to_vec(), data: tensor.data }));
    }
    Ok(Err(tensor.shape))
}
