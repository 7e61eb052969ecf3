//! Tensors on the GPU: cudarc's buffers behind a counted reference, and gradients in the table of dfdx's tape.

use super::buffer::Form;
use super::launch::{Grid, failed, nothing};
use super::{Buffer, Cuda, View, kernels};
use crate::error::Result;
use crate::ops::device::Backend;
use crate::tensor::{Slot, Stored};
use cudarc::driver::{CudaSlice, DeviceSlice as _};
use dfdx::prelude::{Backward as _, Storage, ZerosTensor as _};
use dfdx::tensor::{CpuError, CudaError, Gradients, OwnedTape, PutTape as _};
use std::sync::Arc;

/// A tensor's values on a GPU; clones share them.
#[derive(Clone, Debug)]
pub struct Values {
    device: Cuda,
    buffer: Arc<Buffer>,
}

impl Backend for Cuda {
    const WAITS: bool = true;
    type Tape = dfdx::tensor::Cuda;
    type Stored = Values;
    type View<'a> = View<'a>;
    type ViewMut<'a> = &'a mut Buffer;
    type Buf = Buffer;
    type Form = Form;

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

    fn gradient_slot(&self) -> Result<Slot<Self>> {
        self.tape.try_zeros_like(&(0,)).map_err(failed("gradient"))
    }

    fn take_gradient(gradient: &mut <dfdx::tensor::Cuda as Storage<f32>>::Vec, form: Form) -> Buffer {
        let empty = nothing(&gradient.device());
        Buffer::from_words(std::mem::replace(&mut **gradient, empty), form)
    }

    fn put_gradient(gradient: &mut <dfdx::tensor::Cuda as Storage<f32>>::Vec, buf: Buffer) -> Form {
        let (words, form) = buf.into_words();
        **gradient = words;
        form
    }

    fn execute(&self, tape: OwnedTape<f32, Self::Tape>) -> Result<Gradients<f32, Self::Tape>> {
        // As on the host: dfdx runs a tape only from a scalar, ours is seeded by its last recorded op.
        let scalar: dfdx::tensor::Tensor<(), f32, Self::Tape> =
            self.tape.try_zeros().map_err(failed("backward"))?;
        scalar.put_tape(tape).try_backward().map_err(failed("backward"))
    }

    fn stop() -> CudaError {
        CudaError::Cpu(CpuError::WrongNumElements)
    }
}
