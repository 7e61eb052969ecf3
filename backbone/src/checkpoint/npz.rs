//! The original ViT's .npz files (augreg, from JAX), under timm's names.
//!
//! # Shapes
//! d width, H heads, D head width, m hidden width, P patch. In the file kernels are (in, out): embedding (P, P, 3, d),
//! query/key/value (d, H, D), out (H, D, d), Dense_0 (d, m), Dense_1 (m, d), head (d, classes).

use super::{Budget, CheckpointError, HostTensor, TensorMap, element_count};
use crate::checkpoint::safetensors::decode;
use std::io::{Cursor, Read};
use std::path::Path;
use zip::ZipArchive;

/// Whether a zip file holds numpy arrays: its first member's name ends in .npy.
pub fn looks_like(bytes: &[u8]) -> bool {
    let Some(&[low, high]) = bytes.get(26..28) else { return false };
    bytes.get(30..30 + usize::from(u16::from_le_bytes([low, high]))).is_some_and(|n| n.ends_with(b".npy"))
}

/// Parses an .npz file within the usual [`Budget`].
///
/// # Errors
/// As [`parse_within`].
pub fn parse(path: &Path, bytes: &[u8]) -> Result<TensorMap, CheckpointError> {
    parse_within(path, bytes, Budget::for_file(bytes.len()))
}

/// Parses an .npz file; the arrays of the original ViT get timm's names, others keep theirs.
///
/// # Errors
/// [`CheckpointError::Corrupt`], [`CheckpointError::Tensor`] naming the member, or [`CheckpointError::OverBudget`].
pub fn parse_within(path: &Path, bytes: &[u8], mut budget: Budget) -> Result<TensorMap, CheckpointError> {
    let corrupt = |reason: String| CheckpointError::Corrupt { path: path.to_owned(), format: "npz", reason };
    let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(|e| corrupt(e.to_string()))?;
    let mut arrays = TensorMap::default();
    for i in 0..zip.len() {
        let member = zip.by_index(i).map_err(|e| corrupt(e.to_string()))?;
        let name = member.name().map_err(|e| corrupt(e.to_string()))?;
        let Some(name) = name.strip_suffix(".npy").map(str::to_owned) else { continue };
        let mut content = Vec::new();
        // What is read decides, not the size that the archive announces.
        let length = member.take(budget.left().saturating_add(1)).read_to_end(&mut content);
        let length = length.map_err(|e| corrupt(format!("member {name}.npy: {e}")))?;
        budget.take(length).map_err(|over| over.error(path))?;
        // The values as f32 (half floats widen), and once more where they are transposed.
        budget.take(length.saturating_mul(4)).map_err(|over| over.error(path))?;
        let tensor = array(&content).map_err(|found| CheckpointError::Tensor {
            path: path.to_owned(),
            tensor: name.clone(),
            found,
            expected: "a C-ordered little-endian float array in npy format".into(),
        })?;
        if arrays.get(&name).is_some() {
            return Err(corrupt(format!("member {name}.npy is there twice")));
        }
        arrays.insert(name, tensor);
    }
    Ok(to_timm(arrays))
}

/// An array in numpy's own format: magic, version, header length, a Python dict as text, data.
fn array(bytes: &[u8]) -> Result<HostTensor, String> {
    let (start, length) = match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, a, b, ..] => (10, u16::from_le_bytes([*a, *b]).into()),
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _, a, b, c, d, ..] => {
            (12, u32::from_le_bytes([*a, *b, *c, *d]) as usize)
        }
        _ => return Err("bytes without numpy's magic".into()),
    };
    let header = bytes.get(start..).and_then(|rest| rest.get(..length)).ok_or("a header cut short")?;
    let header = std::str::from_utf8(header).map_err(|_| "a header that is not text")?;
    let after = |key: &str| header.split_once(key).map(|(_, rest)| rest.trim_start());
    if !after("'fortran_order':").is_some_and(|v| v.starts_with("False")) {
        return Err("Fortran order".into());
    }
    let shape = after("'shape':").and_then(|v| v.strip_prefix('(')).and_then(|v| v.split_once(')'));
    let shape = shape.ok_or("no shape")?.0;
    let shape: Vec<usize> = shape
        .split(',')
        .map(str::trim)
        .filter(|t| !t.is_empty())
        .map(|t| t.parse().map_err(|_| format!("shape ({shape})")))
        .collect::<Result<_, _>>()?;
    let data = &bytes[start + length..];
    let dtype = after("'descr':").and_then(|v| v.strip_prefix('\'')).and_then(|v| v.split_once('\''));
    let dtype = dtype.ok_or("no simple dtype")?.0;
    let size = match dtype {
        "<f4" => 4,
        "<f8" => 8,
        "<f2" => 2,
        other => return Err(format!("dtype {other}")),
    };
    if element_count(&shape).and_then(|n| n.checked_mul(size)) != Some(data.len()) {
        return Err(format!("shape {shape:?} with {} bytes of {dtype}", data.len()));
    }
    let data = match size {
        4 => decode(data, f32::from_le_bytes),
        8 => decode(data, |b| f64::from_le_bytes(b) as f32),
        _ => decode(data, |b| half::f16::from_le_bytes(b).to_f32()),
    };
    Ok(HostTensor { shape, data })
}

/// Renames and transposes the original ViT's arrays.
fn to_timm(mut arrays: TensorMap) -> TensorMap {
    if arrays.get("embedding/kernel").is_none() {
        return arrays;
    }
    let mut out = TensorMap::default();
    out.notes.push("original ViT (npz): names and layouts changed to timm's".into());
    if let Some(kernel) = arrays.tensors.remove("embedding/kernel") {
        out.insert("patch_embed.proj.weight", embedding(&kernel));
    }
    let plain = [
        ("embedding/bias", "patch_embed.proj.bias"),
        ("cls", "cls_token"),
        ("Transformer/posembed_input/pos_embedding", "pos_embed"),
        ("Transformer/encoder_norm/scale", "norm.weight"),
        ("Transformer/encoder_norm/bias", "norm.bias"),
        ("head/bias", "head.bias"),
    ];
    for (from, to) in plain {
        if let Some(tensor) = arrays.tensors.remove(from) {
            out.insert(to, tensor);
        }
    }
    if let Some(kernel) = arrays.tensors.remove("head/kernel") {
        out.insert("head.weight", transposed(&kernel, 1));
    }
    for i in 0.. {
        let prefix = format!("Transformer/encoderblock_{i}/");
        let next = arrays.tensors.range(prefix.clone()..).next();
        if !next.is_some_and(|(name, _)| name.starts_with(&prefix)) {
            break;
        }
        block(&mut arrays, &prefix, &format!("blocks.{i}."), &mut out);
    }
    out.tensors.append(&mut arrays.tensors);
    out
}

fn block(arrays: &mut TensorMap, from: &str, to: &str, out: &mut TensorMap) {
    let mut take = |name: &str| arrays.tensors.remove(&format!("{from}{name}"));
    let attention = "MultiHeadDotProductAttention_1";
    for (kind, suffix) in [("kernel", "weight"), ("bias", "bias")] {
        let parts = ["query", "key", "value"].map(|p| take(&format!("{attention}/{p}/{kind}")));
        if let [Some(q), Some(k), Some(v)] = parts {
            let joined = [q, k, v].map(|t| if kind == "kernel" { transposed(&t, 1) } else { flat(t) });
            if joined.iter().any(|t| t.shape[1..] != joined[0].shape[1..]) {
                // No layer has these three; the report shows them as they are.
                for (part, tensor) in ["query", "key", "value"].into_iter().zip(joined) {
                    out.insert(format!("{from}{attention}/{part}/{kind}"), tensor);
                }
                continue;
            }
            let mut shape = joined[0].shape.clone();
            shape[0] = joined.iter().map(|t| t.shape[0]).sum();
            let data = joined.into_iter().flat_map(|t| t.data).collect();
            out.insert(format!("{to}attn.qkv.{suffix}"), HostTensor { shape, data });
        }
    }
    if let Some(kernel) = take(&format!("{attention}/out/kernel")) {
        let inputs = kernel.shape.len().saturating_sub(1);
        out.insert(format!("{to}attn.proj.weight"), transposed(&kernel, inputs));
    }
    for (name, target) in [("MlpBlock_3/Dense_0", "mlp.fc1"), ("MlpBlock_3/Dense_1", "mlp.fc2")] {
        if let Some(kernel) = take(&format!("{name}/kernel")) {
            out.insert(format!("{to}{target}.weight"), transposed(&kernel, 1));
        }
        if let Some(bias) = take(&format!("{name}/bias")) {
            out.insert(format!("{to}{target}.bias"), bias);
        }
    }
    for (name, target) in [
        ("LayerNorm_0/scale", "norm1.weight"),
        ("LayerNorm_0/bias", "norm1.bias"),
        ("LayerNorm_2/scale", "norm2.weight"),
        ("LayerNorm_2/bias", "norm2.bias"),
        ("MultiHeadDotProductAttention_1/out/bias", "attn.proj.bias"),
    ] {
        if let Some(tensor) = take(name) {
            out.insert(format!("{to}{target}"), tensor);
        }
    }
}

fn flat(tensor: HostTensor) -> HostTensor {
    HostTensor { shape: vec![tensor.data.len()], data: tensor.data }
}

/// A kernel whose first `inputs` dimensions are inputs, as an (out, in) matrix.
fn transposed(kernel: &HostTensor, inputs: usize) -> HostTensor {
    let rows: usize = kernel.shape.iter().take(inputs).product();
    let cols: usize = kernel.shape.iter().skip(inputs).product();
    if kernel.data.is_empty() {
        // The other extent may be beyond all counting.
        return HostTensor { shape: vec![cols, rows], data: Vec::new() };
    }
    let data = (0..cols).flat_map(|c| (0..rows).map(move |r| kernel.data[r * cols + c])).collect();
    HostTensor { shape: vec![cols, rows], data }
}

/// (P, P, 3, d) → (d, 3, P, P); an array of other rank is left as it is, for the report to show.
fn embedding(kernel: &HostTensor) -> HostTensor {
    let &[h, w, c, d] = &kernel.shape[..] else { return kernel.clone() };
    if kernel.data.is_empty() {
        return HostTensor { shape: vec![d, c, h, w], data: Vec::new() };
    }
    let at = |o: usize, i: usize, y: usize, x: usize| kernel.data[((y * w + x) * c + i) * d + o];
    let data = (0..d)
        .flat_map(|o| (0..c).map(move |i| (o, i)))
        .flat_map(|(o, i)| (0..h).map(move |y| (o, i, y)))
        .flat_map(|(o, i, y)| (0..w).map(move |x| (o, i, y, x)))
        .map(|(o, i, y, x)| at(o, i, y, x))
        .collect();
    HostTensor { shape: vec![d, c, h, w], data }
}
