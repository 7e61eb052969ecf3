//! Tokens (B, H · W, C) as a feature map (B, C, H, W), and back.

use super::device::{Backend, Device};
use super::host::{Cpu, overwritten};
use super::tape::Graph;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use rayon::prelude::*;

/// Side of the square blocks in which a matrix is transposed: both sides stay in the first cache.
const BLOCK: usize = 32;

/// Transposition on a device.
pub trait MapKernel: Backend {
    /// (batch, rows, cols) → (batch, cols, rows).
    fn transpose(&self, x: Self::View<'_>, rows: usize, cols: usize) -> Result<Self::Buf>;
}

/// # Shapes
/// x (B, H · W, C) → (B, C, H, W).
pub fn tokens_to_map<D: Device>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    grid: (usize, usize),
) -> Result<Tensor<D>> {
    let [batch, tokens, channels] = x.axes("tokens_to_map", "tokens (B, H * W, C)")?;
    if tokens != grid.0 * grid.1 {
        let expected = format!("{} x {} tokens", grid.0, grid.1);
        return Err(Error::shape("tokens_to_map", "the input", expected, x.shape()));
    }
    transpose(graph, x, tokens, channels)?.reshape([batch, channels, grid.0, grid.1])
}

/// # Shapes
/// x (B, C, H, W) → (B, H · W, C).
pub fn map_to_tokens<D: Device>(graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
    let [batch, channels, height, width] = x.axes("map_to_tokens", "a map (B, C, H, W)")?;
    transpose(graph, x, channels, height * width)?.reshape([batch, height * width, channels])
}

fn transpose<D: Device>(graph: &mut Graph<D>, x: &Tensor<D>, rows: usize, cols: usize) -> Result<Tensor<D>> {
    let y = x.device().transpose(x.view(), rows, cols)?;
    graph.record(x.device(), y, [x.numel()], &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().transpose(D::view_buf(&dy), cols, rows)?;
            grads.add(&x, dx)
        }
    })
}

impl MapKernel for Cpu {
    fn transpose(&self, x: &[f32], rows: usize, cols: usize) -> Result<Vec<f32>> {
        let size = (rows * cols).max(1);
        let bands = cols.div_ceil(BLOCK).max(1);
        Ok(overwritten(x.len(), |y| {
            // a task is a band of output rows of one matrix
            y.par_chunks_mut(size)
                .enumerate()
                .flat_map(|(i, y)| {
                    y.par_chunks_mut((rows * BLOCK).max(1)).enumerate().map(move |(band, y)| (i, band, y))
                })
                .for_each(|(i, band, y)| {
                    debug_assert!(band < bands);
                    let x = &x[i * size..(i + 1) * size];
                    for top in (0..rows).step_by(BLOCK) {
                        let block = BLOCK.min(rows - top);
                        for (c, y) in y.chunks_exact_mut(rows).enumerate() {
                            let column = band * BLOCK + c;
                            for (r, y) in y[top..top + block].iter_mut().enumerate() {
                                *y = x[(top + r) * cols + column];
                            }
                        }
                    }
                });
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::Case;

    #[test]
    fn tokens_and_maps_are_transposes() {
        Case::new().input([2, 6, 70], -1.0..1.0).gradients_match(
            |graph, t| tokens_to_map(graph, &t[0], (2, 3)),
            |t| (0..840).map(|i| t[0][(i / 420 * 6 + i % 6) * 70 + i % 420 / 6]).collect(),
            1e-6,
        );
        Case::new().input([2, 5, 7, 6], -1.0..1.0).gradients_match(
            |graph, t| map_to_tokens(graph, &t[0]),
            |t| (0..420).map(|i| t[0][(i / 210 * 5 + i % 5) * 42 + i % 210 / 5]).collect(),
            1e-6,
        );
    }
}
