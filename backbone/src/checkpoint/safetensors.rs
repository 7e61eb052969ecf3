//! The safetensors format: an 8-byte header length, a JSON header, the data.

use super::{CheckpointError, HostTensor, TensorMap, atomic};
use ::safetensors::{Dtype, SafeTensors};
use half::{bf16, f16};
use rayon::prelude::*;
use std::io::Write;
use std::path::Path;

/// Parses the bytes of a file; every dtype that has a sensible f32 value is converted.
///
/// # Errors
/// [`CheckpointError::Corrupt`] for bytes that break the format, [`CheckpointError::Tensor`] for a dtype that is
/// not read.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<TensorMap, CheckpointError> {
    let corrupt = |e: ::safetensors::SafeTensorError| CheckpointError::Corrupt {
        path: path.to_owned(),
        format: "safetensors",
        reason: e.to_string(),
    };
    let file = SafeTensors::deserialize(bytes).map_err(corrupt)?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(corrupt)?;
    let tensors = file
        .tensors()
        .into_par_iter()
        .map(|(name, view)| {
            let data = to_f32(view.dtype(), view.data()).ok_or_else(|| CheckpointError::Tensor {
                path: path.to_owned(),
                tensor: name.clone(),
                found: format!("dtype {:?}", view.dtype()),
                expected: "F32, F16, BF16, F64, an integer of up to 64 bits, or BOOL".into(),
            })?;
            let tensor =
                HostTensor::new(view.shape().to_vec(), data).ok_or_else(|| CheckpointError::Tensor {
                    path: path.to_owned(),
                    tensor: name.clone(),
                    found: format!("{} bytes", view.data().len()),
                    expected: format!("shape {:?} of {:?}", view.shape(), view.dtype()),
                })?;
            Ok((name, tensor))
        })
        .collect::<Result<_, CheckpointError>>()?;
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok(TensorMap { tensors, metadata, notes: Vec::new() })
}

fn to_f32(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    Some(match dtype {
        Dtype::F32 => decode(bytes, f32::from_le_bytes),
        Dtype::F16 => decode(bytes, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => decode(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        Dtype::F64 => decode(bytes, |b| f64::from_le_bytes(b) as f32),
        Dtype::I64 => decode(bytes, |b| i64::from_le_bytes(b) as f32),
        Dtype::U64 => decode(bytes, |b| u64::from_le_bytes(b) as f32),
        Dtype::I32 => decode(bytes, |b| i32::from_le_bytes(b) as f32),
        Dtype::U32 => decode(bytes, |b| u32::from_le_bytes(b) as f32),
        Dtype::I16 => decode(bytes, |b| f32::from(i16::from_le_bytes(b))),
        Dtype::U16 => decode(bytes, |b| f32::from(u16::from_le_bytes(b))),
        Dtype::I8 => decode(bytes, |b| f32::from(i8::from_le_bytes(b))),
        Dtype::U8 => decode(bytes, |[b]: [u8; 1]| f32::from(b)),
        Dtype::BOOL => decode(bytes, |[b]: [u8; 1]| f32::from(u8::from(b != 0))),
        _ => return None,
    })
}

/// Little-endian numbers of N bytes, each converted; a rest shorter than N is left out.
pub(super) fn decode<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|&b| convert(b)).collect()
}

/// Writes f32 tensors and metadata, atomically. The same map gives the same bytes.
///
/// # Errors
/// [`CheckpointError::Io`] if writing fails (the old file then stays); [`CheckpointError::Tensor`] for a tensor
/// whose data do not fill its shape.
pub fn save(path: &Path, map: &TensorMap) -> Result<(), CheckpointError> {
    let mut header = serde_json::Map::new();
    if !map.metadata.is_empty() {
        header.insert("__metadata__".into(), serde_json::json!(map.metadata));
    }
    let mut offset = 0;
    for (name, tensor) in &map.tensors {
        if super::element_count(&tensor.shape) != Some(tensor.data.len()) {
            return Err(CheckpointError::Tensor {
                path: path.to_owned(),
                tensor: name.clone(),
                found: format!("{} values", tensor.data.len()),
                expected: format!("shape {:?}", tensor.shape),
            });
        }
        let end = offset + 4 * tensor.data.len();
        let entry = serde_json::json!({"dtype": "F32", "shape": tensor.shape, "data_offsets": [offset, end]});
        header.insert(name.clone(), entry);
        offset = end;
    }
    let mut header = serde_json::Value::Object(header).to_string().into_bytes();
    // The data start at a multiple of 8, so that readers can map them.
    header.resize(header.len().next_multiple_of(8), b' ');
    atomic::write(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        let mut buffer = Vec::with_capacity(1 << 18);
        for chunk in map.tensors.values().flat_map(|t| t.data.chunks(1 << 16)) {
            buffer.clear();
            buffer.extend(chunk.iter().flat_map(|v| v.to_le_bytes()));
            Write::write_all(out, &buffer)?;
        }
        Ok(())
    })
}

/// Reads a safetensors file.
///
/// # Errors
/// As [`parse`], and [`CheckpointError::Io`] if the file cannot be read.
pub fn load(path: &Path) -> Result<TensorMap, CheckpointError> {
    let bytes = std::fs::read(path).map_err(|source| CheckpointError::Io {
        path: path.to_owned(),
        action: "cannot read",
        source,
    })?;
    parse(path, &bytes)
}
