//! Checkpoints: reading and writing weights under their published names.
//!
//! [`load_any`] reads safetensors, PyTorch's formats, pickles of arrays and the npz files of the original ViT into a
//! [`TensorMap`] of plain f32 data, under timm's names ([`dialect`]); [`transfer::adapt`] fits that to a model (class count, position grid,
//! ViT → KAT) and reports every difference; [`safetensors::save`] writes, atomically. Nothing in a file is ever
//! executed, no length in a file is trusted before it is compared with the bytes that are there, and what is built
//! from a file stays within a [`Budget`].

pub mod budget;
pub mod checksum;
pub mod compare;
mod dense;
pub mod dialect;
pub mod error;
pub mod family;
mod foreign;
mod header;
mod legacy;
pub mod model;
pub mod names;
pub mod npz;
pub mod part;
mod patch_kernel;
mod pickle_calls;
mod pickle_nodes;
mod place;
pub mod pos_embed;
pub mod pth;
pub mod recognize;
pub mod report;
pub mod safetensors;
mod state_dict;
pub mod told;
pub mod transfer;
mod unpickle;
mod untold;
pub mod whole;

pub use budget::Budget;
pub use error::CheckpointError;
pub use report::{LoadReport, Mismatch};

use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

/// A tensor in main memory: row-major f32.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Extents; empty for a scalar.
    pub shape: Vec<usize>,
    /// Product of `shape` values.
    pub data: Vec<f32>,
}

impl HostTensor {
    /// Puts shape and data together; `None` if their sizes differ.
    pub fn new(shape: Vec<usize>, data: Vec<f32>) -> Option<Self> {
        (element_count(&shape)? == data.len()).then_some(Self { shape, data })
    }
}

/// Product of the extents. `None` where it overflows, also where only an extent of 0 hides that: code that goes
/// through the other extents would not come to an end.
fn element_count(shape: &[usize]) -> Option<usize> {
    let filled = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d.max(1)))?;
    (filled <= isize::MAX as usize / 4).then_some(if shape.contains(&0) { 0 } else { filled })
}

/// The bytes of a regular file; a pipe or a device would keep the reader waiting, or never end.
fn read_file(path: &Path) -> Result<Vec<u8>, CheckpointError> {
    let fail = |source| CheckpointError::Io { path: path.to_owned(), action: "cannot read", source };
    if !std::fs::metadata(path).map_err(fail)?.is_file() {
        let reason = "not a regular file, expected a checkpoint".to_owned();
        return Err(CheckpointError::Unsupported { path: path.to_owned(), reason });
    }
    std::fs::read(path).map_err(fail)
}

/// Tensors by name, with the text that was stored beside them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TensorMap {
    /// The tensors, in order of their names.
    pub tensors: BTreeMap<String, HostTensor>,
    /// Text by key (safetensors' `__metadata__`).
    pub metadata: BTreeMap<String, String>,
    /// What the reader chose or changed, for the report.
    pub notes: Vec<String>,
}

impl TensorMap {
    /// Adds a tensor, replacing one of the same name.
    pub fn insert(&mut self, name: impl Into<String>, tensor: HostTensor) {
        self.tensors.insert(name.into(), tensor);
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&HostTensor> {
        self.tensors.get(name)
    }
}

/// Which weights to take of a file that holds averaged ones (EMA) beside those they were averaged from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Averages {
    /// The averaged ones, which were measured.
    #[default]
    Prefer,
    /// Those of training.
    Ignore,
}

/// Reads a checkpoint, its kind told by its first bytes, not by its name. Wrapper prefixes such as `module.`
/// are removed, names of other programs changed to timm's, and a `config.json` beside it taken along.
///
/// # Errors
/// [`CheckpointError`], naming the file, for a file that is missing, of unknown kind, damaged, or a pickle that
/// refers to anything but plain data.
pub fn load_any(path: &Path) -> Result<TensorMap, CheckpointError> {
    Ok(load_with_format(path, Averages::Prefer)?.1)
}

/// As [`load_any`], with a choice between averaged weights and others.
///
/// # Errors
/// As [`load_any`].
pub fn load_choosing(path: &Path, averages: Averages) -> Result<TensorMap, CheckpointError> {
    Ok(load_with_format(path, averages)?.1)
}

/// As [`load_choosing`], with the format that was found.
///
/// # Errors
/// As [`load_any`].
pub fn load_with_format(
    path: &Path,
    averages: Averages,
) -> Result<(Option<Format>, TensorMap), CheckpointError> {
    let bytes = read_file(path)?;
    let budget = Budget::from_environment(path, bytes.len())?;
    let mut map = parse_choosing(path, &bytes, budget, averages)?;
    names::strip_wrappers(&mut map);
    if !map.metadata.contains_key(model::CONFIG_KEY) {
        if let Some(program) = dialect::translate(&mut map) {
            map.metadata.insert(told::PROGRAM_KEY.to_owned(), program.to_owned());
        }
        told::read_beside(path, &mut map);
    }
    Ok((Format::of(&bytes), map))
}

/// The format of a file that [`load_any`] reads, told by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// safetensors.
    Safetensors,
    /// PyTorch's zip format.
    PyTorch,
    /// PyTorch's format from before version 1.6, or a pickle of numpy arrays.
    Pickle,
    /// The npz of the original ViT.
    Npz,
}

impl Format {
    /// Of these bytes; `None` for a file of another kind.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [b'P', b'K', 3, 4, ..] if npz::looks_like(bytes) => Some(Self::Npz),
            [b'P', b'K', 3, 4, ..] => Some(Self::PyTorch),
            [_, _, _, _, _, _, _, _, b'{', ..] => Some(Self::Safetensors),
            [0x80, 2..=5, ..] => Some(Self::Pickle),
            _ => None,
        }
    }

    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::PyTorch => "PyTorch",
            Self::Pickle => "pickle",
            Self::Npz => "npz",
        }
    }
}

/// Parses the bytes of a checkpoint within the usual [`Budget`]; `path` is only for messages.
///
/// # Errors
/// As [`load_any`].
pub fn parse(path: &Path, bytes: &[u8]) -> Result<TensorMap, CheckpointError> {
    parse_within(path, bytes, Budget::for_file(bytes.len()))
}

/// As [`parse`], within a budget of memory.
///
/// # Errors
/// As [`load_any`].
pub fn parse_within(path: &Path, bytes: &[u8], budget: Budget) -> Result<TensorMap, CheckpointError> {
    parse_choosing(path, bytes, budget, Averages::Prefer)
}

/// As [`parse_within`], with a choice between averaged weights and others.
fn parse_choosing(
    path: &Path,
    bytes: &[u8],
    budget: Budget,
    averages: Averages,
) -> Result<TensorMap, CheckpointError> {
    match Format::of(bytes) {
        Some(Format::Npz) => npz::parse_within(path, bytes, budget),
        Some(Format::PyTorch) => pth::parse_within(path, bytes, budget, averages),
        Some(Format::Pickle) => legacy::parse_within(path, bytes, budget, averages),
        Some(Format::Safetensors) => safetensors::parse(path, bytes),
        None => {
            let extension = path.extension().and_then(|extension| extension.to_str());
            let reason = foreign::describe(bytes, extension).to_owned();
            Err(CheckpointError::Unsupported { path: path.to_owned(), reason })
        }
    }
}

/// Checks that every weight is a number.
///
/// # Errors
/// [`CheckpointError::NotFinite`] naming the first tensor that holds another value.
pub fn check_finite(path: &Path, map: &TensorMap) -> Result<(), CheckpointError> {
    let tensors: Vec<_> = map.tensors.iter().collect();
    let count = |tensor: &HostTensor| tensor.data.iter().filter(|value| !value.is_finite()).count();
    let bad = tensors.par_iter().find_map_first(|(name, tensor)| match count(tensor) {
        0 => None,
        bad => Some((name.to_string(), bad, tensor.data.len())),
    });
    match bad {
        None => Ok(()),
        Some((tensor, bad, values)) => {
            Err(CheckpointError::NotFinite { path: path.to_owned(), tensor, bad, values })
        }
    }
}

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;
