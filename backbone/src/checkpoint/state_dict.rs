//! The named tensors of a pickle: found where training programs nest them, and copied out of the bytes.

use super::pickle_nodes::{Array, Content, Dtype, Id, Node, Pickle, Tensor};
use super::{Averages, Budget, CheckpointError, HostTensor, TensorMap, element_count, told};
use half::{bf16, f16};
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Keys under which training programs nest averaged weights.
const AVERAGES: [&str; 6] = ["state_dict_ema", "model_ema", "ema_state_dict", "ema", "params_ema", "teacher"];
/// Keys under which they nest weights.
const NESTS: [&str; 7] = ["model", "state_dict", "module", "student", "encoder", "weights", "params"];
/// Levels of nesting that are followed.
const DEPTH: usize = 4;

/// Bytes of all class names together that are kept.
const LONGEST_NAMES: usize = 1 << 20;
/// Longest name of a member that a message repeats.
const SHOWN: usize = 200;

/// A name as messages repeat it.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(SHOWN).collect()
}

/// A tensor of either kind.
#[derive(Clone, Copy)]
enum Leaf<'p> {
    Tensor(&'p Tensor),
    Array(&'p Array),
}

impl Leaf<'_> {
    fn shape(&self) -> &[usize] {
        match self {
            Self::Tensor(tensor) => &tensor.shape,
            Self::Array(array) => &array.shape,
        }
    }
}

/// The tensors of a pickle by name.
pub(super) struct Named<'p> {
    tensors: Vec<(&'p str, Leaf<'p>)>,
    notes: Vec<String>,
    classes: Option<Vec<&'p str>>,
}

/// Finds the tensors; averaged ones first, if `averages` prefers them.
///
/// # Errors
/// [`CheckpointError::Unsupported`] where there are none, [`CheckpointError::Corrupt`] for a name that is there twice.
pub(super) fn named_tensors<'p>(
    path: &Path,
    pickle: &'p Pickle,
    averages: Averages,
) -> Result<Named<'p>, CheckpointError> {
    let nests: Vec<&str> = match averages {
        Averages::Prefer => AVERAGES.into_iter().chain(NESTS).collect(),
        Averages::Ignore => NESTS.to_vec(),
    };
    let mut trail = Vec::new();
    let search = Search { pickle, nests: &nests };
    let Some(tensors) = search.state_dict(pickle.root, &mut trail, &mut BTreeSet::new()) else {
        let reason = format!("no state dict in it: looked at the top level and under {}", nests.join(", "));
        return Err(CheckpointError::Unsupported { path: path.to_owned(), reason });
    };
    let mut seen = BTreeSet::new();
    if let Some((name, _)) = tensors.iter().find(|(name, _)| !seen.insert(*name)) {
        let reason = format!("tensor {} is there twice", shown(name));
        return Err(CheckpointError::Corrupt { path: path.to_owned(), format: "PyTorch", reason });
    }
    let classes = search.class_names();
    let notes = match trail.is_empty() {
        true => Vec::new(),
        false => vec![format!("tensors read from \"{}\" of the file", trail.join("."))],
    };
    Ok(Named { tensors, notes, classes })
}

/// Where to look.
struct Search<'p, 'n> {
    pickle: &'p Pickle,
    nests: &'n [&'n str],
}

impl<'p> Search<'p, '_> {
    /// The value of the first of `keys` in a dictionary.
    fn value(&self, at: Id, keys: &[&str]) -> Option<Id> {
        let Node::Dict(entries) = self.pickle.nodes.get(at)? else { return None };
        let named = |key: Id| matches!(&self.pickle.nodes[key], Node::Str(name) if keys.contains(&&**name));
        entries.iter().find(|(key, _)| named(*key)).map(|&(_, value)| value)
    }

    /// The class names that OpenMMLab's programs keep beside the weights.
    fn class_names(&self) -> Option<Vec<&'p str>> {
        let meta = self.value(self.pickle.root, &["meta"])?;
        let within = self.value(meta, &["dataset_meta"]).unwrap_or(meta);
        let (Node::List(names) | Node::Tuple(names)) =
            &self.pickle.nodes[self.value(within, &["CLASSES", "classes"])?]
        else {
            return None;
        };
        let name = |&id: &Id| match &self.pickle.nodes[id] {
            Node::Str(name) => Some(&**name),
            _ => None,
        };
        let names: Vec<&str> = names.iter().map(name).collect::<Option<_>>()?;
        // A text may be referred to any number of times: what is written out must stay small.
        let bytes: usize = names.iter().map(|name| name.len() + 4).sum();
        (bytes <= LONGEST_NAMES).then_some(names)
    }

    /// The named tensors of a dictionary, directly or nested; `trail` gets the keys that led there. `seen` keeps a
    /// dictionary that contains itself from being searched again.
    fn state_dict(
        &self,
        at: Id,
        trail: &mut Vec<String>,
        seen: &mut BTreeSet<Id>,
    ) -> Option<Vec<(&'p str, Leaf<'p>)>> {
        let Node::Dict(entries) = &self.pickle.nodes[at] else { return None };
        if !seen.insert(at) {
            return None;
        }
        let named = |key: Id| match &self.pickle.nodes[key] {
            Node::Str(name) => Some(&**name),
            _ => None,
        };
        if trail.len() < DEPTH {
            for nest in self.nests {
                let Some(&(_, value)) = entries.iter().find(|(key, _)| named(*key) == Some(nest)) else {
                    continue;
                };
                trail.push((*nest).to_owned());
                if let Some(found) = self.state_dict(value, trail, seen) {
                    return Some(found);
                }
                trail.pop();
            }
        }
        let tensors: Vec<_> = entries
            .iter()
            .filter_map(|&(key, value)| match &self.pickle.nodes[value] {
                Node::Tensor(tensor) => Some((named(key)?, Leaf::Tensor(tensor))),
                // numbers only; what else is in a pickle is no weight
                Node::Array(Some(array)) if array.of.dtype.is_some() => {
                    Some((named(key)?, Leaf::Array(array)))
                }
                _ => None,
            })
            .collect();
        (!tensors.is_empty()).then_some(tensors)
    }
}

impl<'p> Named<'p> {
    /// The storages that the tensors are views of.
    pub(super) fn storages(&self) -> BTreeSet<&'p str> {
        let key = |leaf: &Leaf<'p>| match *leaf {
            Leaf::Tensor(tensor) => Some(&*tensor.storage.key),
            Leaf::Array(_) => None,
        };
        self.tensors.iter().filter_map(|(_, leaf)| key(leaf)).collect()
    }

    /// Copies the tensors out of the `pickle`'s own bytes and its `storages`.
    ///
    /// # Errors
    /// [`CheckpointError::Tensor`] for one that does not lie within its storage, [`CheckpointError::Corrupt`] and
    /// [`CheckpointError::OverBudget`] for more elements than the file gives reason for.
    pub(super) fn gather(
        self,
        path: &Path,
        (pickle, storages): (&[u8], &BTreeMap<&str, Cow<'_, [u8]>>),
        budget: &mut Budget,
    ) -> Result<TensorMap, CheckpointError> {
        // Views may share a storage, but a file of tensors cannot describe many times the elements it holds.
        let mut counts = self.tensors.iter().map(|(_, leaf)| element_count(leaf.shape()));
        let total = counts.try_fold(0_usize, |sum, count| sum.checked_add(count?));
        let held = storages.values().map(|storage| storage.len()).sum::<usize>().saturating_add(pickle.len());
        if total.is_none_or(|total| total > held.saturating_mul(16)) {
            let reason = "its tensors describe far more elements than the file holds".to_owned();
            return Err(CheckpointError::Corrupt { path: path.to_owned(), format: "PyTorch", reason });
        }
        budget.take_values::<f32>(total.unwrap_or(usize::MAX)).map_err(|over| over.error(path))?;
        let tensors = self
            .tensors
            .into_par_iter()
            .map(|(name, leaf)| {
                let host = match leaf {
                    Leaf::Tensor(tensor) => {
                        gather(tensor, storages.get(&*tensor.storage.key).map_or(&[], |storage| &storage[..]))
                    }
                    Leaf::Array(array) => of_array(array, pickle),
                };
                let host = host.map_err(|(found, expected)| CheckpointError::Tensor {
                    path: path.to_owned(),
                    tensor: name.to_owned(),
                    found,
                    expected,
                })?;
                Ok((name.to_owned(), host))
            })
            .collect::<Result<_, CheckpointError>>()?;
        let names = self.classes.and_then(|names| serde_json::to_string(&names).ok());
        let metadata = names.map(|names| (told::CLASSES_KEY.to_owned(), names)).into_iter().collect();
        Ok(TensorMap { tensors, metadata, notes: self.notes })
    }
}

/// The elements of a numpy array. Errors are (found, expected).
fn of_array(array: &Array, pickle: &[u8]) -> Result<HostTensor, (String, String)> {
    let wanted = || "a little-endian array of numbers whose bytes are all there".to_owned();
    let Some(dtype) = array.of.dtype.filter(|_| !array.of.big_endian) else {
        return Err(("a big-endian array".to_owned(), wanted()));
    };
    let latin1: Vec<u8>;
    let bytes = match &array.data {
        Content::Bytes(range) => pickle.get(range.clone()).unwrap_or(&[]),
        Content::Latin1(text) => {
            latin1 = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(0)).collect();
            &latin1
        }
    };
    let count = element_count(&array.shape);
    if count.and_then(|count| count.checked_mul(dtype.size())) != Some(bytes.len()) {
        return Err((format!("shape {:?} with {} bytes of {dtype:?}", array.shape, bytes.len()), wanted()));
    }
    let mut stride = vec![1; array.shape.len()];
    let order: Vec<usize> = match array.fortran {
        true => (0..array.shape.len()).collect(),
        false => (0..array.shape.len()).rev().collect(),
    };
    for pair in order.windows(2) {
        stride[pair[1]] = stride[pair[0]] * array.shape[pair[0]].max(1);
    }
    Ok(HostTensor { shape: array.shape.clone(), data: elements(dtype, (0, &array.shape, &stride), bytes) })
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
    if last >= held {
        return Err(beyond());
    }
    Ok(HostTensor {
        shape: shape.clone(),
        data: elements(description.dtype, (*offset, shape, stride), storage),
    })
}

/// A view's elements in row-major order; it lies inside `storage`.
fn elements(dtype: Dtype, at: (usize, &[usize], &[usize]), storage: &[u8]) -> Vec<f32> {
    match dtype {
        Dtype::F32 => view(at, storage, f32::from_le_bytes),
        Dtype::F16 => view(at, storage, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => view(at, storage, |b| bf16::from_le_bytes(b).to_f32()),
        Dtype::F64 => view(at, storage, |b| f64::from_le_bytes(b) as f32),
        Dtype::I64 => view(at, storage, |b| i64::from_le_bytes(b) as f32),
        Dtype::I32 => view(at, storage, |b| i32::from_le_bytes(b) as f32),
        Dtype::I16 => view(at, storage, |b| f32::from(i16::from_le_bytes(b))),
        Dtype::I8 => view(at, storage, |b| f32::from(i8::from_le_bytes(b))),
        Dtype::U8 => view(at, storage, |[b]: [u8; 1]| f32::from(b)),
        Dtype::Bool => view(at, storage, |[b]: [u8; 1]| f32::from(u8::from(b != 0))),
    }
}

/// The elements of a view, N bytes each. Only these are converted, not what lies between.
fn view<const N: usize>(
    (offset, shape, stride): (usize, &[usize], &[usize]),
    storage: &[u8],
    convert: impl Fn([u8; N]) -> f32,
) -> Vec<f32> {
    let count = shape.iter().product();
    if count == 0 {
        return Vec::new();
    }
    let mut expected_stride = 1;
    let contiguous = shape.iter().zip(stride).rev().all(|(&n, &s)| {
        let fits = n == 1 || s == expected_stride;
        expected_stride *= n;
        fits
    });
    let (elements, _) = storage.as_chunks::<N>();
    if contiguous {
        return elements[offset..offset + count].iter().map(|&b| convert(b)).collect();
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
