//! Resizing on the GPU.

use super::{Axis, ResizeKernel};
use crate::cuda::launch::Grid;
use crate::cuda::{Buffer, Cuda, View, kernels, size};
use crate::error::Result;

const OP: &str = "resize";

impl Axis {
    /// For each input pixel the output pixels that take it, first and end: neighbors, as starts rise.
    fn takers(&self) -> impl Iterator<Item = [usize; 2]> {
        (0..self.input_size).map(|pixel| {
            let first = self.starts.partition_point(|start| start + self.taps <= pixel);
            [first, self.starts.partition_point(|start| *start <= pixel)]
        })
    }
}

/// As the kernels take places: the first pixels, and with `takers` for each pixel those that take it.
fn places(rows: &Axis, columns: &Axis, takers: bool) -> Result<Vec<u32>> {
    let starts = rows.starts.iter().chain(&columns.starts).copied();
    let takers = takers.then(|| rows.takers().chain(columns.takers()).flatten()).into_iter().flatten();
    starts.chain(takers).map(|n| size(OP, n)).collect()
}

impl ResizeKernel for Cuda {
    fn resize_forward(&self, x: View<'_>, rows: &Axis, columns: &Axis) -> Result<Buffer> {
        let plane = rows.input_size * columns.input_size;
        let (planes, pixels) = (x.len() / plane.max(1), rows.output_size() * columns.output_size());
        let mut y = self.empty(planes * pixels)?;
        let places = self.send(places(rows, columns, false)?)?;
        let weights = self.send([&rows.weights[..], &columns.weights].concat())?;
        kernels::resize_forward(
            self.context(),
            Grid::pixels(planes, pixels),
            x,
            &places,
            &weights,
            &mut y,
            planes as u64,
            plane as u64,
            size(OP, columns.input_size)?,
            size(OP, rows.output_size())?,
            size(OP, columns.output_size())?,
            size(OP, rows.taps)?,
            size(OP, columns.taps)?,
        )?;
        Ok(y)
    }

    fn resize_backward(&self, dy: View<'_>, rows: &Axis, columns: &Axis) -> Result<Buffer> {
        let plane = rows.input_size * columns.input_size;
        let planes = dy.len() / (rows.output_size() * columns.output_size()).max(1);
        let mut dx = self.empty(planes * plane)?;
        let places = self.send(places(rows, columns, true)?)?;
        let weights = self.send([&rows.weights[..], &columns.weights].concat())?;
        kernels::resize_backward(
            self.context(),
            Grid::pixels(planes, plane),
            dy,
            &places,
            &weights,
            &mut dx,
            planes as u64,
            size(OP, rows.input_size)?,
            size(OP, columns.input_size)?,
            size(OP, rows.output_size())?,
            size(OP, columns.output_size())?,
            size(OP, rows.taps)?,
            size(OP, columns.taps)?,
        )?;
        Ok(dx)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Interpolation;
    use super::*;

    #[test]
    fn takers_are_those_with_a_weight() {
        for filter in [
            Interpolation::Nearest,
            Interpolation::BilinearAligned,
            Interpolation::Bicubic,
            Interpolation::BicubicAntialias,
        ] {
            for (input, output) in [(1, 5), (5, 1), (7, 3), (3, 11), (9, 9)] {
                let axis = Axis::new(filter, input, output);
                for (pixel, [first, end]) in axis.takers().enumerate() {
                    for (i, (start, weights)) in axis.rows().enumerate() {
                        let takes = (start..start + weights.len()).contains(&pixel);
                        assert_eq!((first..end).contains(&i), takes, "{filter:?} {input} to {output}");
                    }
                }
            }
        }
    }
}
