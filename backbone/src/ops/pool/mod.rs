//! Max pooling, average pooling and adaptive average pooling of feature maps.
//!
//! Average and adaptive pools are one kernel: a window is a range of rows by a range of columns, and what its sum
//! is divided by.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use super::window::Placement;
use crate::error::{Error, Result};
use crate::tensor::{Backend, Graph, Tensor};
use std::ops::Range;

/// Sizes of a max pool, for `planes` = B · C planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxGeometry {
    /// Height and width of a plane of x.
    pub input: [usize; 2],
    /// Height and width of a plane of y.
    pub output: [usize; 2],
    /// Height and width of a window.
    pub kernel: [usize; 2],
    /// Stride and padding; padded pixels are never the greatest.
    pub placement: Placement,
}

/// Windows of an average pool: every row range with every column range.
#[derive(Clone, Debug, PartialEq)]
pub struct Windows {
    /// Height and width of a plane of x.
    pub input: [usize; 2],
    /// Rows of x under each row of y.
    pub rows: Vec<Range<usize>>,
    /// Columns of x under each column of y.
    pub columns: Vec<Range<usize>>,
    /// What sums are divided by; the number of pixels in the window if absent.
    pub area: Option<f32>,
}

impl Windows {
    /// The factor of the window of row `i` and column `j` of y.
    pub fn factor(&self, i: usize, j: usize) -> f32 {
        1.0 / self.area.unwrap_or((self.rows[i].len() * self.columns[j].len()) as f32)
    }
}

/// Whether pixels added by padding enter an average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaddingCounts {
    /// As zeros: every sum is divided by the size of the kernel.
    AsZeros,
    /// They do not: sums are divided by the number of pixels of x in the window.
    NotAtAll,
}

/// Pooling on a device.
pub trait PoolKernel: Backend {
    /// The greatest value of each window; NaN if it holds one.
    ///
    /// # Errors
    /// The device refuses.
    fn max_pool_forward(&self, x: Self::View<'_>, geometry: &MaxGeometry) -> Result<Self::Buf>;
    /// dy at the first greatest value of each window.
    ///
    /// # Errors
    /// The device refuses.
    fn max_pool_backward(
        &self,
        x: Self::View<'_>,
        dy: Self::View<'_>,
        geometry: &MaxGeometry,
    ) -> Result<Self::Buf>;
    /// The average of each window.
    ///
    /// # Errors
    /// The device refuses.
    fn average_pool_forward(&self, x: Self::View<'_>, windows: &Windows) -> Result<Self::Buf>;
    /// dy spread over each window.
    ///
    /// # Errors
    /// The device refuses.
    fn average_pool_backward(&self, dy: Self::View<'_>, windows: &Windows) -> Result<Self::Buf>;
}

/// The greatest value of each window.
///
/// # Shapes
/// x (B, C, H, W) → (B, C, (H + 2p - K)/s + 1, …).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn max_pool<D: PoolKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    kernel: [usize; 2],
    placement: Placement,
) -> Result<Tensor<D>> {
    const OP: &str = "max pool";
    let [batch, channels, height, width] = x.axes(OP, "(B, C, H, W)")?;
    let input = [height, width];
    let output = placement.windows(OP, input, kernel)?;
    check_padding(OP, kernel, placement)?;
    let geometry = MaxGeometry { input, output, kernel, placement };
    let y = x.device().max_pool_forward(x.view(), &geometry)?;
    graph.record(x.device(), y, [batch, channels, output[0], output[1]], &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().max_pool_backward(x.view(), D::view_buf(&dy), &geometry)?;
            grads.add(&x, dx)
        }
    })
}

/// The average of each window.
///
/// # Shapes
/// x (B, C, H, W) → (B, C, (H + 2p - K)/s + 1, …).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn average_pool<D: PoolKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    kernel: [usize; 2],
    placement: Placement,
    padding: PaddingCounts,
) -> Result<Tensor<D>> {
    const OP: &str = "average pool";
    let [_, _, height, width] = x.axes(OP, "(B, C, H, W)")?;
    let input = [height, width];
    let output = placement.windows(OP, input, kernel)?;
    check_padding(OP, kernel, placement)?;
    let ranges = |axis: usize| -> Vec<Range<usize>> {
        let clip = |at: usize| at.saturating_sub(placement.padding[axis]).min(input[axis]);
        let start = |i: usize| i * placement.stride[axis];
        (0..output[axis]).map(|i| clip(start(i))..clip(start(i) + kernel[axis])).collect()
    };
    let area = (padding == PaddingCounts::AsZeros).then_some((kernel[0] * kernel[1]) as f32);
    average(graph, x, Windows { input, rows: ranges(0), columns: ranges(1), area })
}

/// Averages over a grid of `output` windows that cover the map and overlap by at most one pixel each way:
/// window i of n spans ⌊i H/n⌋ to ⌈(i + 1) H/n⌉.
///
/// # Shapes
/// x (B, C, H, W) → (B, C, output).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn adaptive_average_pool<D: PoolKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    output: [usize; 2],
) -> Result<Tensor<D>> {
    const OP: &str = "adaptive average pool";
    let [_, _, height, width] = x.axes(OP, "(B, C, H, W)")?;
    let input = [height, width];
    if output.contains(&0) || input.contains(&0) {
        let reason = format!("{height}×{width} pixels to {output:?}: sizes must be at least 1");
        return Err(Error::config(OP, reason));
    }
    let ranges = |axis: usize| -> Vec<Range<usize>> {
        let (size, count) = (input[axis], output[axis]);
        (0..count).map(|i| i * size / count..((i + 1) * size).div_ceil(count)).collect()
    };
    average(graph, x, Windows { input, rows: ranges(0), columns: ranges(1), area: None })
}

/// The average over all pixels.
///
/// # Shapes
/// x (B, C, H, W) → (B, C).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn global_average_pool<D: PoolKernel>(graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
    let y = adaptive_average_pool(graph, x, [1, 1])?;
    let [batch, channels, _, _] = x.axes("global average pool", "(B, C, H, W)")?;
    y.reshape([batch, channels])
}

fn average<D: PoolKernel>(graph: &mut Graph<D>, x: &Tensor<D>, windows: Windows) -> Result<Tensor<D>> {
    let [batch, channels, _, _] = x.axes("average pool", "(B, C, H, W)")?;
    let shape = [batch, channels, windows.rows.len(), windows.columns.len()];
    let y = x.device().average_pool_forward(x.view(), &windows)?;
    graph.record(x.device(), y, shape, &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().average_pool_backward(D::view_buf(&dy), &windows)?;
            grads.add(&x, dx)
        }
    })
}

/// A window that lies in the padding altogether would have no value.
fn check_padding(op: &'static str, kernel: [usize; 2], placement: Placement) -> Result<()> {
    match (0..2).find(|&i| placement.padding[i] * 2 > kernel[i]) {
        None => Ok(()),
        Some(i) => {
            let (padding, kernel) = (placement.padding[i], kernel[i]);
            Err(Error::config(op, format!("padding {padding} is more than half the kernel {kernel}")))
        }
    }
}
