//! Ops that only move values: tokens to maps and back, joining, slicing, gathering rows.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Backend, Graph, Tensor};
use std::ops::Range;

/// Moving values on a device. Data is seen as (outer, width) rows.
pub trait LayoutKernel: Backend {
    /// (batch, rows, columns) → (batch, columns, rows).
    ///
    /// # Errors
    /// The device refuses.
    fn transpose(&self, x: Self::View<'_>, batch: usize, rows: usize, columns: usize) -> Result<Self::Buf>;
    /// Row i of the output is row i of each part after the other; a part is (values, width).
    ///
    /// # Errors
    /// The device refuses.
    fn join_rows(&self, parts: &[(Self::View<'_>, usize)], outer: usize) -> Result<Self::Buf>;
    /// The columns `range` of rows of `width`.
    ///
    /// # Errors
    /// The device refuses.
    fn slice_rows(&self, x: Self::View<'_>, width: usize, range: Range<usize>) -> Result<Self::Buf>;
    /// The reverse of `slice_rows`: zeros outside `range`.
    ///
    /// # Errors
    /// The device refuses.
    fn spread_rows(&self, dy: Self::View<'_>, width: usize, range: Range<usize>) -> Result<Self::Buf>;
    /// Rows `indices` of rows of `width`.
    ///
    /// # Errors
    /// The device refuses.
    fn gather(&self, x: Self::View<'_>, width: usize, indices: &[usize]) -> Result<Self::Buf>;
    /// The reverse of `gather` into `rows` rows: rows that were taken more than once are summed, in order.
    ///
    /// # Errors
    /// The device refuses.
    fn scatter_add(
        &self,
        dy: Self::View<'_>,
        width: usize,
        indices: &[usize],
        rows: usize,
    ) -> Result<Self::Buf>;
}

/// Tokens as a feature map, N = grid[0] · grid[1].
///
/// # Shapes
/// x (B, N, C) → (B, C, grid).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn tokens_to_map<D: LayoutKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    grid: [usize; 2],
) -> Result<Tensor<D>> {
    const OP: &str = "tokens_to_map";
    let [batch, tokens, channels] = x.axes(OP, "(B, N, C)")?;
    if tokens != grid[0] * grid[1] {
        let expected = format!("(B, {}, C) for a grid {}×{}", grid[0] * grid[1], grid[0], grid[1]);
        return Err(Error::shape(OP, "the input", expected, x.shape()));
    }
    transposed(graph, x, [batch, tokens, channels], [batch, channels, grid[0], grid[1]])
}

/// A feature map as tokens, row by row.
///
/// # Shapes
/// x (B, C, H, W) → (B, H · W, C).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn map_to_tokens<D: LayoutKernel>(graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
    let [batch, channels, height, width] = x.axes("map_to_tokens", "(B, C, H, W)")?;
    transposed(graph, x, [batch, channels, height * width], [batch, height * width, channels])
}

/// Any (batch, rows, columns) → (batch, columns, rows).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn transpose<D: LayoutKernel>(graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
    let [batch, rows, columns] = x.axes("transpose", "(batch, rows, columns)")?;
    transposed(graph, x, [batch, rows, columns], [batch, columns, rows])
}

fn transposed<D: LayoutKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    [batch, rows, columns]: [usize; 3],
    shape: impl Into<Shape>,
) -> Result<Tensor<D>> {
    let y = x.device().transpose(x.view(), batch, rows, columns)?;
    graph.record(x.device(), y, shape, &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().transpose(D::view_buf(&dy), batch, columns, rows)?;
            grads.add(&x, dx)
        }
    })
}

/// Parts one after the other along `axis`; all other axes are equal.
///
/// # Shapes
/// parts (…, Aᵢ, …) → (…, Σ Aᵢ, …).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn concat<D: LayoutKernel>(graph: &mut Graph<D>, parts: &[&Tensor<D>], axis: usize) -> Result<Tensor<D>> {
    const OP: &str = "concat";
    let first = parts.first().ok_or_else(|| Error::config(OP, "there is nothing to join"))?;
    let shape = first.shape();
    if axis >= shape.rank() {
        return Err(Error::shape(OP, "the first part", format!("an axis {axis}"), shape));
    }
    let mut total = shape.axes().to_vec();
    total[axis] = 0;
    for part in parts {
        let axes = part.shape();
        let others =
            |s: &[usize]| s.iter().enumerate().filter(|(i, _)| *i != axis).map(|(_, n)| *n).collect();
        let (found, expected): (Vec<usize>, Vec<usize>) = (others(axes.axes()), others(shape.axes()));
        if axes.rank() != shape.rank() || found != expected {
            return Err(Error::shape(OP, "a part", format!("{shape} but for axis {axis}"), axes));
        }
        total[axis] += axes.axes()[axis];
    }
    let outer: usize = total[..axis].iter().product();
    let inner: usize = total[axis + 1..].iter().product();
    let width = |part: &&Tensor<D>| part.shape().axes()[axis] * inner;
    let views: Vec<_> = parts.iter().map(|part| (part.view(), width(part))).collect();
    let y = first.device().join_rows(&views, outer)?;
    graph.record(first.device(), y, Shape::new(&total)?, parts, || {
        let parts: Vec<(Tensor<D>, usize)> = parts.iter().map(|p| ((*p).clone(), width(p))).collect();
        move |dy, grads| {
            let row: usize = parts.iter().map(|(_, width)| width).sum();
            let mut start = 0;
            for (part, width) in &parts {
                if part.wants_gradient() {
                    let range = start..start + width;
                    grads.add(part, part.device().slice_rows(D::view_buf(&dy), row, range)?)?;
                }
                start += width;
            }
            Ok(())
        }
    })
}

/// The part `range` along `axis`.
///
/// # Shapes
/// x (…, A, …) → (…, range, …).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn narrow<D: LayoutKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    axis: usize,
    range: Range<usize>,
) -> Result<Tensor<D>> {
    let shape = x.shape();
    let size = shape.axes().get(axis).copied().unwrap_or(0);
    if axis >= shape.rank() || range.start > range.end || range.end > size {
        let expected = format!("an axis {axis} that holds {}..{}", range.start, range.end);
        return Err(Error::shape("narrow", "the input", expected, shape));
    }
    let inner: usize = shape.axes()[axis + 1..].iter().product();
    let mut axes = shape.axes().to_vec();
    axes[axis] = range.len();
    let (width, columns) = (size * inner, range.start * inner..range.end * inner);
    let y = x.device().slice_rows(x.view(), width, columns.clone())?;
    graph.record(x.device(), y, Shape::new(&axes)?, &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().spread_rows(D::view_buf(&dy), width, columns)?;
            grads.add(&x, dx)
        }
    })
}

/// The rows `indices` of the first axis, any of them more than once.
///
/// # Shapes
/// x (R, …) → (indices, …).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn gather_rows<D: LayoutKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    indices: &[usize],
) -> Result<Tensor<D>> {
    let shape = x.shape();
    let rows = shape.axes().first().copied().unwrap_or(0);
    if let Some(index) = indices.iter().find(|i| **i >= rows) {
        return Err(Error::shape("gather_rows", "the input", format!("a row {index}"), shape));
    }
    let mut axes = shape.axes().to_vec();
    match axes.first_mut() {
        Some(first) => *first = indices.len(),
        None => return Err(Error::shape("gather_rows", "the input", "(R, …)", shape)),
    }
    let width = axes[1..].iter().product();
    let y = x.device().gather(x.view(), width, indices)?;
    graph.record(x.device(), y, Shape::new(&axes)?, &[x], || {
        let (x, indices) = (x.clone(), indices.to_vec());
        move |dy, grads| {
            let dx = x.device().scatter_add(D::view_buf(&dy), width, &indices, rows)?;
            grads.add(&x, dx)
        }
    })
}
