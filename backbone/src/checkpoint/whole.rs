//! A file of a whole detector or segmentor: its encoder apart from its heads, and what becomes of each head's tensors.

use super::transfer::{Expected, HeadPolicy, LeftoverPolicy, LoadPolicy};
use super::{CheckpointError, LoadReport, Mismatch, TensorMap, check_finite, model, part};
use crate::device::Device;
use crate::nn::Module;
use std::path::Path;

/// Where a model keeps its parts.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The encoder's prefix.
    pub encoder: &'a str,
    /// A prefix that no file without such heads has.
    pub mark: &'a str,
    /// Prefixes of the heads: a tensor of the file under one of them that the model does not have is left over.
    pub heads: &'a [&'a str],
    /// Prefixes of what depends on the number of classes.
    pub by_class: &'a [&'a str],
    /// Parts of names that files hold though models compute them.
    pub computed: &'a [&'a str],
}

/// Loads a file into a detector or segmentor: one of the same kind into all of it, any other into its encoder of `blocks` blocks by
/// `load_encoder`, which is given the encoder's tensors and whether they are all that the file is taken for.
///
/// # Errors
/// Those of `load_encoder` and of [`split`].
pub fn load<D: Device, M: Module<D>>(
    model: &mut M,
    source: TensorMap,
    parts: Parts<'_>,
    policy: LoadPolicy,
    (path, blocks): (&Path, usize),
    load_encoder: impl FnOnce(&mut M, TensorMap, Alone) -> Result<LoadReport, CheckpointError>,
) -> Result<LoadReport, CheckpointError> {
    let shapes = model::expected(model);
    let mut source = part::of_model(source, &shapes, policy.averages);
    if !source.tensors.keys().any(|name| name.starts_with(parts.mark)) {
        return load_encoder(model, source, Alone::Yes);
    }
    let (encoder, mut report) = split(&mut source, &shapes, parts, policy, (path, blocks))?;
    let of_encoder = load_encoder(model, encoder, Alone::No)?;
    report.add_part(of_encoder, parts.encoder);
    model::assign_from(model, &source, path)?;
    Ok(report)
}

/// Whether a file has an encoder alone, or heads of the model's kind too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alone {
    /// Whatever heads it has are other ones.
    Yes,
    /// The heads are the model's.
    No,
}

/// Takes the encoder's tensors out of `source`, without their prefix, and holds the others against the `expected` ones of
/// the model's heads. What is to keep its first value is taken out of `source` too.
///
/// # Errors
/// [`CheckpointError::Incomplete`] for a head's tensor that is missing or of another shape, [`CheckpointError::LeftOver`] for
/// one that has no place, unless `policy` allows it, [`CheckpointError::NotFinite`] for weights that are no numbers.
fn split(
    source: &mut TensorMap,
    expected: &Expected,
    parts: Parts<'_>,
    policy: LoadPolicy,
    (path, blocks): (&Path, usize),
) -> Result<(TensorMap, LoadReport), CheckpointError> {
    let starts = |name: &str, prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    let mut encoder = TensorMap { metadata: source.metadata.clone(), ..TensorMap::default() };
    let (own, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut source.tensors)
        .into_iter()
        .partition(|(name, _)| name.starts_with(parts.encoder));
    source.tensors = rest.into_iter().collect();
    own.into_iter().for_each(|(name, tensor)| encoder.insert(&name[parts.encoder.len()..], tensor));
    let mut report = LoadReport { notes: std::mem::take(&mut source.notes), ..LoadReport::default() };
    for (name, shape) in expected.iter().filter(|(name, _)| !name.starts_with(parts.encoder)) {
        let found = source.tensors.get(name).map(|tensor| tensor.shape.clone());
        match found {
            Some(found) if found == *shape => report.loaded.push(name.clone()),
            _ if starts(name, parts.by_class) && policy.head == HeadPolicy::Reinitialize => {
                source.tensors.remove(name);
                report.reinitialized.push(name.clone());
            }
            Some(found) => {
                report.mismatched.push(Mismatch { name: name.clone(), found, expected: shape.clone() });
            }
            None => report.missing.push(name.clone()),
        }
    }
    let computed = |name: &str| parts.computed.iter().any(|part| name.contains(part));
    let unused = source
        .tensors
        .keys()
        .filter(|name| starts(name, parts.heads) && !computed(name) && !expected.contains_key(name.as_str()));
    report.left_over = unused.cloned().collect();
    let report = report.require_complete(path)?;
    let report = match policy.leftover {
        LeftoverPolicy::Refuse => report.require_used(path, blocks)?,
        LeftoverPolicy::Allow => report,
    };
    // Before anything is set, so that a file that does not do leaves the model as it was.
    check_finite(path, source)?;
    Ok((encoder, report))
}
