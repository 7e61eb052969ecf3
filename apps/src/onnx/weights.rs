//! The weights of a module by the names that a checkpoint has.

use anyhow::Context;
use kat_backbone::checkpoint::{HostTensor, TensorMap};

/// Tensors under a path.
#[derive(Debug, Clone)]
pub struct Weights<'m> {
    map: &'m TensorMap,
    path: String,
}

impl<'m> Weights<'m> {
    /// All of a model's.
    pub fn new(map: &'m TensorMap) -> Self {
        Self { map, path: String::new() }
    }

    /// Those of a part.
    pub fn at(&self, part: impl std::fmt::Display) -> Self {
        Self { map: self.map, path: self.name(&part.to_string()) }
    }

    /// The full name of a tensor.
    pub fn name(&self, tensor: &str) -> String {
        if self.path.is_empty() { tensor.to_owned() } else { format!("{}.{tensor}", self.path) }
    }

    /// A tensor that may be absent.
    pub fn find(&self, tensor: &str) -> Option<&'m HostTensor> {
        self.map.get(&self.name(tensor))
    }

    /// Whether anything lies under the path.
    pub fn exists(&self) -> bool {
        let prefix = format!("{}.", self.path);
        self.map.tensors.range(prefix.clone()..).next().is_some_and(|(name, _)| name.starts_with(&prefix))
    }

    /// A tensor.
    ///
    /// # Errors
    /// The model has none of this name.
    pub fn get(&self, tensor: &str) -> anyhow::Result<&'m HostTensor> {
        self.find(tensor).with_context(|| format!("the model has no tensor {}", self.name(tensor)))
    }
}
