//! KAN edges on the GPU.

use super::{BsplineKernel, knots};
use crate::cuda::launch::{Grid, THREADS};
use crate::cuda::{Buffer, Cuda, View, kernels, size};
use crate::error::Result;

const OP: &str = "B-spline basis";

impl BsplineKernel for Cuda {
    fn spline_forward(&self, x: View<'_>, basis: usize) -> Result<Buffer> {
        let (mut y, (first, step)) = (self.empty(x.len() * basis)?, knots(basis));
        let (context, grid, n) = (self.context(), Grid::pixels(x.len(), basis), x.len() as u64);
        kernels::spline_forward(context, grid, x, &mut y, n, size(OP, basis)?, first, step)?;
        Ok(y)
    }

    fn spline_backward(&self, x: View<'_>, dy: View<'_>, basis: usize) -> Result<Buffer> {
        let (mut dx, (first, step)) = (self.empty(x.len())?, knots(basis));
        let (context, grid, n) = (self.context(), Grid::each(x.len()), x.len() as u64);
        kernels::spline_backward(context, grid, x, dy, &mut dx, n, size(OP, basis)?, first, step)?;
        Ok(dx)
    }

    fn scale_rows(&self, a: View<'_>, factors: View<'_>) -> Result<Buffer> {
        let (rows, mut y) = (factors.len(), self.empty(a.len())?);
        let width = a.len() / rows.max(1);
        let (context, grid) = (self.context(), Grid::pixels(rows, width));
        kernels::scale_rows(context, grid, a, factors, &mut y, rows as u64, size(OP, width)?)?;
        Ok(y)
    }

    fn dot_rows(&self, a: View<'_>, b: View<'_>, rows: usize) -> Result<Buffer> {
        let (mut y, width) = (self.empty(rows)?, a.len() / rows.max(1));
        let lanes = width.next_power_of_two().min(32);
        let grid = Grid::each(rows.div_ceil(THREADS / lanes) * THREADS);
        let (width, lanes) = (size(OP, width)?, size(OP, lanes)?);
        kernels::dot_rows(self.context(), grid, a, b, &mut y, rows as u64, width, lanes)?;
        Ok(y)
    }
}
