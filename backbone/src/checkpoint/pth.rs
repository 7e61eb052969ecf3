//! PyTorch's zip format (.pth, .pt): a pickle that describes tensors, and one archive member a storage.

use super::pickle_nodes::{Dtype, Id, Node, Pickle, Tensor};
use super::unpickle::{Refusal, unpickle};
use super::{Budget, CheckpointError, HostTensor, TensorMap, element_count};
use half::{bf16, f16};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};
use std::path::Path;
use zip::ZipArchive;

/// Keys under which training programs nest the state dict; averaged weights first, as timm does.
const NESTS: [&str; 8] =
    ["state_dict_ema", "model_ema", "model", "state_dict", "module", "teacher", "encoder", "weights"];
/// Levels of nesting that are followed.
const DEPTH: usize = 4;

/// Longest name of a member that a message repeats.
const SHOWN: usize = 200;

/// Parses the bytes of a .pth or .pt file within the usual [`Budget`].
///
/// # Errors
/// As [`parse_within`].
pub fn parse(path: &Path, bytes: &[u8]) -> Result<TensorMap, CheckpointError> {
    parse_within(path, bytes, Budget::for_file(bytes.len()))
}

/// Parses the bytes of a .pth or .pt file.
///
/// # Errors
/// [`CheckpointError::Corrupt`], [`CheckpointError::ForbiddenGlobal`], [`CheckpointError::Tensor`],
/// [`CheckpointError::OverBudget`] or [`CheckpointError::Unsupported`]; never panics and executes nothing.
pub fn parse_within(path: &Path, bytes: &[u8], budget: Budget) -> Result<TensorMap, CheckpointError> {
    let mut archive = Archive::open(path, bytes, budget)?;
    let pickle = archive.member("data.pkl")?;
    if archive.names.contains(&format!("{}byteorder", archive.root))
        && archive.member("byteorder")?.starts_with(b"big")
    {
        return Err(archive.unsupported("the tensors are stored big-endian, which is not read"));
    }
    let pickle = unpickle(&pickle, &mut archive.budget).map_err(|refusal| match refusal {
        Refusal::Global(global) => CheckpointError::ForbiddenGlobal { path: path.to_owned(), global },
        Refusal::Malformed(reason) => archive.corrupt(reason),
        Refusal::OverBudget(over) => over.error(path),
    })?;
    let mut trail = Vec::new();
    let found = state_dict(&pickle, pickle.root, &mut trail, &mut BTreeSet::new()).ok_or_else(|| {
        archive.unsupported(&format!(
            "no state dict in it: looked at the top level and under {}",
            NESTS.join(", ")
        ))
    })?;
    let mut seen = BTreeSet::new();
    if let Some((name, _)) = found.iter().find(|(name, _)| !seen.insert(*name)) {
        return Err(archive.corrupt(format!("tensor {} is there twice", shown(name))));
    }
    let keys: BTreeSet<&str> = found.iter().map(|(_, t)| &*t.storage.key).collect();
    let mut storages = BTreeMap::new();
    for key in keys {
        storages.insert(key, archive.member(&format!("data/{key}"))?);
    }
    // Views may share a storage, but a file of tensors cannot describe many times the elements it holds.
    let total = found.iter().try_fold(0_usize, |sum, (_, t)| sum.checked_add(element_count(&t.shape)?));
    let held: usize = storages.values().map(Vec::len).sum();
    if total.is_none_or(|total| total > held.saturating_mul(16)) {
        return Err(archive.corrupt("its tensors describe far more elements than the file holds".into()));
    }
    archive.budget.take_values::<f32>(total.unwrap_or(usize::MAX)).map_err(|over| over.error(path))?;
    let tensors = found
        .into_par_iter()
        .map(|(name, tensor)| {
            let empty = Vec::new();
            let storage = storages.get(&*tensor.storage.key).unwrap_or(&empty);
            let host = gather(tensor, storage).map_err(|(found, expected)| CheckpointError::Tensor {
                path: path.to_owned(),
                tensor: name.to_owned(),
                found,
                expected,
            })?;
            Ok((name.to_owned(), host))
        })
        .collect::<Result<_, CheckpointError>>()?;
    let notes = if trail.is_empty() {
        Vec::new()
    } else {
        vec![format!("tensors read from \"{}\" of the file", trail.join("."))]
    };
    Ok(TensorMap { tensors, metadata: BTreeMap::new(), notes })
}

/// The zip archive and the name of the folder inside that holds everything.
struct Archive<'a> {
    path: &'a Path,
    zip: ZipArchive<Cursor<&'a [u8]>>,
    names: BTreeSet<String>,
    root: String,
    budget: Budget,
}

impl<'a> Archive<'a> {
    fn open(path: &'a Path, bytes: &'a [u8], budget: Budget) -> Result<Self, CheckpointError> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|e| CheckpointError::Corrupt {
            path: path.to_owned(),
            format: "PyTorch",
            reason: format!("{e} (was the download or copy cut short?)"),
        })?;
        let names: BTreeSet<String> = zip.file_names().flatten().map(|n| n.into_owned()).collect();
        let pickle = names.iter().find(|n| *n == "data.pkl" || n.ends_with("/data.pkl"));
        let Some(pickle) = pickle else {
            return Err(CheckpointError::Unsupported {
                path: path.to_owned(),
                reason: "a zip file without data.pkl: not written by torch.save".into(),
            });
        };
        let root = pickle.trim_end_matches("data.pkl").to_owned();
        if names.contains(&format!("{root}constants.pkl")) {
            return Err(CheckpointError::Unsupported {
                path: path.to_owned(),
                reason: "a TorchScript program; save the state dict with torch.save instead".into(),
            });
        }
        Ok(Self { path, zip, names, root, budget })
    }

    fn corrupt(&self, reason: String) -> CheckpointError {
        CheckpointError::Corrupt { path: self.path.to_owned(), format: "PyTorch", reason }
    }

    fn unsupported(&self, reason: &str) -> CheckpointError {
        CheckpointError::Unsupported { path: self.path.to_owned(), reason: reason.to_owned() }
    }

    /// The bytes of a member. Grows with what is read, not with the announced size.
    fn member(&mut self, name: &str) -> Result<Vec<u8>, CheckpointError> {
        let full = format!("{}{name}", self.root);
        let limit = self.budget.left();
        let mut bytes = Vec::new();
        let read = match self.zip.by_name(&full) {
            Ok(member) => {
                member.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| e.to_string())
            }
            Err(e) => Err(e.to_string()),
        };
        match read {
            Ok(length) => self.budget.take(length).map(|()| bytes).map_err(|over| over.error(self.path)),
            Err(reason) => Err(self.corrupt(format!("member {}: {reason}", shown(&full)))),
        }
    }
}

/// A name as messages repeat it.
fn shown(name: &str) -> String {
    name.chars().take(SHOWN).collect()
}

/// The named tensors of a dictionary, directly or nested; `trail` gets the keys that led there. `seen` keeps a
/// dictionary that contains itself from being searched again.
fn state_dict<'p>(
    pickle: &'p Pickle,
    at: Id,
    trail: &mut Vec<String>,
    seen: &mut BTreeSet<Id>,
) -> Option<Vec<(&'p str, &'p Tensor)>> {
    let Node::Dict(entries) = &pickle.nodes[at] else { return None };
    if !seen.insert(at) {
        return None;
    }
    let named = |key: Id| match &pickle.nodes[key] {
        Node::Str(name) => Some(&**name),
        _ => None,
    };
    if trail.len() < DEPTH {
        for nest in NESTS {
            let Some(&(_, value)) = entries.iter().find(|(key, _)| named(*key) == Some(nest)) else {
                continue;
            };
            trail.push(nest.to_owned());
            if let Some(found) = state_dict(pickle, value, trail, seen) {
                return Some(found);
            }
            trail.pop();
        }
    }
    let tensors: Vec<_> = entries
        .iter()
        .filter_map(|&(key, value)| match &pickle.nodes[value] {
            Node::Tensor(tensor) => Some((named(key)?, &**tensor)),
            _ => None,
        })
        .collect();
    (!tensors.is_empty()).then_some(tensors)
}

/// Copies a view out of its storage, in row-major order. Errors are (found, expected).
fn gather(tensor: &Tensor, storage: &[u8]) -> Result<HostTensor, (String, String)> {
    let Tensor { storage: description, offset, shape, stride } = tensor;
    let held = storage.len() / description.dtype.size();
    let beyond = || {
        let found = format!("shape {shape:?}, strides {stride:?}, offset {offset}");
        (found, format!("a view inside its storage of {held} elements"))
    };
    let count = element_count(shape).ok_or_else(beyond)?;
    if count == 0 {
        return Ok(HostTensor { shape: shape.clone(), data: Vec::new() });
    }
    let last = shape
        .iter()
        .zip(stride)
        .try_fold(*offset, |sum, (&n, &s)| sum.checked_add((n - 1).checked_mul(s)?))
        .ok_or_else(beyond)?;
    // Expanded views (stride 0) repeat elements; a state dict has no use for more than the storage holds.
    if last >= held || count > held {
        return Err(beyond());
    }
    let mut expected_stride = 1;
    let contiguous = shape.iter().zip(stride).rev().all(|(&n, &s)| {
        let fits = n == 1 || s == expected_stride;
        expected_stride *= n;
        fits
    });
    let data = match description.dtype {
        Dtype::F32 => view(tensor, contiguous, storage, f32::from_le_bytes),
        Dtype::F16 => view(tensor, contiguous, storage, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => view(tensor, contiguous, storage, |b| bf16::from_le_bytes(b).to_f32()),
        Dtype::F64 => view(tensor, contiguous, storage, |b| f64::from_le_bytes(b) as f32),
        Dtype::I64 => view(tensor, contiguous, storage, |b| i64::from_le_bytes(b) as f32),
        Dtype::I32 => view(tensor, contiguous, storage, |b| i32::from_le_bytes(b) as f32),
        Dtype::I16 => view(tensor, contiguous, storage, |b| f32::from(i16::from_le_bytes(b))),
        Dtype::I8 => view(tensor, contiguous, storage, |b| f32::from(i8::from_le_bytes(b))),
        Dtype::U8 => view(tensor, contiguous, storage, |[b]: [u8; 1]| f32::from(b)),
        Dtype::Bool => view(tensor, contiguous, storage, |[b]: [u8; 1]| f32::from(u8::from(b != 0))),
    };
    Ok(HostTensor { shape: shape.clone(), data })
}

/// The elements of a view, N bytes each, that lies inside `storage`. Only these are converted, not what lies between.
fn view<const N: usize>(
    tensor: &Tensor,
    contiguous: bool,
    storage: &[u8],
    convert: impl Fn([u8; N]) -> f32,
) -> Vec<f32> {
    let Tensor { offset, shape, stride, .. } = tensor;
    let count = shape.iter().product();
    let (elements, _) = storage.as_chunks::<N>();
    if contiguous {
        return elements[*offset..offset + count].iter().map(|&b| convert(b)).collect();
    }
    let mut index = vec![0; shape.len()];
    let mut data = Vec::with_capacity(count);
    for _ in 0..count {
        let at = index.iter().zip(stride).map(|(i, s)| i * s).sum::<usize>();
        data.push(convert(elements[offset + at]));
        for (i, n) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < *n {
                break;
            }
            *i = 0;
        }
    }
    data
}
