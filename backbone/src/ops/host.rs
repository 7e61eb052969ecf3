//! The one door to the storage of dfdx's `Cpu` tensors: slices without a copy, and buffers that are not
//! cleared before a kernel overwrites them. All `unsafe` that concerns dfdx is in this file.

use super::device::Backend;
use crate::error::{Error, Result};
use crate::tensor::Stored;
use dfdx::prelude::{Backward as _, HasShape as _};
use dfdx::tensor::{CpuError, Gradients, HasErr, OwnedTape, PutTape, Storage, TensorFromVec, ZerosTensor};
use rayon::prelude::*;

pub use dfdx::tensor::Cpu;

/// Elements that one task of a parallel element-wise loop handles: 64 KiB, which stays in a core's cache.
pub const GRAIN: usize = 16 * 1024;

/// A buffer of `len` values that `fill` writes completely.
///
/// `fill` sees arbitrary values (NaN in debug builds, so that a kernel which forgets some shows in tests) and
/// must write every one before it reads it. Saves the pass over memory that clearing would cost.
pub fn overwritten(len: usize, fill: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut values: Vec<f32> = Vec::with_capacity(len);
    let spare = &mut values.spare_capacity_mut()[..len];
    if cfg!(debug_assertions) {
        spare.iter_mut().for_each(|v| {
            v.write(f32::NAN);
        });
    }
    // SAFETY: the slice covers `len` allocated f32s; every bit pattern is a valid f32, and `fill`'s contract is
    // to write before it reads. `set_len` follows after all `len` of them were written.
    unsafe {
        fill(std::slice::from_raw_parts_mut(spare.as_mut_ptr().cast::<f32>(), len));
        values.set_len(len);
    }
    values
}

impl Backend for Cpu {
    const WAITS: bool = false;
    type Tape = Self;
    type Stored = dfdx::tensor::Tensor<(usize,), f32, Self>;
    type View<'a> = &'a [f32];
    type ViewMut<'a> = &'a mut [f32];
    type Buf = Vec<f32>;
    type Form = ();

    fn device(stored: &Stored<Self>) -> &Self {
        stored.device()
    }

    fn upload(&self, values: Vec<f32>) -> Result<Stored<Self>> {
        self.store(values)
    }

    fn download(stored: &Stored<Self>) -> Vec<f32> {
        Self::view(stored).to_vec()
    }

    fn view(stored: &Stored<Self>) -> &[f32] {
        let len = stored.shape().0;
        if len == 0 {
            return &[];
        }
        // SAFETY: a `Stored` has one axis and comes only from `store`, `upload` and `gradient_slot`, so its
        // stride is 1 and its `Vec` holds `len` values from the first on; the borrow of `stored` keeps the
        // storage alive and unchanged for the slice's life.
        unsafe { std::slice::from_raw_parts(&raw const stored[[0]], len) }
    }

    fn view_mut(stored: &mut Stored<Self>) -> &mut [f32] {
        let len = stored.shape().0;
        if len == 0 {
            return &mut [];
        }
        // SAFETY: as in `view`; indexing mutably makes the storage unique first (copying it if shared), and
        // the exclusive borrow of `stored` keeps it so.
        unsafe { std::slice::from_raw_parts_mut(&raw mut stored[[0]], len) }
    }

    fn view_buf(buf: &Vec<f32>) -> &[f32] {
        buf
    }

    fn store(&self, buf: Vec<f32>) -> Result<Stored<Self>> {
        let len = buf.len();
        self.try_tensor_from_vec(buf, (len,)).map_err(|e| device_error("store", e))
    }

    fn download_buf(&self, buf: &Vec<f32>) -> Vec<f32> {
        buf.clone()
    }

    fn upload_buf(&self, values: Vec<f32>) -> Result<Vec<f32>> {
        Ok(values)
    }

    fn add_assign(&self, dst: &mut Vec<f32>, src: &[f32]) -> Result<()> {
        dst.par_chunks_mut(GRAIN).zip(src.par_chunks(GRAIN)).for_each(|(dst, src)| {
            dst.iter_mut().zip(src).for_each(|(d, s)| *d += s);
        });
        Ok(())
    }

    fn gradient_slot(&self) -> Result<Stored<Self>> {
        self.store(Vec::new())
    }

    fn take_gradient(gradient: &mut <Self as Storage<f32>>::Vec, (): ()) -> Vec<f32> {
        std::mem::take(&mut **gradient)
    }

    fn put_gradient(gradient: &mut <Self as Storage<f32>>::Vec, buf: Vec<f32>) {
        **gradient = buf;
    }

    fn execute(&self, tape: OwnedTape<f32, Self>) -> Result<Gradients<f32, Self>> {
        // dfdx runs a tape only from a scalar; ours is seeded by its last recorded op, so any scalar serves.
        let scalar: dfdx::tensor::Tensor<(), f32, Self> =
            self.try_zeros().map_err(|e| device_error("backward", e))?;
        scalar.put_tape(tape).try_backward().map_err(|e| device_error("backward", e))
    }

    fn stop() -> CpuError {
        CpuError::WrongNumElements
    }
}

fn device_error(op: &'static str, error: <Cpu as HasErr>::Err) -> Error {
    Error::Device { op, reason: error.to_string() }
}
