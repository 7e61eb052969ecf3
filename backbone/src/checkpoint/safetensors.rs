//! The safetensors format: an 8-byte header length, a JSON header, the data.

use super::checksum::{self, CHECKSUM_KEY, Part};
use super::{CheckpointError, HostTensor, TensorMap, header};
use ::safetensors::{Dtype, SafeTensors};
use half::{bf16, f16};
use kat_images::files::write_atomic;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// Parses the bytes of a file; every dtype that has a sensible f32 value is converted. The checksum of a file of
/// ours is compared and left out of the metadata; a note says where one is missing.
///
/// # Errors
/// [`CheckpointError::Corrupt`] for bytes that break the format, a tensor that is there twice or a checksum that does
/// not fit, [`CheckpointError::Tensor`] for a dtype that is not read.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<TensorMap, CheckpointError> {
    let damaged =
        |reason: String| CheckpointError::Corrupt { path: path.to_owned(), format: "safetensors", reason };
    header::check(bytes).map_err(damaged)?;
    let corrupt = |e: ::safetensors::SafeTensorError| damaged(e.to_string());
    let file = SafeTensors::deserialize(bytes).map_err(corrupt)?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(corrupt)?;
    let mut metadata: BTreeMap<String, String> =
        header.metadata().clone().unwrap_or_default().into_iter().collect();
    let notes = verify(&metadata, &file).map_err(damaged)?.into_iter().collect();
    metadata.remove(CHECKSUM_KEY);
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
    Ok(TensorMap { tensors, metadata, notes })
}

/// Compares the checksum. A note where a file of ours has none: it is from before there were any.
fn verify(metadata: &BTreeMap<String, String>, file: &SafeTensors<'_>) -> Result<Option<String>, String> {
    let Some(stored) = checksum::stored(metadata) else {
        let ours = metadata.keys().any(|key| key.starts_with("kat_"));
        return Ok(
            ours.then(|| "the file has no checksum, so that damage to its values goes unnoticed".into())
        );
    };
    let mut views = file.tensors();
    views.sort_by(|a, b| a.0.cmp(&b.0));
    let sums: Vec<u32> = views.par_iter().map(|(_, view)| crc32c::crc32c(view.data())).collect();
    let parts = views.iter().zip(sums).map(|((name, view), data)| {
        let dtype = format!("{:?}", view.dtype());
        Part { name, dtype, shape: view.shape(), data }
    });
    let found = checksum::of_file(metadata, parts);
    if found == stored {
        return Ok(None);
    }
    Err(format!(
        "its contents have the checksum {found}, expected {stored}: bytes changed after it was written; take a \
         copy of it or another checkpoint of the run"
    ))
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

/// Writes f32 tensors and metadata with a checksum, atomically. The same map gives the same bytes.
///
/// # Errors
/// [`CheckpointError::Io`] if writing fails (the old file then stays); [`CheckpointError::Tensor`] for a tensor
/// whose data do not fill its shape.
pub fn save(path: &Path, map: &TensorMap) -> Result<(), CheckpointError> {
    let mut header = serde_json::Map::new();
    let mut metadata = map.metadata.clone();
    metadata.insert(CHECKSUM_KEY.into(), sum(map));
    header.insert("__metadata__".into(), serde_json::json!(metadata));
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
    write_atomic(path, |out| {
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
    .map_err(|e| CheckpointError::Io { path: path.to_owned(), action: e.action, source: e.source })
}

/// The checksum of what will be written.
fn sum(map: &TensorMap) -> String {
    let tensors: Vec<(&String, &HostTensor)> = map.tensors.iter().collect();
    let sums: Vec<u32> = tensors.par_iter().map(|(_, tensor)| checksum::of_values(&tensor.data)).collect();
    let parts = tensors.iter().zip(sums).map(|((name, tensor), data)| {
        let dtype = format!("{:?}", Dtype::F32);
        Part { name, dtype, shape: &tensor.shape, data }
    });
    checksum::of_file(&map.metadata, parts)
}

/// Reads a safetensors file.
///
/// # Errors
/// As [`parse`], and [`CheckpointError::Io`] if the file cannot be read.
pub fn load(path: &Path) -> Result<TensorMap, CheckpointError> {
    parse(path, &super::read_file(path)?)
}
