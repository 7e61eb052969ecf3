//! What a file's tensors do not show and a description beside them does: held against the model before anything is loaded.

use super::told::Told;
use super::transfer::LeftoverPolicy;
use super::{CheckpointError, TensorMap, names};
use crate::config::KatConfig;
use crate::init::Activation;
use crate::nn::MixerKind;
use std::path::Path;

/// The activation of the file's MLPs: as told, else as the configuration says.
///
/// # Errors
/// [`CheckpointError::Differs`] where the file's model has other heads, or another activation, than a model of the same
/// tensors, unless `leftover` allows that.
pub(super) fn check(
    map: &TensorMap,
    config: &KatConfig,
    path: &Path,
    leftover: LeftoverPolicy,
) -> Result<Activation, CheckpointError> {
    let dim = map.get("patch_embed.proj.weight").and_then(|tensor| tensor.shape.first().copied());
    let depth = map.tensors.keys().filter_map(|name| names::block_of(name)).max().map_or(0, |last| last + 1);
    let told = Told::of(map, dim.unwrap_or(0), depth);
    let activation = told.activation.unwrap_or(config.activation);
    // Of another width or depth: what does not fit will be named with its shapes.
    if leftover == LeftoverPolicy::Allow || (dim, depth) != (Some(config.dim), config.depth) {
        return Ok(activation);
    }
    let differs = |key, found: String, expected: String| {
        let says = told.source;
        Err(CheckpointError::Differs { path: path.to_owned(), key, says, found, expected })
    };
    match told.heads {
        Some(heads) if heads != config.heads => {
            return differs("heads", heads.to_string(), config.heads.to_string());
        }
        _ => {}
    }
    if config.mixer == MixerKind::Mlp && activation != config.activation {
        return differs("activation", format!("\"{activation}\""), format!("\"{}\"", config.activation));
    }
    // A file that does not say has what the model is set to.
    if let Some(denominator) = told.denominator.filter(|told| *told != config.denominator_form)
        && config.mixer == MixerKind::GrKan
    {
        let form = config.denominator_form;
        return differs("denominator", format!("\"{denominator}\""), format!("\"{form}\""));
    }
    Ok(activation)
}
