//! Sums over processes of a device's own buffers, where they lie, for devices and processes that have a way for it: a GPU
//! over NCCL. Else buffers go through the host ([`Collective::begin_sum`]).

use std::time::Duration;

use super::{Collective, GradientFormat};
use crate::error::Result;
use crate::tensor::Backend;

/// What sums have cost, as far as it is known by now: on a GPU that is some time after they were asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// The time for which sums were under way.
    pub summing: Duration,
    /// The part of it for which nothing else was.
    pub waited: Duration,
}

/// Sums that were begun. Their buffers are nobody else's until they are made.
pub trait PendingBuffers<D: Backend> {
    /// The sums, in the order of the buffers; a device that works by itself makes its next work wait for them, not its
    /// caller.
    ///
    /// # Errors
    /// A process that is gone; the device refuses.
    fn wait(self: Box<Self>) -> Result<(Vec<D::Buf>, Times)>;
}

/// The way by which a device's buffers are summed.
pub trait BufferSums<D: Backend> {
    /// Begins the sums over all processes of each of `buffers`, which travel in `format`. All processes begin the same sums
    /// in the same order.
    ///
    /// # Errors
    /// A process that is gone; the device refuses.
    fn begin(&self, buffers: Vec<D::Buf>, format: GradientFormat) -> Result<Box<dyn PendingBuffers<D>>>;
}

/// A device whose buffers may be summed where they lie.
pub trait InPlaceSums: Backend {
    /// The way to the same device of `processes`; none by default.
    fn buffer_sums<'p>(&'p self, processes: &'p dyn Collective) -> Option<Box<dyn BufferSums<Self> + 'p>> {
        let _ = processes;
        None
    }
}

impl InPlaceSums for crate::Cpu {}
impl InPlaceSums for crate::meta::Meta {}
