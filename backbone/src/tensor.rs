//! The suite's tensor: a contiguous dfdx tensor with a run-time shape and, where gradients are wanted, a key
//! under which dfdx's tape keeps its gradient.

use crate::error::{Error, Result};
use crate::ops::device::Backend;
use crate::ops::device::Device;
use crate::shape::Shape;
use dfdx::tensor::Cpu;
use std::sync::atomic::{AtomicU64, Ordering};

/// Values of a tensor as a device stores them: contiguous, shared by clones.
pub type Stored<D> = <D as Backend>::Stored;

/// The name of a gradient on dfdx's tape: an empty tensor with an identity of its own there, and a number with which what
/// the tape does not keep of a gradient is found beside it.
#[derive(Clone, Debug)]
pub(crate) struct Key<D: Backend> {
    pub(crate) slot: Slot<D>,
    pub(crate) number: u64,
}

/// An empty tensor of dfdx's.
pub type Slot<D> = dfdx::tensor::Tensor<(usize,), f32, <D as Backend>::Tape>;

/// The next key's number.
static NEXT_KEY: AtomicU64 = AtomicU64::new(0);

/// A contiguous f32 tensor on a device. Cloning shares the storage.
///
/// A tensor is a constant unless it came from [`Tensor::parameter`] or from an op that recorded one of its
/// inputs' gradients; see [`Graph`](crate::ops::tape::Graph).
#[derive(Clone, Debug)]
pub struct Tensor<D: Device = Cpu> {
    stored: Stored<D>,
    /// An empty tensor whose identity names the gradient on dfdx's tape. It is apart from the values so that a
    /// reshaped tensor shares its gradient without an op, and so that dfdx never allocates (and clears) a
    /// gradient that the first writer would overwrite.
    key: Option<Key<D>>,
    shape: Shape,
}

impl<D: Device> Tensor<D> {
    /// A constant from values in row-major order.
    pub fn from_vec(device: &D, values: Vec<f32>, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        shape.check_len(values.len())?;
        Self::from_stored(device.upload(values)?, shape)
    }

    /// As [`Tensor::from_vec`] from borrowed values; a GPU copies them while it computes.
    pub fn from_slice(device: &D, values: &[f32], shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        shape.check_len(values.len())?;
        Self::from_stored(device.store(device.upload_slice(values)?)?, shape)
    }

    /// A constant of zeros.
    pub fn zeros(device: &D, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        Self::from_vec(device, vec![0.0; shape.numel()], shape)
    }

    pub(crate) fn from_stored(stored: Stored<D>, shape: Shape) -> Result<Self> {
        Ok(Self { stored, key: None, shape })
    }

    /// The same values as a leaf that receives a gradient.
    pub fn parameter(mut self) -> Result<Self> {
        let slot = self.device().gradient_slot()?;
        self.key = Some(Key { slot, number: NEXT_KEY.fetch_add(1, Ordering::Relaxed) });
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
    pub fn copy_from(&mut self, other: &Self) -> Result<()> {
        self.shape.check_len(other.numel())?;
        self.stored = other.stored.clone();
        Ok(())
    }

    /// Replaces the values, keeping the identity under which gradients are found.
    pub fn set(&mut self, values: Vec<f32>) -> Result<()> {
        self.shape.check_len(values.len())?;
        self.stored = self.device().clone().upload(values)?;
        Ok(())
    }

    pub(crate) fn key(&self) -> Option<&Key<D>> {
        self.key.as_ref()
    }
}
