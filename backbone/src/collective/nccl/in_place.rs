//! Gradients summed where they lie. Sums of a bucket begin when the default stream has made its gradients, on the stream of
//! NCCL; the default stream, which goes on with the backward pass, waits for them once they are asked for. The host waits
//! for neither.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use cudarc::driver::{DevicePtrMut as _, DeviceSlice as _};

use super::Nccl;
use super::communicator::Communicator;
use super::library::Type;
use super::stream::{Mark, Stream};
use crate::collective::in_place::{BufferSums, InPlaceSums, PendingBuffers, Times as Known};
use crate::collective::{Collective, GradientFormat};
use crate::cuda::{Buffer, Cuda};
use crate::error::Result;

/// Marks around sums whose times are not known yet.
pub(super) type Times = Rc<RefCell<VecDeque<Timing>>>;

/// Around a bucket's sums, and around what the default stream waited for them.
pub(super) struct Timing {
    sums: [Mark; 2],
    waits: [Mark; 2],
}

/// The way of one GPU.
struct Way<'p> {
    nccl: &'p Nccl,
    device: &'p Cuda,
}

impl InPlaceSums for Cuda {
    fn buffer_sums<'p>(&'p self, processes: &'p dyn Collective) -> Option<Box<dyn BufferSums<Self> + 'p>> {
        let nccl = processes.nccl().filter(|nccl| nccl.ordinal() == self.ordinal())?;
        Some(Box::new(Way { nccl, device: self }))
    }
}

impl BufferSums<Cuda> for Way<'_> {
    fn begin(&self, buffers: Vec<Buffer>, format: GradientFormat) -> Result<Box<dyn PendingBuffers<Cuda>>> {
        let context = self.device.context();
        let convert = |buffer: Buffer| -> Result<Buffer> {
            Ok(match format {
                GradientFormat::F32 => buffer.into_f32(context)?.into(),
                GradientFormat::Bf16 => buffer.into_bf16(context)?.into(),
            })
        };
        let mut buffers = buffers.into_iter().map(convert).collect::<Result<Vec<_>>>()?;
        let addresses: Vec<_> = buffers
            .iter_mut()
            .map(|buffer| match buffer {
                Buffer::F32(values) => (*values.values_mut().device_ptr_mut(), values.len()),
                Buffer::Bf16(values) => (*values.words_mut().device_ptr_mut(), values.len()),
            })
            .collect();
        let kind = match format {
            GradientFormat::F32 => Type::F32,
            GradientFormat::Bf16 => Type::Bf16,
        };
        let Nccl { stream, communicator, .. } = self.nccl;
        stream.waits_for(&stream.mark_default()?)?;
        let begin = stream.mark()?;
        let mut sums = Sums {
            buffers,
            device: self.device.clone(),
            stream: stream.clone(),
            communicator: communicator.clone(),
            times: self.nccl.times.clone(),
            marks: None,
        };
        // SAFETY: the buffers hold so many values of that type, are the sums' alone, and are freed in the order of the
        // default stream, which waits for this one before (`wait`, `drop`).
        unsafe { communicator.all_reduce(&addresses, kind, stream) }?;
        sums.marks = Some([begin, stream.mark()?]);
        Ok(Box::new(sums))
    }
}

/// Sums under way.
struct Sums {
    buffers: Vec<Buffer>,
    device: Cuda,
    stream: Rc<Stream>,
    communicator: Arc<Communicator>,
    times: Times,
    /// Before and behind the sums; none where they could not be asked for, or were waited for.
    marks: Option<[Mark; 2]>,
}

impl PendingBuffers<Cuda> for Sums {
    fn wait(mut self: Box<Self>) -> Result<(Vec<Buffer>, Known)> {
        self.communicator.check_peers("sum of gradients")?;
        if let Some(sums) = self.marks.take() {
            let before = self.stream.mark_default()?;
            self.stream.default_waits_for(&sums[1])?;
            let waits = [before, self.stream.mark_default()?];
            self.times.borrow_mut().push_back(Timing { sums, waits });
        }
        let widen = |buffer: Buffer| Ok(buffer.into_f32(self.device.context())?.into());
        let buffers = std::mem::take(&mut self.buffers).into_iter().map(widen).collect::<Result<_>>()?;
        Ok((buffers, known(&self.times)?))
    }
}

impl Drop for Sums {
    /// NCCL may still read and write what is freed.
    fn drop(&mut self) {
        let behind = match self.marks.take() {
            Some([_, behind]) => Ok(behind),
            None if self.buffers.is_empty() => return,
            None => self.stream.mark(),
        };
        let ordered = behind.and_then(|behind| self.stream.default_waits_for(&behind));
        if ordered.is_err() {
            // Rather lost than written to by two.
            std::mem::take(&mut self.buffers).into_iter().for_each(std::mem::forget);
        }
    }
}

/// Times of the sums that are done by now.
fn known(times: &Times) -> Result<Known> {
    let mut known = Known::default();
    let mut times = times.borrow_mut();
    while let Some(Timing { sums, waits }) = times.front() {
        if !waits[1].is_reached()? {
            break;
        }
        known.summing += sums[1].since(&sums[0]);
        known.waited += waits[1].since(&waits[0]);
        times.pop_front();
    }
    Ok(known)
}
