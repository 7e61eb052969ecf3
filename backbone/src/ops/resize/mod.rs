//! Resizing of feature maps and images by separable filters, with torch's conventions (`interpolate`):
//!
//! - the center of output pixel i lies at (i + ½) · in/out - ½ of the input, or at i (in - 1)/(out - 1) with
//!   aligned corners; nearest takes ⌊i · in/out⌋;
//! - bicubic has a = -0.75, and pixels over the border repeat the border;
//! - with antialiasing the filter is widened by in/out where the map shrinks, and bicubic has a = -0.5.

mod axis;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
pub mod grid;
#[cfg(feature = "cuda")]
mod grid_cuda;
#[cfg(test)]
mod tests;

pub use axis::Axis;

use crate::error::{Error, Result};
use crate::tensor::{Backend, Graph, Tensor};

/// How pixels between pixels are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The pixel before.
    Nearest,
    /// Two neighbors each way.
    Bilinear,
    /// Two neighbors each way, the corner pixels of input and output at the same place.
    BilinearAligned,
    /// Two neighbors each way, more where the map shrinks.
    BilinearAntialias,
    /// Four neighbors each way.
    Bicubic,
    /// Four neighbors each way, the corner pixels of input and output at the same place.
    BicubicAligned,
    /// Four neighbors each way, more where the map shrinks.
    BicubicAntialias,
}

/// Resizing on a device; planes are rows.input_size × columns.input_size.
pub trait ResizeKernel: Backend {
    /// y of x.
    ///
    /// # Errors
    /// The device refuses.
    fn resize_forward(&self, x: Self::View<'_>, rows: &Axis, columns: &Axis) -> Result<Self::Buf>;
    /// The adjoint: dx of dy.
    ///
    /// # Errors
    /// The device refuses.
    fn resize_backward(&self, dy: Self::View<'_>, rows: &Axis, columns: &Axis) -> Result<Self::Buf>;
}

/// The map at another size.
///
/// # Shapes
/// x (B, C, H, W) → (B, C, size).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn resize<D: ResizeKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    size: [usize; 2],
    filter: Interpolation,
) -> Result<Tensor<D>> {
    const OP: &str = "resize";
    let [batch, channels, height, width] = x.axes(OP, "(B, C, H, W)")?;
    if height * width == 0 || size.contains(&0) {
        let reason = format!("{height}×{width} pixels to {}×{}: sizes must be at least 1", size[0], size[1]);
        return Err(Error::config(OP, reason));
    }
    if [height, width] == size {
        return Ok(x.clone());
    }
    let (rows, columns) = (Axis::new(filter, height, size[0]), Axis::new(filter, width, size[1]));
    let y = x.device().resize_forward(x.view(), &rows, &columns)?;
    graph.record(x.device(), y, [batch, channels, size[0], size[1]], &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().resize_backward(D::view_buf(&dy), &rows, &columns)?;
            grads.add(&x, dx)
        }
    })
}
