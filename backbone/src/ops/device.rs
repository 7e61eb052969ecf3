//! What the ops need of a device. A device keeps values, records on a dfdx tape and has a kernel for every op;
//! `Cpu` is the one that is always there.

use crate::error::Result;
use crate::tensor::{Slot, Stored};
use dfdx::tensor::{Gradients, HasErr, OwnedTape, Storage};

/// Storage and tape of a device, as the kernels see them.
pub trait Backend: Clone + std::fmt::Debug + 'static {
    /// Whether calls return before their work is done, so that reading a value waits.
    const WAITS: bool;
    /// The dfdx device whose tape records this device's ops and keeps their gradients.
    type Tape: Storage<f32>;
    /// The values of a tensor; cloning shares them.
    type Stored: Clone + std::fmt::Debug;
    /// Read access to a tensor's values (host slice, device pointer).
    type View<'a>: Copy;
    /// Write access to a tensor's values.
    type ViewMut<'a>;
    /// Values that a kernel just made, before they become a tensor or a gradient.
    type Buf: 'static;

    /// The device that holds a tensor's values.
    fn device(stored: &Stored<Self>) -> &Self;
    /// Waits until everything that was asked of the device is done: before reading a clock.
    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
    /// Copies (on the host: moves) values to the device.
    fn upload(&self, values: Vec<f32>) -> Result<Stored<Self>>;
    /// Copies a tensor's values to the host.
    fn download(stored: &Stored<Self>) -> Vec<f32>;
    /// Read access to a tensor.
    fn view(stored: &Stored<Self>) -> Self::View<'_>;
    /// Write access to a tensor, copied first if its storage is shared.
    fn view_mut(stored: &mut Stored<Self>) -> Self::ViewMut<'_>;
    /// Read access to a kernel's result.
    fn view_buf(buf: &Self::Buf) -> Self::View<'_>;
    /// A kernel's result as a tensor, without a copy.
    fn store(&self, buf: Self::Buf) -> Result<Stored<Self>>;
    /// A kernel's result on the host.
    fn download_buf(&self, buf: &Self::Buf) -> Vec<f32>;
    /// Values on the device that are no tensor yet.
    fn upload_buf(&self, values: Vec<f32>) -> Result<Self::Buf>;
    /// The same from borrowed values, such as a batch's.
    fn upload_slice(&self, values: &[f32]) -> Result<Self::Buf> {
        self.upload_buf(values.to_vec())
    }
    /// `dst += src`, element by element.
    fn add_assign(&self, dst: &mut Self::Buf, src: Self::View<'_>) -> Result<()>;

    /// What the tape's table, which keeps f32 only, can't say of a gradient: its type and length.
    type Form: Copy + 'static;
    /// An empty tensor with an identity of its own: the name of a gradient on the tape.
    fn gradient_slot(&self) -> Result<Slot<Self>>;
    /// Takes a gradient off the tape's table, as [`Backend::put_gradient`] left it.
    fn take_gradient(gradient: &mut <Self::Tape as Storage<f32>>::Vec, form: Self::Form) -> Self::Buf;
    /// Puts a gradient on the tape's table.
    fn put_gradient(gradient: &mut <Self::Tape as Storage<f32>>::Vec, buf: Self::Buf) -> Self::Form;
    /// Runs the tape backwards.
    fn execute(&self, tape: OwnedTape<f32, Self::Tape>) -> Result<Gradients<f32, Self::Tape>>;
    /// The value that stops dfdx's tape; the reason travels beside it.
    fn stop() -> <Self::Tape as HasErr>::Err;
}

/// Declares [`Device`] as every kernel trait together.
macro_rules! device_of {
    ($($kernel:path),* $(,)?) => {
        /// A device with a kernel for every op.
        pub trait Device: Backend $(+ $kernel)* {}
        impl<D: Backend $(+ $kernel)*> Device for D {}
    };
}

device_of!(
    super::adamw::AdamWKernel,
    super::add::AddKernel,
    super::attention::AttentionKernel,
    super::batch_norm::BatchNormKernel,
    super::bspline::BsplineKernel,
    super::channel_norm::ChannelNormKernel,
    super::conv2d::Conv2dKernel,
    super::dropout::DropoutKernel,
    super::elementwise_loss::ElementwiseLossKernel,
    super::gelu::GeluKernel,
    super::layer_norm::LayerNormKernel,
    super::layout::LayoutKernel,
    super::linear::LinearKernel,
    super::nms::NmsKernel,
    super::patchify::PatchifyKernel,
    super::pool::PoolKernel,
    super::rational::RationalKernel,
    super::relu::ReluKernel,
    super::resample::ResampleKernel,
    super::resize::ResizeKernel,
    super::roi_align::RoiAlignKernel,
    super::softmax_cross_entropy::SoftmaxCrossEntropyKernel,
    super::tokens::TokensKernel,
    super::watch::WatchKernel,
    super::window_partition::WindowKernel,
);
