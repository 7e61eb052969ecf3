//! dfdx beneath the suite: the tape, the table of gradients, and the storage of its `Cpu`. With its twin for CUDA the only
//! file that names dfdx, and the place where tensors and gradients pass from one to the other.
//!
//! All `unsafe` that concerns dfdx is here. dfdx 0.13 lends a tensor's values one element at a time, and a pointer made
//! from the loan of one element may not reach the next. A tensor of ours therefore keeps the pointer that its `Vec` had
//! before dfdx took it; of one that dfdx made, every element's address is exposed once (no value is read or moved), and the
//! pointer is one to what was exposed.

use super::backend::Backend;
use super::gradients::Gradients;
use super::{Precision, Shape, Stored, Tensor};
use crate::cpu::GRAIN;
use crate::cpu::gemm::{self, Hand, Packed};
use crate::error::{Error, Result};
use ::dfdx::prelude::{Backward as _, HasShape as _, ReshapeTo as _, Shape as DfdxShape};
use ::dfdx::tensor::{
    CpuError, HasErr, OwnedTape, PutTape as _, Storage, Tape as _, Tensor as DfdxTensor, TensorFromVec as _,
    ZerosTensor as _,
};
use rayon::prelude::*;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

pub use ::dfdx::tensor::Cpu as DfdxCpu;

/// The CPU: dfdx's, and in what numbers matrix products are computed on it.
#[derive(Clone, Debug, Default)]
pub struct Cpu {
    dfdx: DfdxCpu,
    precision: Precision,
}

impl Cpu {
    /// The CPU, with products of this precision.
    ///
    /// # Errors
    /// A precision below f32 on a processor without tile products (AMX).
    pub fn with_precision(precision: Precision) -> Result<Self> {
        if precision != Precision::F32 && !gemm::has_tile_products() {
            let reason = "this processor has no tile products of bfloat16 numbers (AMX-BF16)".to_owned();
            return Err(Error::Device { op: "mixed precision", reason });
        }
        Ok(Self { dfdx: DfdxCpu::default(), precision })
    }

    /// In what numbers matrix products are computed.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// dfdx's CPU beneath: what a dfdx program makes its own tensors on.
    pub fn as_dfdx(&self) -> &DfdxCpu {
        &self.dfdx
    }
}

/// dfdx's own gradients.
pub type DfdxGradients<D> = ::dfdx::tensor::Gradients<f32, <D as Recorder>::Dfdx>;

/// The ops on a tape, as dfdx keeps them.
pub type Operations<D> = OwnedTape<f32, <D as Recorder>::Dfdx>;

/// What a dfdx device's calls fail with.
pub type Stop<D> = <<D as Recorder>::Dfdx as HasErr>::Err;

/// An entry of dfdx's table of gradients.
pub type Entry<D> = <<D as Recorder>::Dfdx as Storage<f32>>::Vec;

/// An empty tensor of dfdx's: what an entry of its table is found by.
type Slot<D> = DfdxTensor<(usize,), f32, <D as Recorder>::Dfdx>;

/// What dfdx's tape has to know of a device.
pub trait Recorder: Clone + std::fmt::Debug + 'static {
    /// The dfdx device whose tape records this device's ops and keeps their gradients.
    type Dfdx: Storage<f32> + ::dfdx::tensor::ZerosTensor<f32>;
    /// Values that a kernel just made, before they become a tensor or a gradient.
    type Buf: 'static;
    /// What an entry of dfdx's table, which is f32, can't say of a buffer: its type and length.
    type Tag: 'static;

    /// The dfdx device.
    fn dfdx(&self) -> &Self::Dfdx;
    /// Takes a gradient out of dfdx's table, as [`Recorder::put_gradient`] left it.
    fn take_gradient(entry: &mut Entry<Self>, tag: Self::Tag) -> Self::Buf;
    /// Puts a gradient into dfdx's table.
    fn put_gradient(entry: &mut Entry<Self>, gradient: Self::Buf) -> Self::Tag;
    /// Runs the tape backwards.
    ///
    /// # Errors
    /// Those of the ops on it, as the tape knows them.
    fn execute(&self, tape: Operations<Self>) -> Result<DfdxGradients<Self>>;
    /// The value that stops dfdx's tape; the reason travels beside it.
    fn stop() -> Stop<Self>;
}

/// The name of a gradient: an empty tensor with an identity of its own in dfdx's table (so that dfdx never allocates, and
/// clears, a gradient that the first writer would overwrite), and a number for what is kept beside the table.
#[derive(Clone, Debug)]
pub(crate) struct Key<D: Recorder> {
    slot: Slot<D>,
    number: u64,
}

impl<D: Recorder> Key<D> {
    pub(super) fn new(device: &D) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let slot = device.dfdx().try_zeros_like(&(0,)).map_err(failed("gradient"))?;
        Ok(Self { slot, number: NEXT.fetch_add(1, Ordering::Relaxed) })
    }

    /// What no other key has.
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

/// The tags of the gradients that dfdx's table holds, by their keys' numbers.
type Tags<D> = Rc<RefCell<HashMap<u64, <D as Recorder>::Tag>>>;

/// dfdx's tape of backward ops.
pub(super) struct Tape<D: Recorder> {
    operations: Operations<D>,
    /// dfdx's tape carries only its device's error; ours is kept here.
    failure: Rc<RefCell<Option<Error>>>,
    tags: Tags<D>,
}

impl<D: Recorder> Default for Tape<D> {
    fn default() -> Self {
        Self { operations: OwnedTape::default(), failure: Rc::default(), tags: Rc::default() }
    }
}

impl<D: Recorder> Tape<D> {
    /// One more op, the first to run backwards.
    pub(super) fn push(&mut self, op: impl FnOnce(TableMut<'_, D>) -> Result<()> + 'static) {
        let (failure, tags) = (self.failure.clone(), self.tags.clone());
        self.operations.add_backward_op(move |gradients| {
            op(TableMut { gradients, tags: &tags }).map_err(|error| {
                failure.borrow_mut().get_or_insert(error);
                D::stop()
            })
        });
    }

    /// Runs the ops, the last first.
    pub(super) fn run(self, device: &D) -> Result<Table<D>> {
        match device.execute(self.operations) {
            Ok(gradients) => Ok(Table { gradients, tags: self.tags }),
            Err(error) => Err(self.failure.borrow_mut().take().unwrap_or(error)),
        }
    }
}

/// dfdx's table of gradients, once the tape has run.
pub(super) struct Table<D: Recorder> {
    gradients: DfdxGradients<D>,
    tags: Tags<D>,
}

impl<D: Recorder> Table<D> {
    pub(super) fn as_mut(&mut self) -> TableMut<'_, D> {
        TableMut { gradients: &mut self.gradients, tags: &self.tags }
    }
}

/// The same while the tape runs.
pub(super) struct TableMut<'a, D: Recorder> {
    gradients: &'a mut DfdxGradients<D>,
    tags: &'a Tags<D>,
}

impl<D: Recorder> TableMut<'_, D> {
    fn entry(&mut self, key: &Key<D>) -> Result<&mut Entry<D>> {
        self.gradients.get_or_alloc_mut(&key.slot).map_err(failed("backward"))
    }

    /// What arrived under a key, if anything did.
    pub(super) fn take(&mut self, key: &Key<D>) -> Result<Option<D::Buf>> {
        let Some(tag) = self.tags.borrow_mut().remove(&key.number) else { return Ok(None) };
        Ok(Some(D::take_gradient(self.entry(key)?, tag)))
    }

    /// Leaves `gradient` under a key.
    pub(super) fn put(&mut self, key: &Key<D>, gradient: D::Buf) -> Result<()> {
        let tag = D::put_gradient(self.entry(key)?, gradient);
        self.tags.borrow_mut().insert(key.number, tag);
        Ok(())
    }
}

/// A failure of a dfdx device during `op`.
pub(crate) fn failed<E: std::fmt::Display>(op: &'static str) -> impl Fn(E) -> Error {
    move |error| Error::Device { op, reason: error.to_string() }
}

/// The values of a tensor on the CPU, in dfdx's storage; clones share them.
#[derive(Clone, Debug)]
pub struct Values(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    device: Cpu,
    /// Contiguous.
    tensor: DfdxTensor<(usize,), f32, DfdxCpu>,
    /// Where its values are; may read them all.
    start: NonNull<f32>,
    /// Whether `start` may write them.
    writable: bool,
    /// The values as a factor of the device's products, once they were one; gone when the values change.
    packed: OnceLock<Packed>,
}

// SAFETY: `start` points into the storage that `tensor` keeps alive, which may itself be sent and shared; it is read
// through `&Shared` and written through `&mut Shared` alone.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Values {
    /// dfdx adopts the `Vec`: values stay where they are.
    fn adopt(device: &Cpu, mut values: Vec<f32>) -> Result<Self> {
        let start = NonNull::new(values.as_mut_ptr()).unwrap_or(NonNull::dangling());
        let len = values.len();
        let tensor = device.dfdx.try_tensor_from_vec(values, (len,)).map_err(failed("store"))?;
        let packed = OnceLock::new();
        Ok(Self(Arc::new(Shared { device: device.clone(), tensor, start, writable: true, packed })))
    }

    /// Values that dfdx made, where they are.
    fn lent(tensor: DfdxTensor<(usize,), f32, DfdxCpu>) -> Self {
        let mut start = std::ptr::dangling::<f32>();
        for i in (0..tensor.shape().0).rev() {
            start = std::ptr::with_exposed_provenance((&raw const tensor[[i]]).expose_provenance());
        }
        let start = NonNull::new(start.cast_mut()).unwrap_or(NonNull::dangling());
        let (device, packed) = (Cpu { dfdx: tensor.device().clone(), ..Cpu::default() }, OnceLock::new());
        Self(Arc::new(Shared { device, tensor, start, writable: false, packed }))
    }

    /// The values, seen as `rows` × `columns` and transposed, as the right-hand factor of the device's products: a linear
    /// layer's weight. Made once a change of the values; `None` where products are in f32, or the first shape asked for was
    /// another.
    pub(crate) fn packed_weight(&self, rows: usize, columns: usize) -> Option<&Packed> {
        let precision = self.0.device.precision;
        if precision == Precision::F32 {
            return None;
        }
        let packed = self.0.packed.get_or_init(|| {
            let weight = gemm::Mat::new(self.values(), rows, columns).transposed();
            Packed::new(weight, Hand::Right, precision, true)
        });
        (packed.size() == (rows, columns)).then_some(packed)
    }

    /// Whether no clone shares them, so that they can be changed in place.
    pub(crate) fn is_alone(&self) -> bool {
        self.0.writable && Arc::strong_count(&self.0) == 1
    }

    /// The values.
    pub(crate) fn values(&self) -> &[f32] {
        // SAFETY: the storage holds `len` values from `start` on, which may read them all; the borrow of `self` keeps it
        // alive, and nothing writes it meanwhile: dfdx copies it before it writes, for this tensor is one of its owners.
        unsafe { std::slice::from_raw_parts(self.0.start.as_ptr(), self.len()) }
    }

    fn len(&self) -> usize {
        self.0.tensor.shape().0
    }
}

impl Shared {
    /// Whether nobody else has these values. dfdx copies shared storage as it lends an element for writing, and the copy,
    /// elsewhere, is then this tensor's: if so it is given back.
    fn exclusive(&mut self) -> std::result::Result<(), Vec<f32>> {
        match self.writable
            && std::ptr::eq(&raw const self.tensor[[0]], self.start.as_ptr())
            && std::ptr::eq(&raw mut self.tensor[[0]], self.start.as_ptr())
        {
            true => Ok(()),
            false => Err(self.tensor.as_vec()),
        }
    }
}

impl Recorder for Cpu {
    type Dfdx = DfdxCpu;
    type Buf = Vec<f32>;
    type Tag = ();

    fn dfdx(&self) -> &DfdxCpu {
        &self.dfdx
    }

    fn take_gradient(entry: &mut Entry<Self>, (): ()) -> Vec<f32> {
        std::mem::take(&mut **entry)
    }

    fn put_gradient(entry: &mut Entry<Self>, gradient: Vec<f32>) {
        **entry = gradient;
    }

    fn execute(&self, tape: Operations<Self>) -> Result<DfdxGradients<Self>> {
        // dfdx runs a tape only from a scalar; ours is seeded by its last recorded op, so any scalar serves.
        let scalar: DfdxTensor<(), f32, DfdxCpu> = self.dfdx.try_zeros().map_err(failed("backward"))?;
        scalar.put_tape(tape).try_backward().map_err(failed("backward"))
    }

    fn stop() -> CpuError {
        CpuError::WrongNumElements
    }
}

impl Backend for Cpu {
    const IS_ASYNC: bool = false;
    type Stored = Values;
    type View<'a> = &'a [f32];
    type ViewMut<'a> = &'a mut [f32];

    fn product_rate(&self) -> Option<f64> {
        Some(gemm::rate::cached(self.precision))
    }

    fn device(stored: &Stored<Self>) -> &Self {
        &stored.0.device
    }

    fn upload(&self, values: Vec<f32>) -> Result<Stored<Self>> {
        self.store(values)
    }

    fn download(stored: &Stored<Self>) -> Vec<f32> {
        Self::view(stored).to_vec()
    }

    fn view(stored: &Stored<Self>) -> &[f32] {
        stored.values()
    }

    fn view_mut(stored: &mut Stored<Self>) -> &mut [f32] {
        let len = stored.len();
        if len == 0 {
            return &mut [];
        }
        let copy = match Arc::get_mut(&mut stored.0) {
            Some(shared) => {
                shared.packed.take();
                shared.exclusive().err()
            }
            None => Some(Self::view(stored).to_vec()),
        };
        if let Some(copy) = copy {
            let device = Self::device(stored).clone();
            *stored = Values::adopt(&device, copy).expect("as many values as there were");
        }
        // SAFETY: as in `values`, and `start` may write: the storage was adopted, and is this tensor's alone, which the
        // exclusive borrow of `stored` keeps so.
        unsafe { std::slice::from_raw_parts_mut(stored.0.start.as_ptr(), len) }
    }

    fn view_buf(buf: &Vec<f32>) -> &[f32] {
        buf
    }

    fn store(&self, buf: Vec<f32>) -> Result<Stored<Self>> {
        Values::adopt(self, buf)
    }

    fn download_buf(&self, buf: &Vec<f32>) -> Vec<f32> {
        buf.clone()
    }

    fn upload_buf(&self, values: Vec<f32>) -> Result<Vec<f32>> {
        Ok(values)
    }

    fn read_buf(&self, buf: &Vec<f32>, values: &mut [f32]) {
        values.copy_from_slice(buf);
    }

    fn write_buf(&self, buf: &mut Vec<f32>, values: &[f32]) -> Result<()> {
        buf.copy_from_slice(values);
        Ok(())
    }

    fn add_assign(&self, dst: &mut Vec<f32>, src: &[f32]) -> Result<()> {
        dst.par_chunks_mut(GRAIN).zip(src.par_chunks(GRAIN)).for_each(|(dst, src)| {
            dst.iter_mut().zip(src).for_each(|(d, s)| *d += s);
        });
        Ok(())
    }
}

impl Tensor<Cpu> {
    /// A dfdx tensor as a constant of ours, on the CPU in f32. Contiguous storage is shared; a permuted or broadcast view is copied into row
    /// order first.
    ///
    /// # Errors
    /// More axes than a [`Shape`] has.
    pub fn from_dfdx<S: DfdxShape>(tensor: DfdxTensor<S, f32, DfdxCpu>) -> Result<Self> {
        let axes: Vec<usize> = tensor.shape().concrete().into_iter().collect();
        let shape = Shape::new(&axes)?;
        let flat = tensor.try_reshape_like(&(shape.numel(),)).map_err(failed("from_dfdx"))?;
        Self::from_stored(Values::lent(flat), shape)
    }

    /// The values as a dfdx tensor of a compile-time or run-time shape, which shares storage.
    ///
    /// # Errors
    /// A shape of another size.
    pub fn to_dfdx<S: DfdxShape>(&self, shape: S) -> Result<DfdxTensor<S, f32, DfdxCpu>> {
        self.shape().check_len(shape.num_elements())?;
        let flat = self.stored.0.tensor.clone();
        flat.try_reshape_like(&shape).map_err(failed("to_dfdx"))
    }
}

/// Takes the gradient at a dfdx tensor out of dfdx's table: what [`Graph::backward_from`](super::Graph::backward_from)
/// goes on from where a dfdx program has our tensor as its input. Zeros if dfdx kept none: trace such an input
/// [`leaky`](::dfdx::prelude::Trace::leaky_trace).
///
/// # Errors
/// The device refuses.
pub fn take_gradient<S: DfdxShape>(
    gradients: &mut DfdxGradients<Cpu>,
    tensor: &DfdxTensor<S, f32, DfdxCpu>,
) -> Result<Vec<f32>> {
    let entry = gradients.get_or_alloc_mut(tensor).map_err(failed("take_gradient"))?;
    Ok(std::mem::take(&mut **entry))
}

impl Gradients<Cpu> {
    /// Moves the gradient at `parameter` into dfdx's table, as that at `tensor`: for a dfdx optimizer, or the rest of a dfdx
    /// program's backward pass. Nothing moves, and false is returned, where none arrived.
    ///
    /// # Errors
    /// A tensor of another size than the parameter; the device refuses.
    pub fn give_to_dfdx<S: DfdxShape>(
        &mut self,
        parameter: &Tensor<Cpu>,
        gradients: &mut DfdxGradients<Cpu>,
        tensor: &DfdxTensor<S, f32, DfdxCpu>,
    ) -> Result<bool> {
        parameter.shape().check_len(tensor.shape().num_elements())?;
        let Some(gradient) = self.take(parameter)? else { return Ok(false) };
        **gradients.get_or_alloc_mut(tensor).map_err(failed("give_to_dfdx"))? = gradient;
        Ok(true)
    }
}
