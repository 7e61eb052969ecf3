//! The suite's tensor: contiguous f32 values with a run-time shape and, where gradients are wanted, a key under which the
//! tape keeps its gradient; the graph that records ops; what storage a device offers. Nothing here knows an op.

pub mod backend;
pub mod dfdx;
pub mod error;
pub mod gradients;
pub mod graph;
pub mod precision;
pub mod random;
pub mod shape;

pub use backend::Backend;
pub use error::{Error, Result};
pub use gradients::{Gradients, Grads};
pub use graph::{GradientReceiver, Graph, Mode};
pub use precision::Precision;
pub use shape::Shape;

use dfdx::{Cpu, Key};

/// Values of a tensor as a device stores them: contiguous, shared by clones.
pub type Stored<D> = <D as Backend>::Stored;

/// A contiguous f32 tensor on a device. Cloning shares the storage.
///
/// A tensor is a constant unless it came from [`Tensor::parameter`] or from an op that recorded one of its
/// inputs' gradients; see [`Graph`].
#[derive(Clone, Debug)]
pub struct Tensor<D: Backend = Cpu> {
    stored: Stored<D>,
    /// The name of the gradient on the tape, apart from the values, so that a reshaped tensor shares its gradient
    /// without an op.
    key: Option<Key<D>>,
    shape: Shape,
}

impl<D: Backend> Tensor<D> {
    /// A constant from values in row-major order.
    ///
    /// # Errors
    /// A shape that does not hold as many values; the device refuses.
    pub fn from_vec(device: &D, values: Vec<f32>, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        shape.check_len(values.len())?;
        Self::from_stored(device.upload(values)?, shape)
    }

    /// As [`Tensor::from_vec`] from borrowed values; a GPU copies them while it computes.
    ///
    /// # Errors
    /// A shape that does not hold as many values; the device refuses.
    pub fn from_slice(device: &D, values: &[f32], shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        shape.check_len(values.len())?;
        Self::from_stored(device.store(device.upload_slice(values)?)?, shape)
    }

    /// As [`Tensor::from_vec`] from as many values as `make` is asked for, which only a device that keeps values asks for.
    ///
    /// # Errors
    /// The device refuses.
    pub fn from_fn(
        device: &D,
        shape: impl Into<Shape>,
        make: impl FnOnce(usize) -> Vec<f32>,
    ) -> Result<Self> {
        let shape = shape.into();
        Self::from_stored(device.upload_made(shape.numel(), || make(shape.numel()))?, shape)
    }

    /// A constant of zeros.
    ///
    /// # Errors
    /// The device refuses.
    pub fn zeros(device: &D, shape: impl Into<Shape>) -> Result<Self> {
        Self::from_fn(device, shape, |len| vec![0.0; len])
    }

    pub(crate) fn from_stored(stored: Stored<D>, shape: Shape) -> Result<Self> {
        Ok(Self { stored, key: None, shape })
    }

    /// The same values as a leaf that receives a gradient.
    ///
    /// # Errors
    /// The device refuses.
    pub fn parameter(mut self) -> Result<Self> {
        self.key = Some(Key::new(self.device())?);
        Ok(self)
    }

    /// The same values as a constant.
    pub fn detach(mut self) -> Self {
        self.key = None;
        self
    }

    /// Whether a gradient reaches this tensor when it is used in a recording graph.
    pub fn wants_gradient(&self) -> bool {
        self.key.is_some()
    }

    /// The same elements under another shape; values and gradient are shared.
    ///
    /// # Errors
    /// A shape that does not hold as many values; the device refuses.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        shape.check_len(self.numel())?;
        Ok(Self { stored: self.stored.clone(), key: self.key.clone(), shape })
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The axes, when there are `N` of them; `op` and `expected` word the error when not.
    ///
    /// # Errors
    /// A tensor of another shape.
    pub fn axes<const N: usize>(&self, op: &'static str, expected: &str) -> Result<[usize; N]> {
        self.shape.axes().try_into().map_err(|_| Error::shape(op, "the input", expected, self.shape))
    }

    /// The number of elements.
    pub fn numel(&self) -> usize {
        self.shape.numel()
    }

    /// The device that holds the values.
    pub fn device(&self) -> &D {
        D::device(&self.stored)
    }

    /// A copy of the values on the host, row-major.
    pub fn to_vec(&self) -> Vec<f32> {
        D::download(&self.stored)
    }

    /// The value of a one-element tensor.
    ///
    /// # Errors
    /// A tensor of another shape.
    pub fn scalar(&self) -> Result<f32> {
        match self.to_vec()[..] {
            [value] => Ok(value),
            _ => Err(Error::shape("scalar", "the input", "one element", self.shape)),
        }
    }

    /// The values as a kernel of this device reads them.
    pub fn view(&self) -> D::View<'_> {
        D::view(&self.stored)
    }

    /// The values as a kernel of this device changes them in place. Storage shared with a clone is copied
    /// first, so that the clone keeps its values.
    pub fn view_mut(&mut self) -> D::ViewMut<'_> {
        D::view_mut(&mut self.stored)
    }

    /// Takes the values of another tensor, which then share storage, keeping the identity under which gradients are
    /// found.
    ///
    /// # Errors
    /// A shape that does not hold as many values; the device refuses.
    pub fn copy_from(&mut self, other: &Self) -> Result<()> {
        self.shape.check_len(other.numel())?;
        self.stored = other.stored.clone();
        Ok(())
    }

    /// Replaces the values, keeping the identity under which gradients are found.
    ///
    /// # Errors
    /// A shape that does not hold as many values; the device refuses.
    pub fn set(&mut self, values: Vec<f32>) -> Result<()> {
        self.shape.check_len(values.len())?;
        self.stored = self.device().clone().upload(values)?;
        Ok(())
    }

    /// The values as the device stores them.
    pub(crate) fn stored(&self) -> &Stored<D> {
        &self.stored
    }

    pub(crate) fn key(&self) -> Option<&Key<D>> {
        self.key.as_ref()
    }
}

#[cfg(test)]
mod tests;
