//! What storage a device offers. Kernels are no part of it: each op declares its own (`ops`), and a device that has
//! them all is a [`Device`](crate::Device).

use super::Stored;
use super::dfdx::Recorder;
use crate::error::Result;

/// A device that keeps the values of tensors. Its gradients lie on dfdx's tape ([`Recorder`]).
pub trait Backend: Recorder {
    /// Whether calls return before their work is done, so that reading a value waits.
    const IS_ASYNC: bool;
    /// Whether values are kept, or shapes alone ([`Meta`](crate::meta::Meta)): what takes long to make can then be left out.
    const HAS_VALUES: bool = true;
    /// The values of a tensor; cloning shares them.
    type Stored: Clone + std::fmt::Debug;
    /// Read access to a tensor's values (host slice, device buffer).
    type View<'a>: Copy;
    /// Write access to a tensor's values.
    type ViewMut<'a>;

    /// The device that holds a tensor's values.
    fn device(stored: &Stored<Self>) -> &Self;
    /// Waits until everything that was asked of the device is done: before reading a clock.
    ///
    /// # Errors
    /// What the device says of work that failed.
    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
    /// FLOP/s of matrix products in the device's numbers whose factors lie in its caches, all threads together, measured now;
    /// `None` where nobody knows how.
    fn product_rate(&self) -> Option<f64> {
        None
    }
    /// Copies (on the host: moves) values to the device.
    ///
    /// # Errors
    /// The device refuses.
    fn upload(&self, values: Vec<f32>) -> Result<Stored<Self>>;
    /// As [`Backend::upload`], of `len` values that are made only if the device keeps values.
    ///
    /// # Errors
    /// The device refuses.
    fn upload_made(&self, len: usize, make: impl FnOnce() -> Vec<f32>) -> Result<Stored<Self>> {
        let values = make();
        debug_assert_eq!(values.len(), len);
        self.upload(values)
    }
    /// Copies a tensor's values to the host.
    fn download(stored: &Stored<Self>) -> Vec<f32>;
    /// Read access to a tensor.
    fn view(stored: &Stored<Self>) -> Self::View<'_>;
    /// Write access to a tensor, copied first if its storage is shared.
    fn view_mut(stored: &mut Stored<Self>) -> Self::ViewMut<'_>;
    /// Read access to a kernel's result.
    fn view_buf(buf: &Self::Buf) -> Self::View<'_>;
    /// A kernel's result as a tensor, without a copy.
    ///
    /// # Errors
    /// The device refuses.
    fn store(&self, buf: Self::Buf) -> Result<Stored<Self>>;
    /// A kernel's result on the host.
    fn download_buf(&self, buf: &Self::Buf) -> Vec<f32>;
    /// Values on the device that are no tensor yet.
    ///
    /// # Errors
    /// The device refuses.
    fn upload_buf(&self, values: Vec<f32>) -> Result<Self::Buf>;
    /// The same from borrowed values, such as a batch's.
    ///
    /// # Errors
    /// The device refuses.
    fn upload_slice(&self, values: &[f32]) -> Result<Self::Buf> {
        self.upload_buf(values.to_vec())
    }
    /// Copies a kernel's result to `values`, as long as it is.
    fn read_buf(&self, buf: &Self::Buf, values: &mut [f32]) {
        values.copy_from_slice(&self.download_buf(buf));
    }
    /// Replaces a kernel's result by `values`, as long as it is.
    ///
    /// # Errors
    /// The device refuses.
    fn write_buf(&self, buf: &mut Self::Buf, values: &[f32]) -> Result<()> {
        *buf = self.upload_slice(values)?;
        Ok(())
    }
    /// `dst += src`, element by element.
    ///
    /// # Errors
    /// Lengths that differ; the device refuses.
    fn add_assign(&self, dst: &mut Self::Buf, src: Self::View<'_>) -> Result<()>;
}
