//! Where a module's first values come from: the device, a seed, and the module's path, whose name picks the
//! random stream. A parameter's first values depend on the seed and its own name alone.

use super::join;
use crate::device::Device;
use crate::error::Result;
use crate::init::random;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Makes the parameters of one module.
#[derive(Clone, Debug)]
pub struct Builder<D: Device> {
    device: D,
    seed: u64,
    path: String,
}

impl<D: Device> Builder<D> {
    /// The builder of a root module.
    pub fn new(device: &D, seed: u64) -> Self {
        Self { device: device.clone(), seed, path: String::new() }
    }

    /// The builder of the submodule `name`.
    pub fn at(&self, name: impl std::fmt::Display) -> Self {
        Self { path: join(&self.path, &name.to_string()), ..self.clone() }
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The seed of the whole model.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The path so far.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A parameter with given values.
    ///
    /// # Errors
    /// Values that the shape does not hold; the device refuses.
    pub fn values(&self, values: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor<D>> {
        Tensor::from_vec(&self.device, values, shape)?.parameter()
    }

    /// A parameter of one value throughout.
    ///
    /// # Errors
    /// The device refuses.
    pub fn constant(&self, value: f32, shape: impl Into<Shape>) -> Result<Tensor<D>> {
        Tensor::from_fn(&self.device, shape, |len| vec![value; len])?.parameter()
    }

    /// The parameter `name` from N(0, std²), cut at ±2 (timm's trunc_normal_).
    ///
    /// # Errors
    /// The device refuses.
    pub fn truncated_normal(&self, name: &str, shape: impl Into<Shape>, std: f32) -> Result<Tensor<D>> {
        self.drawn(name, shape, |len, rng| random::truncated_normal(len, std, 2.0, rng))
    }

    /// The parameter `name` from N(0, std²).
    ///
    /// # Errors
    /// The device refuses.
    pub fn normal(&self, name: &str, shape: impl Into<Shape>, std: f32) -> Result<Tensor<D>> {
        self.drawn(name, shape, |len, rng| random::normal(len, std, rng))
    }

    /// The parameter `name` uniform in [-limit, limit].
    ///
    /// # Errors
    /// The device refuses.
    pub fn uniform(&self, name: &str, shape: impl Into<Shape>, limit: f32) -> Result<Tensor<D>> {
        self.drawn(name, shape, |len, rng| random::uniform(len, limit, rng))
    }

    fn drawn(
        &self,
        name: &str,
        shape: impl Into<Shape>,
        draw: impl FnOnce(usize, &mut random::Stream) -> Vec<f32>,
    ) -> Result<Tensor<D>> {
        let mut rng = random::stream(self.seed, &join(&self.path, name));
        Tensor::from_fn(&self.device, shape, |len| draw(len, &mut rng))?.parameter()
    }
}
