//! Golden numbers: safetensors files with the values of reference implementations.

use safetensors::tensor::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The folder of golden files: `KAT_GOLDEN_DIR` if set, else this crate's own.
pub fn dir() -> PathBuf {
    match std::env::var_os("KAT_GOLDEN_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden"),
    }
}

/// One golden tensor, as f64 whatever its type in the file.
#[derive(Clone, Debug)]
pub struct Values {
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// Row-major.
    pub data: Vec<f64>,
}

impl Values {
    /// As f32.
    pub fn f32(&self) -> Vec<f32> {
        self.data.iter().map(|v| *v as f32).collect()
    }
}

/// A golden file.
#[derive(Debug)]
pub struct Golden {
    /// By name.
    pub tensors: BTreeMap<String, Values>,
    /// The file's own strings.
    pub metadata: BTreeMap<String, String>,
}

impl Golden {
    /// Reads a file of [`dir`]; panics, being for tests, with the path and the reason.
    pub fn open(file: &str) -> Self {
        let path = dir().join(file);
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let fail = |e: &dyn std::fmt::Display| -> ! { panic!("{}: {e}", path.display()) };
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap_or_else(|e| fail(&e));
        let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|e| fail(&e));
        let tensors = file.tensors().into_iter().map(|(name, view)| {
            let data = match view.dtype() {
                Dtype::F32 => numbers(view.data(), |b| f64::from(f32::from_le_bytes(b))),
                Dtype::F64 => numbers(view.data(), f64::from_le_bytes),
                Dtype::I64 => numbers(view.data(), |b| i64::from_le_bytes(b) as f64),
                Dtype::I32 => numbers(view.data(), |b| f64::from(i32::from_le_bytes(b))),
                Dtype::U8 => numbers(view.data(), |b: [u8; 1]| f64::from(b[0])),
                other => fail(&format!("{name} has type {other:?}")),
            };
            (name, Values { shape: view.shape().to_vec(), data })
        });
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        Self { tensors: tensors.collect(), metadata }
    }

    /// A tensor by name; panics naming it if it is missing.
    pub fn get(&self, name: &str) -> &Values {
        self.tensors.get(name).unwrap_or_else(|| panic!("the golden file has no tensor {name}"))
    }

    /// What stands before the last dot of every name that ends in `.last`, sorted: the cases of a file.
    pub fn cases(&self, last: &str) -> Vec<String> {
        let ending = format!(".{last}");
        self.tensors.keys().filter_map(|k| k.strip_suffix(&ending)).map(str::to_owned).collect()
    }
}

fn numbers<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    bytes.as_chunks::<N>().0.iter().map(|chunk| read(*chunk)).collect()
}

/// |found - expected| / |expected|, as Euclidean norms.
pub fn relative_error(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "number of values");
    let square = |v: f64| v * v;
    let difference: f64 = found.iter().zip(expected).map(|(f, e)| square(f64::from(*f) - e)).sum();
    let norm: f64 = expected.iter().map(|e| square(*e)).sum();
    if difference == 0.0 { 0.0 } else { (difference / norm.max(1e-60)).sqrt() }
}

/// Panics if `found` is further than `tolerance` from `expected` (relative norm), naming `what`.
pub fn assert_close(what: &str, found: &[f32], expected: &Values, tolerance: f64) {
    let error = relative_error(found, &expected.data);
    assert!(error <= tolerance, "{what}: relative error {error:.2e} is above {tolerance:.0e}");
}
