//! A device of shapes without values, as PyTorch's `meta`: a forward pass on it does no arithmetic and adds up what
//! arithmetic there would have been. So a model's cost is that of the model that runs, not of a second description of it.
//!
//! Values read from it are zeros. It has no gradients, and kernels whose output depends on values are errors.

mod kernels;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::tensor::backend::Backend;
use crate::tensor::dfdx::{Cpu, DfdxCpu, DfdxGradients, Entry, Operations, Recorder, Stop};

/// What the kernels of a [`Meta`] would have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Multiply-adds of linear layers and convolutions.
    pub linear: usize,
    /// Multiply-adds of the products inside the attention.
    pub attention: usize,
    /// FLOPs of norms and functions as the paper counts them: 5 an element of a layer norm, 2m + 2n + 3 of a rational,
    /// 2 of a spline's input.
    pub elementwise: usize,
    /// Elements that linear layers and convolutions give (fvcore's "activations").
    pub outputs: usize,
}

impl Tally {
    /// Floating-point operations of all matrix products, a multiply-add being two.
    pub fn operations(&self) -> usize {
        2 * (self.linear + self.attention)
    }
}

/// The device; clones add to one tally.
#[derive(Clone, Debug, Default)]
pub struct Meta {
    dfdx: DfdxCpu,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    linear: AtomicUsize,
    attention: AtomicUsize,
    elementwise: AtomicUsize,
    outputs: AtomicUsize,
}

impl Meta {
    /// What was added up since the last call.
    pub fn take(&self) -> Tally {
        let Counters { linear, attention, elementwise, outputs } = &*self.counters;
        let take = |counter: &AtomicUsize| counter.swap(0, Ordering::Relaxed);
        Tally {
            linear: take(linear),
            attention: take(attention),
            elementwise: take(elementwise),
            outputs: take(outputs),
        }
    }

    fn add(&self, more: Tally) {
        let Counters { linear, attention, elementwise, outputs } = &*self.counters;
        linear.fetch_add(more.linear, Ordering::Relaxed);
        attention.fetch_add(more.attention, Ordering::Relaxed);
        elementwise.fetch_add(more.elementwise, Ordering::Relaxed);
        outputs.fetch_add(more.outputs, Ordering::Relaxed);
    }
}

/// What depends on values.
fn no_values<T>(op: &'static str) -> Result<T> {
    Err(Error::Device {
        op,
        reason: "the meta device keeps shapes only, no values and no gradients".to_owned(),
    })
}

/// A tensor's length in place of its values.
#[derive(Clone, Debug)]
pub struct Length {
    device: Meta,
    len: usize,
}

impl Recorder for Meta {
    type Dfdx = DfdxCpu;
    type Buf = usize;
    type Tag = usize;

    fn dfdx(&self) -> &DfdxCpu {
        &self.dfdx
    }

    fn take_gradient(_: &mut Entry<Self>, len: usize) -> usize {
        len
    }

    fn put_gradient(_: &mut Entry<Self>, len: usize) -> usize {
        len
    }

    fn execute(&self, _: Operations<Self>) -> Result<DfdxGradients<Self>> {
        no_values("backward")
    }

    fn stop() -> Stop<Self> {
        Cpu::stop()
    }
}

impl Backend for Meta {
    const IS_ASYNC: bool = false;
    const HAS_VALUES: bool = false;
    type Stored = Length;
    type View<'a> = usize;
    type ViewMut<'a> = usize;

    fn device(stored: &Length) -> &Self {
        &stored.device
    }

    fn upload(&self, values: Vec<f32>) -> Result<Length> {
        self.store(values.len())
    }

    fn upload_made(&self, len: usize, _: impl FnOnce() -> Vec<f32>) -> Result<Length> {
        self.store(len)
    }

    fn download(stored: &Length) -> Vec<f32> {
        vec![0.0; stored.len]
    }

    fn view(stored: &Length) -> usize {
        stored.len
    }

    fn view_mut(stored: &mut Length) -> usize {
        stored.len
    }

    fn view_buf(buf: &usize) -> usize {
        *buf
    }

    fn store(&self, len: usize) -> Result<Length> {
        Ok(Length { device: self.clone(), len })
    }

    fn download_buf(&self, buf: &usize) -> Vec<f32> {
        vec![0.0; *buf]
    }

    fn upload_buf(&self, values: Vec<f32>) -> Result<usize> {
        Ok(values.len())
    }

    fn add_assign(&self, _: &mut usize, _: usize) -> Result<()> {
        Ok(())
    }
}
