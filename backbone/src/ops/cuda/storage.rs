//! Tensors on the GPU: cudarc's buffers behind a counted reference, and gradients in the table of dfdx's tape.

use super::launch::{Grid, failed};
use super::{Cuda, View, kernels};
use crate::error::Result;
use crate::ops::device::Backend;
use crate::tensor::{Key, Stored};
use cudarc::driver::{CudaSlice, DeviceSlice as _};
use dfdx::prelude::{Backward as _, Storage, ZerosTensor as _};
use dfdx::tensor::{CpuError, CudaError, Gradients, OwnedTape, PutTape as _};
use std::sync::Arc;

/// A tensor's values on a GPU; clones share them.
#[derive(Clone, Debug)]
pub struct Values {
    device: Cuda,
    slice: Arc<CudaSlice<f32>>,
}

impl Backend for Cuda {
    type Tape = dfdx::tensor::Cuda;
    type Stored = Values;
    type View<'a> = View<'a>;
    type ViewMut<'a> = &'a mut CudaSlice<f32>;
    type Buf = CudaSlice<f32>;

    fn device(stored: &Stored<Self>) -> &Self {
        &stored.device
    }

    fn upload(&self, values: Vec<f32>) -> Result<Stored<Self>> {
        self.store(self.upload_buf(values)?)
    }

    fn download(stored: &Stored<Self>) -> Vec<f32> {
        Self::download_buf(&stored.slice)
    }

    fn view(stored: &Stored<Self>) -> View<'_> {
        &stored.slice
    }

    fn view_mut(stored: &mut Stored<Self>) -> &mut CudaSlice<f32> {
        Arc::make_mut(&mut stored.slice)
    }

    fn view_buf(buf: &CudaSlice<f32>) -> View<'_> {
        buf
    }

    fn store(&self, buf: CudaSlice<f32>) -> Result<Stored<Self>> {
        Ok(Values { device: self.clone(), slice: Arc::new(buf) })
    }

    fn download_buf(buf: &CudaSlice<f32>) -> Vec<f32> {
        // The trait has no error here, as on the host nothing can fail. A copy fails only after a kernel did, which
        // leaves the whole context unusable; not-a-number then stops whoever reads the values.
        let mut host = vec![0.0; buf.len()];
        match buf.device().dtoh_sync_copy_into(buf, &mut host) {
            Ok(()) => host,
            Err(_) => vec![f32::NAN; buf.len()],
        }
    }

    fn upload_buf(&self, values: Vec<f32>) -> Result<CudaSlice<f32>> {
        let mut buf = self.empty(values.len())?;
        // Small lists go without waiting; large ones would be kept on the host as long as the buffer lives.
        let copied = match values.len() {
            0 => Ok(()),
            1..=1024 => self.context.driver().htod_copy_into(values, &mut buf),
            _ => self.context.driver().htod_sync_copy_into(&values, &mut buf),
        };
        copied.map_err(failed("copy to the GPU"))?;
        Ok(buf)
    }

    fn add_assign(&self, dst: &mut CudaSlice<f32>, src: View<'_>) -> Result<()> {
        let count = src.len();
        kernels::add_assign(self.context(), Grid::each(count), dst, src, count as u64)
    }

    fn gradient_key(&self) -> Result<Key<Self>> {
        self.tape.try_zeros_like(&(0,)).map_err(failed("gradient"))
    }

    fn take_gradient(gradient: &mut <dfdx::tensor::Cuda as Storage<f32>>::Vec) -> Option<CudaSlice<f32>> {
        if gradient.len() == 0 {
            return None;
        }
        let empty = gradient.device().null().ok()?;
        Some(std::mem::replace(&mut **gradient, empty))
    }

    fn put_gradient(gradient: &mut <dfdx::tensor::Cuda as Storage<f32>>::Vec, buf: CudaSlice<f32>) {
        **gradient = buf;
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
