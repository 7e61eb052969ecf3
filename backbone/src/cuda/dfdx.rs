//! dfdx beneath the GPU: the twin of `tensor/dfdx.rs`. Tensors are cudarc's buffers behind a counted reference; gradients
//! lie in the table of dfdx's tape.
//!
//! dfdx keeps the memory of its Cuda tensors to itself: what passes between its tensors and ours is copied, on the GPU
//! towards dfdx, through the host towards us. Gradients pass without a copy.

use super::buffer::Tag;
use super::launch::{Grid, failed, nothing};
use super::{Buffer, Cuda, View, kernels};
use crate::error::Result;
use crate::tensor::dfdx::{DfdxGradients, Recorder};
use crate::tensor::{Backend, Gradients, Shape, Stored, Tensor};
use ::dfdx::prelude::{Backward as _, HasShape as _, Shape as DfdxShape, ZerosTensor as _};
use ::dfdx::tensor::{CpuError, CudaError, OwnedTape, PutTape as _, Storage, Tensor as DfdxTensor};
use cudarc::driver::{CudaDevice, CudaSlice, DeviceSlice as _};
use std::sync::Arc;

/// dfdx's side of a GPU.
pub(super) type Dfdx = ::dfdx::tensor::Cuda;

/// Opens GPU number `ordinal` for dfdx, and the driver's context, which it keeps to itself, but every buffer names.
pub(super) fn open(ordinal: usize) -> Result<(Dfdx, Arc<CudaDevice>)> {
    let dfdx = Dfdx::try_build(ordinal, 0).map_err(failed("open"))?;
    let word: <Dfdx as Storage<f32>>::Vec = dfdx.try_alloc_len(1).map_err(failed("open"))?;
    let driver = word.device();
    Ok((dfdx, driver))
}

/// A tensor's values on a GPU; clones share them.
#[derive(Clone, Debug)]
pub struct Values {
    device: Cuda,
    buffer: Arc<Buffer>,
}

impl Recorder for Cuda {
    type Dfdx = Dfdx;
    type Buf = Buffer;
    type Tag = Tag;

    fn dfdx(&self) -> &Dfdx {
        &self.dfdx
    }

    fn take_gradient(entry: &mut <Dfdx as Storage<f32>>::Vec, tag: Tag) -> Buffer {
        let empty = nothing(&entry.device());
        Buffer::from_words(std::mem::replace(&mut **entry, empty), tag)
    }

    fn put_gradient(entry: &mut <Dfdx as Storage<f32>>::Vec, gradient: Buffer) -> Tag {
        let (words, tag) = gradient.into_words();
        **entry = words;
        tag
    }

    fn execute(&self, tape: OwnedTape<f32, Dfdx>) -> Result<DfdxGradients<Self>> {
        // As on the host: dfdx runs a tape only from a scalar, ours is seeded by its last recorded op.
        let scalar: DfdxTensor<(), f32, Dfdx> = self.dfdx.try_zeros().map_err(failed("backward"))?;
        scalar.put_tape(tape).try_backward().map_err(failed("backward"))
    }

    fn stop() -> CudaError {
        CudaError::Cpu(CpuError::WrongNumElements)
    }
}

impl Backend for Cuda {
    const IS_ASYNC: bool = true;
    type Stored = Values;
    type View<'a> = View<'a>;
    type ViewMut<'a> = &'a mut Buffer;

    fn device(stored: &Stored<Self>) -> &Self {
        &stored.device
    }

    fn synchronize(&self) -> Result<()> {
        self.waiting();
        self.context.driver().synchronize().map_err(failed("synchronize"))
    }

    fn upload(&self, values: Vec<f32>) -> Result<Stored<Self>> {
        self.store(self.upload_buf(values)?)
    }

    fn download(stored: &Stored<Self>) -> Vec<f32> {
        stored.device.download_buf(&stored.buffer)
    }

    fn view(stored: &Stored<Self>) -> View<'_> {
        &stored.buffer
    }

    fn view_mut(stored: &mut Stored<Self>) -> &mut Buffer {
        Arc::make_mut(&mut stored.buffer)
    }

    fn view_buf(buf: &Buffer) -> View<'_> {
        buf
    }

    fn store(&self, buf: Buffer) -> Result<Stored<Self>> {
        Ok(Values { device: self.clone(), buffer: Arc::new(buf) })
    }

    fn download_buf(&self, buf: &Buffer) -> Vec<f32> {
        self.waiting();
        // The trait has no error here, as on the host nothing can fail. A copy fails only after a kernel did, which
        // leaves the whole context unusable; not-a-number then stops whoever reads the values.
        let fetch = |values: &CudaSlice<f32>| {
            let mut host = vec![0.0; values.len()];
            values.device().dtoh_sync_copy_into(values, &mut host).ok().map(|()| host)
        };
        // Half of a last word may be nobody's: widened on the GPU, which reads values and not words.
        let host = buf.f32(self.context()).ok().and_then(|values| fetch(&values));
        host.unwrap_or_else(|| vec![f32::NAN; buf.len()])
    }

    fn upload_buf(&self, values: Vec<f32>) -> Result<Buffer> {
        // Small lists go by the default stream, which copies them before it returns.
        match values.len() {
            0 => self.empty(0),
            1..=1024 => Ok(self.send(values)?.into()),
            _ => self.upload_slice(&values),
        }
    }

    fn upload_slice(&self, values: &[f32]) -> Result<Buffer> {
        match values {
            [] => self.empty(0),
            _ => Ok(self.staging.send(values)?.into()),
        }
    }

    fn add_assign(&self, dst: &mut Buffer, src: View<'_>) -> Result<()> {
        let (context, grid, n) = (self.context(), Grid::packs(src.len()), src.len() as u64);
        match src.is_bf16() {
            true => kernels::add_assign_bf16(context, grid, dst, src, n),
            false => kernels::add_assign(context, grid, dst, src, n),
        }
    }
}

impl Cuda {
    /// A dfdx tensor of this GPU as a constant of ours: a copy, by way of the host.
    ///
    /// # Errors
    /// More axes than a [`Shape`] has; the driver's.
    pub fn tensor_from_dfdx<S: DfdxShape>(&self, tensor: &DfdxTensor<S, f32, Dfdx>) -> Result<Tensor<Self>> {
        let axes: Vec<usize> = tensor.shape().concrete().into_iter().collect();
        Tensor::from_vec(self, tensor.as_vec(), Shape::new(&axes)?)
    }

    /// The values of `tensor` as a dfdx tensor of this GPU: a copy in f32 on the GPU.
    ///
    /// # Errors
    /// A shape of another size; the driver's.
    pub fn tensor_to_dfdx<S: DfdxShape>(
        &self,
        tensor: &Tensor<Self>,
        shape: S,
    ) -> Result<DfdxTensor<S, f32, Dfdx>> {
        tensor.shape().check_len(shape.num_elements())?;
        // dfdx makes tensors of what its table holds, and of nothing else that is on the GPU
        let slot: DfdxTensor<S, f32, Dfdx> = self.dfdx.try_zeros_like(&shape).map_err(failed("to_dfdx"))?;
        let mut table = DfdxGradients::<Self>::leaky();
        **table.get_or_alloc_mut(&slot).map_err(failed("to_dfdx"))? =
            self.copy(tensor.view())?.into_f32(self.context())?;
        Ok(table.get(&slot))
    }

    /// Takes the gradient at a dfdx tensor out of dfdx's table.
    ///
    /// # Errors
    /// The driver's.
    pub fn take_dfdx_gradient<S: DfdxShape>(
        &self,
        gradients: &mut DfdxGradients<Self>,
        tensor: &DfdxTensor<S, f32, Dfdx>,
    ) -> Result<Buffer> {
        let entry = gradients.get_or_alloc_mut(tensor).map_err(failed("take_gradient"))?;
        Ok(Self::take_gradient(entry, Tag::plain()))
    }
}

impl Gradients<Cuda> {
    /// Moves the gradient at `parameter` into dfdx's table, as that at `tensor`; false where none arrived.
    ///
    /// # Errors
    /// A tensor of another size than the parameter; the driver's.
    pub fn give_to_dfdx<S: DfdxShape>(
        &mut self,
        parameter: &Tensor<Cuda>,
        gradients: &mut DfdxGradients<Cuda>,
        tensor: &DfdxTensor<S, f32, Dfdx>,
    ) -> Result<bool> {
        parameter.shape().check_len(tensor.shape().num_elements())?;
        let Some(gradient) = self.take(parameter)? else { return Ok(false) };
        let gradient = gradient.into_f32(parameter.device().context())?;
        **gradients.get_or_alloc_mut(tensor).map_err(failed("give_to_dfdx"))? = gradient;
        Ok(true)
    }
}
