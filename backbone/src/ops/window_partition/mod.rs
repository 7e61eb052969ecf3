//! ViTDet's windows: a token grid padded with zeros to a multiple of the window, cut into windows, and put
//! together again.

#[cfg(feature = "cuda")]
mod cuda;

use crate::config::Size;
use crate::cpu::Cpu;
use crate::error::{Error, Result};
use crate::tensor::{Backend, Graph, Tensor};
use rayon::prelude::*;

/// Sizes of a window partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// B: images.
    pub batch: usize,
    /// Rows of the token grid.
    pub rows: usize,
    /// Columns of the token grid.
    pub cols: usize,
    /// C.
    pub channels: usize,
    /// Side of a window, in tokens.
    pub window: usize,
}

impl Geometry {
    /// Windows of one image: down, across.
    pub fn windows(&self) -> (usize, usize) {
        (self.rows.div_ceil(self.window), self.cols.div_ceil(self.window))
    }
}

/// Windows on a device. Each is the other's backward pass.
pub trait WindowKernel: Backend {
    /// (B, rows · cols, C) → (B · windows, window², C), zeros outside the grid.
    ///
    /// # Errors
    /// The device refuses.
    fn partition(&self, x: Self::View<'_>, geometry: Geometry) -> Result<Self::Buf>;
    /// (B · windows, window², C) → (B, rows · cols, C), what lies outside the grid left out.
    ///
    /// # Errors
    /// The device refuses.
    fn unpartition(&self, x: Self::View<'_>, geometry: Geometry) -> Result<Self::Buf>;
}

/// Cuts a token grid into windows.
///
/// # Shapes
/// x (B, rows · cols, C) → (B · windows, window², C).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn window_partition<D: WindowKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    grid: Size,
    window: usize,
) -> Result<Tensor<D>> {
    let [batch, tokens, channels] = x.axes("window_partition", "tokens (B, rows * cols, C)")?;
    if tokens != grid.area() || window == 0 {
        let expected = format!("{}x{} tokens and a window of at least 1", grid.height, grid.width);
        return Err(Error::shape("window_partition", "the input", expected, x.shape()));
    }
    let geometry = Geometry { batch, rows: grid.height, cols: grid.width, channels, window };
    let (down, across) = geometry.windows();
    let y = x.device().partition(x.view(), geometry)?;
    graph.record(x.device(), y, [batch * down * across, window * window, channels], &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().unpartition(D::view_buf(&dy), geometry)?;
            grads.add(&x, dx)
        }
    })
}

/// Puts the windows of `batch` images together again.
///
/// # Shapes
/// x (B · windows, window², C) → (B, rows · cols, C).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn window_unpartition<D: WindowKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    grid: Size,
    window: usize,
) -> Result<Tensor<D>> {
    let [windows, tokens, channels] = x.axes("window_unpartition", "windows (B * n, window^2, C)")?;
    let mut geometry = Geometry { batch: 1, rows: grid.height, cols: grid.width, channels, window };
    let (down, across) = if window == 0 { (0, 0) } else { geometry.windows() };
    if tokens != window * window || down * across == 0 || windows % (down * across) != 0 {
        let expected = format!("windows of {window}x{window} tokens, a multiple of {down}x{across}");
        return Err(Error::shape("window_unpartition", "the input", expected, x.shape()));
    }
    geometry.batch = windows / (down * across);
    let y = x.device().unpartition(x.view(), geometry)?;
    graph.record(x.device(), y, [geometry.batch, grid.area(), channels], &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().partition(D::view_buf(&dy), geometry)?;
            grads.add(&x, dx)
        }
    })
}

impl WindowKernel for Cpu {
    fn partition(&self, x: &[f32], g: Geometry) -> Result<Vec<f32>> {
        let (down, across) = g.windows();
        let row = g.window * g.channels;
        let mut y = vec![0.0; g.batch * down * across * g.window * row];
        y.par_chunks_mut(row.max(1)).enumerate().for_each(|(i, dst)| {
            let (index, line) = (i / g.window, i % g.window);
            let (image, window) = (index / (down * across), index % (down * across));
            let (top, left) = (window / across * g.window + line, window % across * g.window);
            if top < g.rows {
                let width = g.window.min(g.cols - left) * g.channels;
                let start = ((image * g.rows + top) * g.cols + left) * g.channels;
                dst[..width].copy_from_slice(&x[start..start + width]);
            }
        });
        Ok(y)
    }

    fn unpartition(&self, x: &[f32], g: Geometry) -> Result<Vec<f32>> {
        let (down, across) = g.windows();
        let mut y = vec![0.0; g.batch * g.rows * g.cols * g.channels];
        y.par_chunks_mut((g.cols * g.channels).max(1)).enumerate().for_each(|(i, dst)| {
            let (image, top) = (i / g.rows, i % g.rows);
            for (column, dst) in dst.chunks_mut(g.window * g.channels).enumerate() {
                let window = (image * down + top / g.window) * across + column;
                let start = (window * g.window + top % g.window) * g.window * g.channels;
                dst.copy_from_slice(&x[start..start + dst.len()]);
            }
        });
        Ok(y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::Case;

    #[test]
    fn partition_pads_with_zeros_and_unpartition_restores() {
        let dev = Cpu::default();
        let values: Vec<f32> = (1..=15).map(|v| v as f32).collect();
        let x = Tensor::from_vec(&dev, values.clone(), [1, 15, 1]).unwrap();
        let mut graph = Graph::inference();
        let windows = window_partition(&mut graph, &x, Size::new(3, 5), 2).unwrap();
        assert_eq!(windows.shape().axes(), [6, 4, 1]);
        let out = windows.to_vec();
        assert_eq!(out[..4], [1.0, 2.0, 6.0, 7.0]);
        assert_eq!(out[8..12], [5.0, 0.0, 10.0, 0.0]);
        assert_eq!(out[12..16], [11.0, 12.0, 0.0, 0.0]);
        let back = window_unpartition(&mut graph, &windows, Size::new(3, 5), 2).unwrap();
        assert_eq!(back.to_vec(), values);
    }

    #[test]
    fn gradients_match() {
        let index = |i: usize| {
            let (window, place, c) = (i / 8, i / 2 % 4, i % 2);
            let (y, x) = (window / 2 * 2 + place / 2, window % 2 * 2 + place % 2);
            (y < 3 && x < 3).then_some((y * 3 + x) * 2 + c)
        };
        Case::new().input([1, 9, 2], -1.0..1.0).gradients_match(
            |graph, t| window_partition(graph, &t[0], Size::new(3, 3), 2),
            |t| (0..32).map(|i| index(i).map_or(0.0, |j| t[0][j])).collect(),
            1e-6,
        );
        Case::new().input([4, 4, 2], -1.0..1.0).gradients_match(
            |graph, t| window_unpartition(graph, &t[0], Size::new(3, 3), 2),
            |t| {
                let mut y = vec![0.0; 18];
                (0..32).for_each(|i| index(i).into_iter().for_each(|j| y[j] = t[0][i]));
                y
            },
            1e-6,
        );
    }
}
