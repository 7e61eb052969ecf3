//! Layer norm on the GPU: a warp a row; the gradients at weight and bias by runs of rows, then over runs in order.

use super::{LayerNormKernel, NormGradients, Normalized};
use crate::error::Result;
use crate::ops::cuda::launch::Grid;
use crate::ops::cuda::{Buffer, Cuda, View, kernels, size};

const OP: &str = "layer norm";

impl LayerNormKernel for Cuda {
    fn layer_norm_forward(
        &self,
        x: View<'_>,
        weight: View<'_>,
        bias: View<'_>,
        eps: f32,
    ) -> Result<Normalized<Self>> {
        let channels = weight.len();
        let rows = x.len() / channels.max(1);
        let mut statistics = self.empty(2 * rows)?;
        let (context, grid) = (self.context(), Grid::warps(rows));
        let (n, c, stats) = (rows as u64, size(OP, channels)?, &mut statistics);
        let y = if self.mixed() {
            let mut y = self.empty_bf16(x.len())?;
            kernels::layer_norm_forward_bf16(context, grid, x, weight, bias, &mut y, stats, n, c, eps)?;
            y.into()
        } else {
            let mut y = self.empty(x.len())?;
            kernels::layer_norm_forward(context, grid, x, weight, bias, &mut y, stats, n, c, eps)?;
            y
        };
        Ok(Normalized { y, statistics })
    }

    fn layer_norm_backward(
        &self,
        x: View<'_>,
        weight: View<'_>,
        statistics: View<'_>,
        dy: Buffer,
    ) -> Result<NormGradients<Self>> {
        let channels = weight.len();
        let rows = x.len() / channels.max(1);
        // before dx takes the place of dy
        let [bias, along] = self.column_sums(&dy, Some((x, statistics)), channels)?;
        let (context, grid, n, c) = (self.context(), Grid::warps(rows), rows as u64, size(OP, channels)?);
        let dx = match dy {
            Buffer::Bf16(dy) => {
                let mut dx = self.empty(x.len())?;
                kernels::layer_norm_backward_bf16(context, grid, x, weight, statistics, &dy, &mut dx, n, c)?;
                dx
            }
            Buffer::F32(mut dy) => {
                kernels::layer_norm_backward(context, grid, x, weight, statistics, &mut dy, n, c)?;
                dy.into()
            }
        };
        Ok(NormGradients { dx, weight: along, bias })
    }
}

impl Cuda {
    /// The sum of the rows of `dy` and, with the rows' x and statistics (mean, inverse deviation), that of dy x̂;
    /// without, the second is empty.
    pub(in crate::ops) fn column_sums(
        &self,
        dy: View<'_>,
        normed: Option<(View<'_>, View<'_>)>,
        channels: usize,
    ) -> Result<[Buffer; 2]> {
        /// Rows of a run: the order of additions depends on the shape alone.
        const RUN: usize = 256;
        let rows = dy.len() / channels.max(1);
        let kinds = if normed.is_some() { 2 } else { 1 };
        // no more runs than a grid has blocks
        let run = RUN.max(rows.div_ceil(65_535));
        let runs = rows.div_ceil(run);
        let mut sums = self.empty(runs * kinds * channels)?;
        let (x, statistics) = normed.unzip();
        let (context, grid) = (self.context(), Grid([channels.div_ceil(32), runs, 1]));
        let (out, n, c, run) = (&mut sums, rows as u64, size(OP, channels)?, size(OP, run)?);
        match dy.is_bf16() {
            true => kernels::column_sums_bf16(context, grid, dy, x, statistics, out, n, c, run),
            false => kernels::column_sums(context, grid, dy, x, statistics, out, n, c, run),
        }?;
        let total = |first: usize, width: usize| -> Result<_> {
            let mut out = self.empty(width)?;
            let [runs, stride, first] = [runs, kinds * channels, first].map(|n| size(OP, n));
            let grid = Grid::each(width);
            kernels::column_totals(
                self.context(),
                grid,
                &sums,
                &mut out,
                runs?,
                stride?,
                first?,
                size(OP, width)?,
            )?;
            Ok(out)
        };
        Ok([total(0, channels)?, total(channels, (kinds - 1) * channels)?])
    }
}
