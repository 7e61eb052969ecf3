//! The checkpoint of a run under way: weights, averaged weights, moments, where the data stand, in one file.

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use kat_backbone::Device;
use kat_backbone::checkpoint::{HostTensor, TensorMap, model, safetensors};
use kat_backbone::nn::Module;
use kat_images::loader::LoaderState;
use serde::{Deserialize, Serialize};

/// The metadata key of the resolved configuration, as TOML.
pub const PLAN_KEY: &str = "kat_train_config";
/// The metadata key of [`Progress`], as JSON.
pub const PROGRESS_KEY: &str = "kat_train_state";
/// Before the name of an averaged weight.
pub const EMA: &str = "ema.";

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Optimizer steps done.
    pub step: u64,
    /// Updates that the optimizer counted.
    pub updates: u64,
    /// The next batch.
    pub loader: LoaderState,
    /// The best figure so far, in Rust's shortest exact notation (JSON readers may round a number).
    pub best: Option<String>,
    /// Evaluations in a row that were not the best.
    #[serde(default, skip_serializing_if = "is_none")]
    pub stale: u64,
    /// Whether the evaluation after this step is still to be done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub evaluation_due: bool,
    /// What added to `step` is the place on the schedule: not 0 once the number of processes has changed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub schedule_shift: i64,
    /// Number and checksum of the names of the training images; older files have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_images: Option<String>,
    /// The same of the held-out images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out_images: Option<String>,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn is_none(number: &u64) -> bool {
    *number == 0
}

/// What a checkpoint cannot be resumed from.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// No training state in the file.
    #[error("{path} holds weights only (no \"{PROGRESS_KEY}\"): start from it with model.init_from instead")]
    WeightsOnly {
        /// The file.
        path: String,
    },
    /// The state cannot be read.
    #[error("{path}: the training state cannot be read")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A tensor that the run needs is absent or of another size.
    #[error(
        "{path}: tensor {name} is {found}, expected {expected} values; was the model's configuration changed?"
    )]
    Tensor {
        /// The file.
        path: String,
        /// Its name.
        name: String,
        /// As found.
        found: String,
        /// As expected.
        expected: usize,
    },
}

/// The weights of `module` under `prefix`.
fn add<D: Device>(map: &mut TensorMap, prefix: &str, module: &impl Module<D>) {
    for (name, tensor) in model::export(module).tensors {
        map.insert(format!("{prefix}{name}"), tensor);
    }
}

/// Everything a checkpoint holds, borrowed from the run.
pub struct Contents<'a, M> {
    /// The weights.
    pub model: &'a M,
    /// The averaged weights.
    pub ema: Option<&'a M>,
    /// The moments.
    pub moments: TensorMap,
    /// Where the run stands.
    pub progress: &'a Progress,
    /// What the task and the trainer say of the model.
    pub metadata: std::collections::BTreeMap<String, String>,
}

/// Writes a checkpoint, atomically.
///
/// # Errors
/// A full disk or the like; the old file then stays.
pub fn save<D: Device, M: Module<D>>(path: &Path, contents: Contents<'_, M>) -> anyhow::Result<()> {
    let mut map = TensorMap { metadata: contents.metadata, ..contents.moments };
    map.metadata.insert(PROGRESS_KEY.to_owned(), serde_json::to_string(contents.progress)?);
    add(&mut map, "", contents.model);
    if let Some(ema) = contents.ema {
        add(&mut map, EMA, ema);
    }
    Ok(safetensors::save(path, &map)?)
}

/// Reads a checkpoint written by `train` or `export`, and says what its reader noted.
///
/// # Errors
/// A file that cannot be read or is damaged.
pub fn open(path: &Path) -> anyhow::Result<TensorMap> {
    let map = safetensors::load(path)?;
    for note in &map.notes {
        tracing::info!("{}: {note}", path.display());
    }
    Ok(map)
}

/// Whether a file says of itself how it was trained, as `train` and `export` write it. Only its header is read.
pub fn is_described(path: &Path) -> bool {
    const LONGEST: u64 = 32 << 20;
    let header = || -> Option<serde_json::Value> {
        let mut file = std::fs::File::open(path).ok().filter(|_| path.is_file())?;
        let mut length = [0; 8];
        file.read_exact(&mut length).ok()?;
        let length = u64::from_le_bytes(length);
        let mut header = Vec::new();
        file.take(length.min(LONGEST)).read_to_end(&mut header).ok()?;
        serde_json::from_slice(&header).ok()
    };
    header().is_some_and(|header| header["__metadata__"][PLAN_KEY].is_string())
}

/// Whether a file is a checkpoint that a run can go on from: whole, by its checksum, and without a value that is no
/// number.
pub fn is_good(path: &Path) -> bool {
    let finite = |map: &TensorMap| map.tensors.values().all(|t| t.data.iter().all(|v| v.is_finite()));
    safetensors::load(path).is_ok_and(|map| map.metadata.contains_key(PROGRESS_KEY) && finite(&map))
}

/// Reads a checkpoint written by [`save`].
///
/// # Errors
/// A file that is damaged or holds no training state.
pub fn load(path: &Path) -> anyhow::Result<(TensorMap, Progress)> {
    let map = open(path)?;
    let shown = || path.display().to_string();
    let text = map.metadata.get(PROGRESS_KEY).ok_or_else(|| StateError::WeightsOnly { path: shown() })?;
    let progress =
        serde_json::from_str(text).map_err(|source| StateError::Unreadable { path: shown(), source })?;
    Ok((map, progress))
}

/// Sets every tensor of `module` from those under `prefix`.
///
/// # Errors
/// [`StateError::Tensor`] for the first that is absent or of another size; nothing is set then.
pub fn restore<D: Device>(
    module: &mut impl Module<D>,
    map: &TensorMap,
    prefix: &str,
    path: &Path,
) -> anyhow::Result<()> {
    let mut own = TensorMap::default();
    for (name, shape) in model::expected(module) {
        let expected = shape.iter().product();
        let found = map.get(&format!("{prefix}{name}"));
        match found {
            Some(tensor) if tensor.data.len() == expected => own.insert(name, HostTensor::clone(tensor)),
            _ => {
                let found = found.map_or("missing".to_owned(), |t| format!("of {} values", t.data.len()));
                let (path, name) = (path.display().to_string(), format!("{prefix}{name}"));
                return Err(StateError::Tensor { path, name, found, expected }.into());
            }
        }
    }
    model::assign(module, &own)?;
    Ok(())
}

/// What a checkpoint says under `key`. Where it says nothing, the error is that and `hint`.
///
/// # Errors
/// No such key.
pub fn described<'m>(map: &'m TensorMap, key: &str, path: &Path, hint: &str) -> anyhow::Result<&'m str> {
    let text = map.metadata.get(key).map(String::as_str);
    text.with_context(|| format!("{} holds no \"{key}\": {hint}", path.display()))
}

/// The weights to use of a checkpoint: the averaged ones where it has them. Moments are left out.
pub fn weights(map: &TensorMap) -> TensorMap {
    let averaged = map.tensors.keys().any(|name| name.starts_with(EMA));
    let tensors = map.tensors.iter().filter_map(|(name, tensor)| {
        let name = match name.strip_prefix(EMA) {
            Some(name) => name,
            None if averaged || name.starts_with("optimizer.") => return None,
            None => name,
        };
        Some((name.to_owned(), tensor.clone()))
    });
    let metadata = map.metadata.iter().filter(|(key, _)| *key != PROGRESS_KEY);
    TensorMap {
        tensors: tensors.collect(),
        metadata: metadata.map(|(k, v)| (k.clone(), v.clone())).collect(),
        ..TensorMap::default()
    }
}
