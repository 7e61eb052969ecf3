//! Resampling a channels-last grid (rows · columns, C) to another size: position embeddings (bicubic with
//! antialias, as timm) and tables of relative positions (linear, as detectron2).

use super::{Axis, Interpolation};
use crate::config::Size;
use crate::cpu::gemm::{self, Mat, Threads};
use crate::cpu::{Cpu, build};
use crate::error::{Error, Result};
use crate::tensor::{Backend, Graph, Tensor};

/// The matrix (to, from) of a resampling along one axis, row-major; rows sum to 1.
pub(crate) fn weights(filter: Interpolation, from: usize, to: usize) -> Vec<f32> {
    let axis = Axis::new(filter, from, to);
    let mut matrix = vec![0.0; from * to];
    for ((start, weights), row) in axis.rows().zip(matrix.chunks_exact_mut(from.max(1))) {
        row[start..start + weights.len()].copy_from_slice(weights);
    }
    matrix
}

/// A pair of grids and the matrices between them.
#[derive(Clone, Debug)]
pub struct Geometry {
    /// Rows and columns before.
    pub from: Size,
    /// Rows and columns after.
    pub to: Size,
    /// C.
    pub channels: usize,
    /// (rows after, rows before).
    pub by_row: Vec<f32>,
    /// (columns after, columns before).
    pub by_col: Vec<f32>,
}

/// Resampling of grids on a device.
pub trait ResampleKernel: Backend {
    /// From the first grid to the second.
    ///
    /// # Errors
    /// The device refuses.
    fn resample_forward(&self, x: Self::View<'_>, geometry: &Geometry) -> Result<Self::Buf>;
    /// The transpose: gradients of the second grid to the first.
    ///
    /// # Errors
    /// The device refuses.
    fn resample_backward(&self, dy: Self::View<'_>, geometry: &Geometry) -> Result<Self::Buf>;
}

/// Resamples a grid of tokens; the input itself where the sizes agree.
///
/// # Shapes
/// x (1, from, C) → (1, to, C), rows of each grid one after the other.
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn resample_grid<D: ResampleKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    filter: Interpolation,
    from: Size,
    to: Size,
) -> Result<Tensor<D>> {
    let [one, tokens, channels] = x.axes("resample_grid", "a grid (1, rows * columns, C)")?;
    if one != 1 || tokens != from.area() || tokens == 0 || to.area() == 0 {
        let expected = format!("[1, {} * {}, C]", from.height, from.width);
        return Err(Error::shape("resample_grid", "the input", expected, x.shape()));
    }
    if from == to {
        return Ok(x.clone());
    }
    let (by_row, by_col) = (weights(filter, from.height, to.height), weights(filter, from.width, to.width));
    let geometry = Geometry { from, to, channels, by_row, by_col };
    let y = x.device().resample_forward(x.view(), &geometry)?;
    graph.record(x.device(), y, [1, to.area(), channels], &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().resample_backward(D::view_buf(&dy), &geometry)?;
            grads.add(&x, dx)
        }
    })
}

/// Linear interpolation of a table's rows, as detectron2 does with relative positions of another grid.
///
/// # Shapes
/// x (R, C) → (rows, C).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn resample_rows<D: ResampleKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    rows: usize,
) -> Result<Tensor<D>> {
    let [from, channels] = x.axes("resample_rows", "a table (R, C)")?;
    if from == rows {
        return Ok(x.clone());
    }
    let grid = x.reshape([1, from, channels])?;
    resample_grid(graph, &grid, Interpolation::Bilinear, Size::new(from, 1), Size::new(rows, 1))?
        .reshape([rows, channels])
}

impl ResampleKernel for Cpu {
    fn resample_forward(&self, x: &[f32], g: &Geometry) -> Result<Vec<f32>> {
        let by_row = Mat::new(&g.by_row, g.to.height, g.from.height);
        let by_col = Mat::new(&g.by_col, g.to.width, g.from.width);
        Ok(separable(x, by_row, by_col, g.channels))
    }

    fn resample_backward(&self, dy: &[f32], g: &Geometry) -> Result<Vec<f32>> {
        let by_row = Mat::new(&g.by_row, g.to.height, g.from.height).transposed();
        let by_col = Mat::new(&g.by_col, g.to.width, g.from.width).transposed();
        Ok(separable(dy, by_row, by_col, g.channels))
    }
}

/// [`resample_grid`] with [`Interpolation::BicubicAntialias`] of values on the host, for checkpoints.
pub(crate) fn bicubic_grid(x: &[f32], from: Size, to: Size, channels: usize) -> Vec<f32> {
    let (rows, cols) = (
        weights(Interpolation::BicubicAntialias, from.height, to.height),
        weights(Interpolation::BicubicAntialias, from.width, to.width),
    );
    separable(x, Mat::new(&rows, to.height, from.height), Mat::new(&cols, to.width, from.width), channels)
}

/// Rows first, then the columns of each row.
fn separable(x: &[f32], by_row: Mat<'_>, by_col: Mat<'_>, channels: usize) -> Vec<f32> {
    let (from_line, to_line) = (by_col.cols * channels, by_col.rows * channels);
    let rows = build(by_row.rows * from_line, |dst| {
        gemm::write(dst, by_row, Mat::new(x, by_row.cols, from_line), None, Threads::All);
    });
    build(by_row.rows * to_line, |dst| {
        for (dst, row) in dst.chunks(to_line).zip(rows.chunks_exact(from_line)) {
            gemm::write(dst, by_col, Mat::new(row, by_col.cols, channels), None, Threads::All);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::Case;

    #[test]
    fn weights_of_small_cases_by_hand() {
        // 2 points to 4: at -0.25 (clamped), 0.25, 0.75, 1.25 (clamped)
        assert_eq!(weights(Interpolation::Bilinear, 2, 4), [1.0, 0.0, 0.75, 0.25, 0.25, 0.75, 0.0, 1.0]);
        for (from, to) in [(14, 7), (14, 20), (3, 1)] {
            for row in weights(Interpolation::BicubicAntialias, from, to).chunks(from) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn gradients_are_the_transpose() {
        for filter in [Interpolation::Bilinear, Interpolation::BicubicAntialias] {
            let (rows, cols) = (weights(filter, 3, 5), weights(filter, 4, 2));
            Case::new().input([1, 12, 2], -1.0..1.0).gradients_match(
                |graph, t| resample_grid(graph, &t[0], filter, Size::new(3, 4), Size::new(5, 2)),
                |t| {
                    let value = |y: usize, x: usize, c: usize| -> f64 {
                        let at = |i: usize, j: usize| {
                            f64::from(rows[y * 3 + i])
                                * f64::from(cols[x * 4 + j])
                                * t[0][(i * 4 + j) * 2 + c]
                        };
                        (0..12).map(|k| at(k / 4, k % 4)).sum()
                    };
                    (0..20).map(|i| value(i / 4, i / 2 % 2, i % 2)).collect()
                },
                1e-5,
            );
        }
    }
}
